"""How labelled images lie on disk: a few readers that a card parameterises.

A card names one `kind` and fills its fields; reading yields `Item`s ordered by name. A set that fits no kind
gets a new class here (or a small file of its own, as `own_folder.py`), never a copy of one of these.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.errors import DatasetError, LeakError
from usfmae.datasets.label_maps import INSIDE_IS_NOT_ZERO, AnyMeaning, LabelMap
from usfmae.datasets.reading import (
    Layout,
    Reading,
    find_base,
    finish,
    labels_of,
    missing_notes,
    refuse_no_patient,
    refuse_twice,
)
from usfmae.datasets.record import Item
from usfmae.datasets.tables import listed, nearest_file, read_table, read_text
from usfmae.images.read import is_image_path

JUNK_FOLDERS = ("__MACOSX",)


class Folds(Config):
    """A csv that gives each image the outer fold in which it is tested."""

    table: str
    id_column: str
    fold_column: str
    num_folds: int = Field(ge=2)


class TableLayout(Layout):
    """One csv row per image."""

    kind: Literal["table"]
    table: str
    id_column: str
    id_pattern: str
    """Regular expression that an id matches; its named groups may be used in `image` and `masks`."""
    image: str
    masks: tuple[str, ...] = ()
    meaning: AnyMeaning = INSIDE_IS_NOT_ZERO
    label_column: str
    patient_column: str | None = None
    extra_columns: tuple[str, ...] = ()
    """Kept in `Item.extras` where the table has them."""
    folds: Folds | None = None

    def read(self, root: Path, classes: tuple[str, ...] | None) -> Reading:
        base = find_base(root, self.inside, [self.table, self.image.partition("/")[0]])
        table = base / self.table
        needed = [self.id_column, self.label_column, *([self.patient_column] if self.patient_column else [])]
        rows = read_table(table, required=needed)
        refuse_twice(table, self.id_column, [row[self.id_column] for row in rows])
        names, labels = labels_of(
            [row[self.label_column] for row in rows], classes, place=f"{table}: {self.label_column}"
        )
        folds, notes = self._read_folds(base)
        items, missing = [], []
        for row, label in zip(rows, labels, strict=True):
            parts = re.fullmatch(self.id_pattern, row[self.id_column])
            if parts is None:
                raise DatasetError(
                    f"{table}: {self.id_column} '{row[self.id_column]}' does not look like {self.id_pattern}"
                )
            name = self.image.format(**parts.groupdict())
            if not (base / name).is_file():
                missing.append(name)
                continue
            masks = [base / mask.format(**parts.groupdict()) for mask in self.masks]
            items.append(
                Item(
                    path=base / name,
                    name=name,
                    label=label,
                    group=row[self.patient_column] if self.patient_column else name,
                    masks=tuple(LabelMap(mask, self.meaning) for mask in masks if mask.is_file()),
                    fold=folds.get(row[self.id_column]),
                    extras={column: row[column] for column in self.extra_columns if column in row},
                )
            )
        refuse_no_patient(table, self.patient_column, items)
        return finish(
            root,
            items,
            names,
            notes + missing_notes(base, missing, total=len(rows), by=self.table),
            group_kind="patient" if self.patient_column else "file",
            wants_masks=bool(self.masks),
            missing=missing,
        )

    def _read_folds(self, base: Path) -> tuple[dict[str, int], tuple[str, ...]]:
        if self.folds is None:
            return {}, ()
        table = base / self.folds.table
        rows = read_table(table, required=[self.folds.id_column, self.folds.fold_column])
        refuse_twice(table, self.folds.id_column, [row[self.folds.id_column] for row in rows])
        known = {str(fold): fold for fold in range(1, self.folds.num_folds + 1)}
        strange = [row[self.folds.id_column] for row in rows if row[self.folds.fold_column] not in known]
        if strange:
            raise DatasetError(
                f"{table}: {self.folds.fold_column} is not one of 1..{self.folds.num_folds} in "
                f"{listed(strange)} of {len(rows):,} rows"
            )
        folds = {row[self.folds.id_column]: known[row[self.folds.fold_column]] for row in rows}
        absent = sorted(set(known.values()) - set(folds.values()))
        if not absent:
            return folds, ()
        which = f"fold {absent[0]} is" if len(absent) == 1 else f"folds {', '.join(map(str, absent))} are"
        return folds, (f"{self.folds.table} names {len(folds):,} images: {which} not here",)


class ListsLayout(Layout):
    """One list of names per side of the official split, and one of the same images with a class index."""

    kind: Literal["lists"]
    lists: dict[Literal["train", "val", "test"], tuple[str, str]]
    """Per side: the list of stems, and the list of `file name, class index`. A side may be absent."""
    image: str
    """With `{stem}`."""
    masks: tuple[str, ...] = ()
    meaning: AnyMeaning = INSIDE_IS_NOT_ZERO

    def read(self, root: Path, classes: tuple[str, ...] | None) -> Reading:
        assert classes is not None, "a list of class indices means nothing without class names"
        base = find_base(root, self.inside, [self.image.partition("/")[0]])
        items: list[Item] = []
        missing: list[str] = []
        notes: list[str] = []
        num_named = 0
        for side, (stem_list, class_list) in self.lists.items():
            if not (base / stem_list).exists() and not (base / class_list).exists():
                notes.append(f"{stem_list} and {class_list} are not here: no official {side} images")
                continue
            stems = self._read_stems(base / stem_list, base / class_list, num_classes=len(classes))
            num_named += len(stems)
            for stem, label in stems.items():
                name = self.image.format(stem=stem)
                if not (base / name).is_file():
                    missing.append(name)
                    continue
                masks = [base / mask.format(stem=stem) for mask in self.masks]
                found = tuple(LabelMap(mask, self.meaning) for mask in masks if mask.is_file())
                items.append(Item(base / name, label, name, masks=found, split=side, name=name))
        if not num_named:
            looked_for = ", ".join(name for pair in self.lists.values() for name in pair)
            raise DatasetError(
                f"{base}: none of its lists is here ({looked_for})",
                hint=nearest_file(base / next(iter(self.lists.values()))[0]),
            )
        sides = Counter(item.name for item in items)
        shared = sorted(name for name, times in sides.items() if times > 1)
        if shared:
            raise LeakError(
                f"{base}: {listed(shared)} of {len(sides):,} images stand in the lists of two sides"
            )
        all_notes = (*notes, *missing_notes(base, missing, total=num_named, by="the lists"))
        return finish(root, items, classes, all_notes, wants_masks=bool(self.masks), missing=missing)

    def _read_stems(self, stem_list: Path, class_list: Path, *, num_classes: int) -> dict[str, int]:
        """The class index of each stem of one side; both lists must name the same images."""
        stems = [line.strip() for line in read_text(stem_list).splitlines() if line.strip()]
        refuse_twice(stem_list, "name", stems)
        labels: dict[str, int] = {}
        for number, line in enumerate(read_text(class_list).splitlines(), start=1):
            words = line.split()
            if not words:
                continue
            if len(words) != 2 or not words[1].isdecimal() or int(words[1]) >= num_classes:
                raise DatasetError(
                    f"{class_list}: line {number} is '{line.strip()}', not a file name and a class index "
                    f"in 0..{num_classes - 1}"
                )
            labels[words[0].rsplit(".", 1)[0]] = int(words[1])
        unmatched = sorted(set(stems) ^ set(labels))
        if unmatched:
            raise DatasetError(
                f"{class_list}: names other images than {stem_list.name}; {listed(unmatched)} "
                f"{'is' if len(unmatched) == 1 else 'are'} in one list only"
            )
        return {stem: labels[stem] for stem in stems}


class ClassFolders(Layout):
    """One folder per class; label maps lie beside their image under a longer name."""

    kind: Literal["class-folders"]
    mask_suffix: str | None = None
    """Regular expression; a file whose stem is another image's stem plus this is its label map. None for a
    set without label maps."""
    meaning: AnyMeaning = INSIDE_IS_NOT_ZERO

    def read(self, root: Path, classes: tuple[str, ...] | None) -> Reading:
        base = find_base(root, self.inside, list(classes or ()))
        folders = [base / name for name in classes] if classes else class_folders(base)
        items: list[Item] = []
        orphans: list[str] = []
        for label, folder in enumerate(folders):
            found = image_files(folder)
            images, masks_of, lonely = (
                split_masks(found, self.mask_suffix) if self.mask_suffix is not None else (found, {}, [])
            )
            orphans += [path.relative_to(base).as_posix() for path in lonely]
            for path in images:
                name = path.relative_to(base).as_posix()
                masks = tuple(LabelMap(mask, self.meaning) for mask in masks_of.get(path, ()))
                items.append(Item(path, label, name, masks=masks, name=name))
        notes = [f"label maps without an image: {listed(orphans)}"] if orphans else []
        stray = [path.name for path in sorted(base.iterdir()) if path.is_file() and is_image_path(path)]
        if stray:
            notes.append(f"images outside the class folders are not used: {listed(stray)}")
        wants_masks = any(item.masks for item in items)
        names = tuple(folder.name for folder in folders)
        return finish(root, items, names, notes, wants_masks=wants_masks)


def class_folders(base: Path) -> list[Path]:
    """Visible folders of `base`, sorted by name."""
    return sorted(
        path
        for path in base.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in JUNK_FOLDERS
    )


def image_files(folder: Path) -> list[Path]:
    """Image files anywhere below `folder`, sorted; hidden ones and `__MACOSX` left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if is_image_path(path)
        and path.is_file()
        and not any(part.startswith(".") or part in JUNK_FOLDERS for part in path.relative_to(folder).parts)
    )


def split_masks(
    files: Iterable[Path], mask_suffix: str
) -> tuple[list[Path], dict[Path, list[Path]], list[Path]]:
    """Tell images from label maps by name.

    Returns:
        The images, the label maps of each, and label maps whose image is missing.
    """
    pattern = re.compile(f"(?P<stem>.+){mask_suffix}")
    matches = {path: pattern.fullmatch(path.stem) for path in files}
    images = [path for path, match in matches.items() if match is None]
    by_stem = {path.with_suffix(""): path for path in images}
    masks_of: dict[Path, list[Path]] = {}
    lonely = []
    for path, match in matches.items():
        if match is None:
            continue
        image = by_stem.get(path.with_name(match["stem"]))
        if image is None:
            lonely.append(path)
        else:
            masks_of.setdefault(image, []).append(path)
    return images, masks_of, lonely
