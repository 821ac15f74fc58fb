"""A user's own labelled images: one folder per class, or a `labels.csv`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from usfmae.base.config import nearest
from usfmae.base.errors import DatasetError, LeakError
from usfmae.datasets.label_maps import LabelMap
from usfmae.datasets.layouts import ClassFolders, class_folders
from usfmae.datasets.reading import (
    Layout,
    Reading,
    find_base,
    finish,
    labels_of,
    refuse_no_patient,
    refuse_twice,
)
from usfmae.datasets.record import Item
from usfmae.datasets.tables import listed, nearest_file, read_table
from usfmae.images.read import IMAGE_SUFFIXES, is_image_path

SIDE_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Words of a split column, and the side each means."""

KNOWN_COLUMNS = ("path", "label", "patient", "split", "mask")


class OwnFolder(Layout):
    """`labels.csv` with path,label[,patient,split,mask] if it is there, otherwise class folders."""

    kind: Literal["own-folder"]
    table: str
    mask_suffix: str
    """As in `ClassFolders`."""

    def read(self, root: Path, classes: tuple[str, ...] | None) -> Reading:
        base = find_base(root, self.inside, [])
        if (base / self.table).exists():
            return self._read_table(base, classes)
        folders = class_folders(base)
        if not folders:
            tables = sorted(path.name for path in base.glob("*.csv"))
            hint = f"make one folder per class, or a {self.table} with the columns path,label"
            if tables:
                hint = f"rename {tables[0]} to {self.table}; its columns are path,label[,patient,split,mask]"
            raise DatasetError(f"{root}: holds neither class folders nor a {self.table}", hint=hint)
        return ClassFolders(kind="class-folders", mask_suffix=self.mask_suffix).read(root, classes)

    def _read_table(self, base: Path, classes: tuple[str, ...] | None) -> Reading:
        table = base / self.table
        rows = read_table(table, required=["path", "label"])
        paths = [_inside(base, row["path"]) for row in rows]
        _refuse_unknown(table, base, [row["path"] for row in rows], paths, what="paths")
        _refuse_no_image(table, paths)
        assert all(path is not None for path in paths)
        found = [path for path in paths if path is not None]
        names = [path.relative_to(base).as_posix() for path in found]
        refuse_twice(table, "path", names)
        _refuse_like_labels(table, [row["label"] for row in rows])
        class_names, labels = labels_of([row["label"] for row in rows], classes, place=f"{table}: label")
        has_patients = "patient" in rows[0]
        masks = [_inside(base, row["mask"]) if row.get("mask") else None for row in rows]
        with_mask = [number for number, row in enumerate(rows) if row.get("mask")]
        _refuse_unknown(
            table,
            base,
            [rows[number]["mask"] for number in with_mask],
            [masks[number] for number in with_mask],
            what="masks",
        )
        items = [
            Item(
                path=path,
                name=name,
                label=label,
                group=row["patient"] if has_patients else name,
                masks=(LabelMap(mask),) if mask is not None else (),
                split=side,
                extras={column: value for column, value in row.items() if column not in KNOWN_COLUMNS},
            )
            for path, name, label, row, mask, side in zip(
                found, names, labels, rows, masks, _sides(table, rows), strict=True
            )
        ]
        _refuse_unlearnt_classes(table, class_names, items)
        if has_patients:
            refuse_no_patient(table, "patient", items)
            _refuse_parted_patients(table, items)
        return finish(
            base,
            items,
            class_names,
            (),
            group_kind="patient" if has_patients else "file",
            wants_masks="mask" in rows[0],
        )


def _inside(base: Path, text: str) -> Path | None:
    """The file below `base` that a cell names; None if there is none, or it lies elsewhere.

    Only the name has to stay below `base`: it may be a link to a file anywhere.
    """
    top = Path(os.path.normpath(base.absolute()))
    path = Path(os.path.normpath(top / text.replace("\\", "/")))
    try:
        if not text or not path.is_relative_to(top) or not path.is_file():
            return None
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return None
    return base / path.relative_to(top)


def _refuse_unknown(
    table: Path, base: Path, texts: Sequence[str], paths: Sequence[Path | None], *, what: str
) -> None:
    unknown = [text for text, path in zip(texts, paths, strict=True) if path is None]
    if unknown:
        raise DatasetError(
            f"{table}: {len(unknown):,} of {len(texts):,} {what} are no files below {base} "
            f"(first: '{unknown[0]}')",
            hint=f"paths count from the folder of {table.name}; {nearest_file(base / unknown[0])}",
        )


def _refuse_no_image(table: Path, paths: Sequence[Path | None]) -> None:
    strange = [path.name for path in paths if path is not None and not is_image_path(path)]
    if strange:
        raise DatasetError(
            f"{table}: {listed(strange)} of {len(paths):,} paths are no images by their suffix",
            hint=f"known: {' '.join(sorted(IMAGE_SUFFIXES))}",
        )


def _sides(table: Path, rows: Sequence[dict[str, str]]) -> list[str | None]:
    """The side of each row; all None when the table has no split column."""
    if "split" not in rows[0]:
        return [None] * len(rows)
    sides = [SIDE_NAMES.get(row["split"].casefold()) for row in rows]
    strange = [row["split"] for row, side in zip(rows, sides, strict=True) if side is None]
    if strange:
        raise DatasetError(
            f"{table}: {len(strange):,} of {len(rows):,} rows have no side in the column 'split' "
            f"(first: '{strange[0]}')",
            hint="write train, val or test in each row, or remove the column to have it split by group",
        )
    if "train" not in sides:
        raise DatasetError(
            f"{table}: the column 'split' puts no image into train", hint="nothing could be learnt"
        )
    return list(sides)


def _refuse_like_labels(table: Path, texts: Sequence[str]) -> None:
    """Raise if two classes differ in capitals or blanks only: they are meant to be one."""
    spelt: dict[str, str] = {}
    for text in sorted(set(texts)):
        first = spelt.setdefault(" ".join(text.casefold().split()), text)
        if first != text:
            raise DatasetError(
                f"{table}: the labels '{first}' and '{text}' differ in capitals or blanks only",
                hint="write a class the same way in each row",
            )


def _refuse_unlearnt_classes(table: Path, classes: Sequence[str], items: Sequence[Item]) -> None:
    """Raise if the split column leaves a class without a training image."""
    learnt = {item.label for item in items if item.split == "train" and item.label is not None}
    other = [item for item in items if item.label not in learnt]
    if not learnt or not other:
        return
    assert other[0].label is not None
    name = classes[other[0].label]
    known = [classes[label] for label in sorted(learnt)]
    raise DatasetError(
        f"{table}: {len(other):,} images outside of train are of classes that no image of train has "
        f"(first: '{name}' of {other[0].name})",
        hint=f"{nearest(name, known)}; or put some of its patients into train",
    )


def _refuse_parted_patients(table: Path, items: Sequence[Item]) -> None:
    sides: dict[str, set[str]] = {}
    for item in items:
        if item.split is not None:
            sides.setdefault(item.group, set()).add(item.split)
    parted = sorted(patient for patient, on in sides.items() if len(on) > 1)
    if parted:
        raise LeakError(
            f"{table}: {len(parted):,} of {len(sides):,} patients are on two sides of the split "
            f"(first: '{parted[0]}' in {' and '.join(sorted(sides[parted[0]]))})",
            hint="put all images of a patient on one side, or remove the column 'split'",
        )
