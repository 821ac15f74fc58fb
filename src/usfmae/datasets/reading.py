"""What every layout shares: finding the folder, checking the labels, and the result of a reading."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from usfmae.base.config import Config
from usfmae.base.errors import DatasetError
from usfmae.datasets.record import GroupKind, Item
from usfmae.datasets.tables import listed, nearest_file


@dataclass(frozen=True)
class Reading:
    """What a layout found."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    group_kind: GroupKind = "file"
    """What `Item.group` is, as the files say."""

    missing: tuple[str, ...] = ()
    """Images that a table names and the folder lacks, as the table names them."""


class Layout(Config):
    """Base of all layouts."""

    inside: tuple[str, ...] = ()
    """Folders below the root that the files may lie in, as archives unpack them."""

    @abstractmethod
    def read(self, root: Path, classes: tuple[str, ...] | None) -> Reading:
        """The labelled images below `root`.

        Args:
            root: the folder the user named.
            classes: class names in the order of their labels; None for what is found, sorted.

        Raises:
            DatasetError: the files are not laid out so.
        """


def find_base(root: Path, inside: Sequence[str], needed: Sequence[str]) -> Path:
    """The folder, `root` or one of `inside` below it, that holds everything of `needed`.

    Raises:
        DatasetError: there is none; what is missing where it lacks least, and the nearest name there.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise DatasetError(f"{root}: {what}", hint=nearest_file(root) if not root.exists() else "")
    candidates = [root, *(root / name for name in inside if (root / name).is_dir())]
    lacks = {base: [name for name in needed if not (base / name).exists()] for base in candidates}
    base = min(candidates, key=lambda candidate: len(lacks[candidate]))
    if lacks[base]:
        also = f" (nor in {', '.join(inside)} below it)" if inside and base == root else ""
        raise DatasetError(
            f"{base}: has no {' and no '.join(lacks[base])}{also}", hint=nearest_file(base / lacks[base][0])
        )
    return base


def labels_of(
    values: Sequence[str], classes: tuple[str, ...] | None, *, place: str
) -> tuple[tuple[str, ...], list[int]]:
    """Class names and the index of each value.

    Raises:
        DatasetError: a label is empty or not one of the classes; `place` says where.
    """
    empty = [str(number) for number, value in enumerate(values, start=2) if not value]
    if empty:
        raise DatasetError(
            f"{place}: {len(empty):,} of {len(values):,} labels are empty (first: line {empty[0]})",
            hint="fill them in, or remove the rows",
        )
    names = classes if classes is not None else tuple(sorted(set(values)))
    index = {name.casefold() if classes else name: number for number, name in enumerate(names)}
    keys = [value.casefold() if classes else value for value in values]
    unknown = [value for value, key in zip(values, keys, strict=True) if key not in index]
    if unknown:
        raise DatasetError(
            f"{place}: {len(unknown):,} of {len(values):,} labels are none of its classes "
            f"(first: '{unknown[0]}')",
            hint=f"known: {', '.join(names)}",
        )
    return names, [index[key] for key in keys]


def refuse_twice(place: Path, what: str, values: Sequence[str]) -> None:
    """Raise if a value that must be unique is there twice."""
    twice = sorted(value for value, times in Counter(values).items() if times > 1)
    if twice:
        raise DatasetError(
            f"{place}: {len(twice):,} {what} value(s) stand there more than once (first: '{twice[0]}')",
            hint="keep one row for each image",
        )


def refuse_no_patient(table: Path, column: str | None, items: Sequence[Item]) -> None:
    """Raise if a patient column is filled in for some images only."""
    empty = [item.name for item in items if not item.group]
    if column and empty:
        raise DatasetError(
            f"{table}: {column} is empty for {listed(empty)} of {len(items):,} images",
            hint="name the patient of every image, or remove the column",
        )


def missing_notes(base: Path, missing: Sequence[str], *, total: int, by: str) -> tuple[str, ...]:
    """A note on images that a table names and the folder lacks.

    Raises:
        DatasetError: not one of them is there.
    """
    if missing and len(missing) == total:
        raise DatasetError(
            f"{base}: none of the {total:,} images named by {by} is here (first: {missing[0]})",
            hint=nearest_file(base / missing[0]),
        )
    if not missing:
        return ()
    return (f"{len(missing):,} of {total:,} images named by {by} are not here (first: {missing[0]})",)


def finish(
    root: Path,
    items: Sequence[Item],
    classes: tuple[str, ...],
    notes: Iterable[str],
    *,
    group_kind: GroupKind = "file",
    wants_masks: bool,
    wants_classes: bool = True,
    missing: Iterable[str] = (),
) -> Reading:
    """Order the items, count what lacks a label map, and refuse a set that cannot be learnt from.

    Raises:
        DatasetError: no image, or all of one class although the set is for telling classes apart.
    """
    if not items:
        raise DatasetError(f"{root}: holds no image", hint="PNG, JPEG, BMP, TIFF and DICOM files are read")
    present = {item.label for item in items if item.label is not None}
    if len(present) == 1 and wants_classes:
        only = classes[next(iter(present))]
        raise DatasetError(
            f"{root}: all {len(items):,} images are of one class ('{only}'); telling classes apart needs two",
            hint="check the folders or the label column",
        )
    notes = list(notes)
    bare = [item.name for item in items if not item.masks]
    if wants_masks and bare:
        notes.append(f"images without label map: {listed(sorted(bare))} of {len(items):,}")
    absent = [name for number, name in enumerate(classes) if present and number not in present]
    if absent:
        notes.append(f"classes without an image: {', '.join(absent)}")
    ordered = tuple(sorted(items, key=lambda item: item.name))
    return Reading(ordered, classes, tuple(notes), group_kind, tuple(missing))
