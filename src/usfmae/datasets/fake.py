"""Tiny correct copies of a dataset's official layout, drawn from a seed: for tests, and to try a command.

Images are smoothed noise with a blob whose brightness and size tell the class, so that a classifier has
something to learn; no two show the same unless asked. They are not ultrasound: `images.simulate` is.
"""

from pathlib import Path

from usfmae.base.config import nearest
from usfmae.base.errors import SettingError
from usfmae.base.files import claim_folder, write_text
from usfmae.datasets.card import Card
from usfmae.datasets.coco_layout import CocoLayout
from usfmae.datasets.fake_files import write_files
from usfmae.datasets.fake_layouts import (
    write_class_folders,
    write_coco,
    write_hdf5,
    write_labels_csv,
    write_lists_layout,
    write_table_layout,
)
from usfmae.datasets.fake_pictures import Picture, draw_pictures
from usfmae.datasets.files_layout import FilesLayout
from usfmae.datasets.hdf5_layout import Hdf5Layout
from usfmae.datasets.layouts import ClassFolders, ListsLayout, TableLayout
from usfmae.datasets.registry import get_card

MARKER = "FAKE.txt"
"""Stands in every fake folder, so that nobody takes it for data."""

VARIANTS = {
    "bus-bra": ("complete", "without-fold-1"),
    "mmotu-2d": ("complete", "train-only"),
    "folder": ("class-folders", "labels-csv"),
}
"""Copies that can be drawn of a dataset, the first is the usual one; all others have one, "complete"."""

UNNAMED_CLASSES = ("benign", "malignant")
"""For class folders whose names no card gives."""


def fake_dataset(
    name: str,
    root: Path,
    *,
    num_patients: int = 24,
    seed: int = 0,
    variant: str | None = None,
    near_duplicates: int = 0,
    leaking_patients: int = 0,
) -> Path:
    """Draw a small copy of a dataset's layout into an empty or new folder.

    Every patient has one or two images of one class; classes take turns. 40 images take about 0.2 s.

    Args:
        name: any dataset whose layout is known, or folder.
        root: the folder to make.
        num_patients: how many patients; at least three per class fill every side of every split.
        seed: another seed draws other images.
        variant: one of `VARIANTS[name]`; None for the first.
        near_duplicates: that many patients, the first ones, also lend an image, slightly brighter and
            noisier, to the last ones, who have the same class or not.
        leaking_patients: that many patients, the first with two images, have one of them on another side of
            the folds or the split column: a mistake that must be found. Only in bus-bra and labels-csv.

    Returns:
        `root`.

    Raises:
        SettingError: no such dataset or variant, or its layout is not known.
        FolderError: the folder is not empty.
    """
    card = get_card(name)
    if card.layout is None:
        raise SettingError(
            f"{name}: how its files lie is not known, so no fake of it can be drawn",
            hint=f"usfmae datasets show {name} says what is known",
        )
    variants = VARIANTS.get(name, ("complete",))
    variant = variant or variants[0]
    if variant not in variants:
        raise SettingError(f"{name}: has no variant {variant}", hint=nearest(variant, variants))
    if num_patients < 1 or near_duplicates > num_patients // 2:
        raise ValueError("near_duplicates may be half of num_patients, which must be positive")
    claim_folder(root, marker=MARKER)
    write_text(root / MARKER, f"Drawn by usfmae from seed {seed}; not real {card.title}.\n")
    pictures = list(
        draw_pictures(
            num_patients,
            len(card.classes) if card.classes else len(UNNAMED_CLASSES),
            seed=seed,
            near_duplicates=near_duplicates,
            leaking_patients=leaking_patients,
        )
    )
    _write(root, card, pictures, variant)
    return root


def _write(root: Path, card: Card, pictures: list[Picture], variant: str) -> None:
    layout, classes = card.layout, card.class_names or UNNAMED_CLASSES
    assert layout is not None
    base = root / layout.inside[0] if layout.inside else root
    if isinstance(layout, FilesLayout):
        write_files(base, layout, pictures, card.class_names or ())
    elif isinstance(layout, CocoLayout):
        write_coco(base, layout, pictures)
    elif isinstance(layout, Hdf5Layout):
        write_hdf5(base, layout, pictures, classes)
    elif isinstance(layout, TableLayout):
        write_table_layout(root, layout, classes, pictures, variant)
    elif isinstance(layout, ListsLayout):
        write_lists_layout(
            base, layout, pictures, num_classes=len(classes), train_only=variant == "train-only"
        )
    elif isinstance(layout, ClassFolders):
        write_class_folders(base, classes, pictures, with_masks=layout.mask_suffix is not None)
    elif variant == "class-folders":
        write_class_folders(root, classes, pictures)
    else:
        write_labels_csv(root / layout.table, classes, pictures)
