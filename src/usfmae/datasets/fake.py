"""Tiny correct copies of a dataset's official layout, drawn from a seed: for tests, and to try a command.

Images are smoothed noise with a blob whose brightness and size tell the class, so that a classifier has
something to learn; no two show the same unless asked. They are not ultrasound: `images.simulate` is.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from usfmae.base.config import nearest
from usfmae.base.errors import SettingError
from usfmae.base.files import claim_folder, write_bytes, write_text
from usfmae.base.seeds import rng_for
from usfmae.datasets.layouts import ClassFolders, ListsLayout, TableLayout
from usfmae.datasets.registry import get_card

MARKER = "FAKE.txt"
"""Stands in every fake folder, so that nobody takes it for data."""

VARIANTS = {
    "bus-bra": ("complete", "without-fold-1"),
    "mmotu-2d": ("complete", "train-only"),
    "busi": ("complete",),
    "folder": ("class-folders", "labels-csv"),
}
"""Per dataset, the copies that can be drawn; the first is the usual one."""

HEIGHT_PX, WIDTH_PX = 72, 96


@dataclass(frozen=True)
class _Drawing:
    """One image to be filed: what it shows and whose it is."""

    patient: int
    shot: int
    """Number among the images of the patient, from 0."""
    label: int
    pixels: UInt8[np.ndarray, "height width"]
    lesion: UInt8[np.ndarray, "height width"]
    """255 inside, 0 outside."""
    astray: bool = False
    """True if it is to be filed on another side than the rest of its patient."""


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
        name: bus-bra, mmotu-2d, busi or folder.
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
        SettingError: no such dataset or variant.
        FolderError: the folder is not empty.
    """
    card = get_card(name)
    if name not in VARIANTS:
        raise SettingError(f"{name}: no fake of it can be drawn", hint=f"known: {', '.join(VARIANTS)}")
    variant = variant or VARIANTS[name][0]
    if variant not in VARIANTS[name]:
        raise SettingError(f"{name}: has no variant {variant}", hint=nearest(variant, VARIANTS[name]))
    if num_patients < 1 or near_duplicates > num_patients // 2:
        raise ValueError("near_duplicates may be half of num_patients, which must be positive")
    claim_folder(root, marker=MARKER)
    write_text(root / MARKER, f"Drawn by usfmae from seed {seed}; not real {card.title}.\n")
    num_classes = len(card.classes) if card.classes else 2
    drawings = list(
        _drawings(
            num_patients,
            num_classes,
            seed=seed,
            near_duplicates=near_duplicates,
            leaking_patients=leaking_patients,
        )
    )
    layout = card.layout
    if isinstance(layout, TableLayout):
        _file_table(root, layout, card.class_names or (), drawings, variant)
    elif isinstance(layout, ListsLayout):
        _file_lists(
            root / layout.inside[0],
            layout,
            drawings,
            num_classes=num_classes,
            train_only=variant == "train-only",
        )
    elif isinstance(layout, ClassFolders):
        _file_class_folders(root / layout.inside[0], card.class_names or (), drawings)
    elif variant == "class-folders":
        _file_class_folders(root, ("benign", "malignant"), drawings)
    else:
        _file_labels_csv(root / layout.table, ("benign", "malignant"), drawings)
    return root


def _drawings(
    num_patients: int, num_classes: int, *, seed: int, near_duplicates: int, leaking_patients: int
) -> Iterator[_Drawing]:
    num_astray = 0
    for patient in range(num_patients):
        label = patient % num_classes
        num_shots = 1 + (patient // num_classes) % 2
        for shot in range(num_shots):
            astray = shot > 0 and num_astray < leaking_patients
            num_astray += astray
            pixels, lesion = _draw(label, num_classes, rng_for(seed, "fake", patient, shot))
            yield _Drawing(patient, shot, label, pixels, lesion, astray)
        lender = patient - (num_patients - near_duplicates)
        if lender >= 0:
            pixels, lesion = _draw(lender % num_classes, num_classes, rng_for(seed, "fake", lender, 0))
            noise = rng_for(seed, "fake copy", patient).normal(6.0, 2.0, pixels.shape)
            copied = np.clip(pixels + noise, 0, 255).astype(np.uint8)
            yield _Drawing(patient, num_shots, label, copied, lesion)


def _draw(
    label: int, num_classes: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]]:
    """Noise at two scales, and an ellipse: the higher the class, the darker and larger."""
    coarse = cv2.resize(rng.normal(size=(6, 8)), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    speckle = cv2.GaussianBlur(rng.normal(size=(HEIGHT_PX, WIDTH_PX)), (0, 0), 1.0)
    tissue = 110 + 32 * coarse + 45 * speckle
    level = label / max(1, num_classes - 1)
    radius = 10 + 10 * level
    centre = (int(rng.integers(24, WIDTH_PX - 24)), int(rng.integers(24, HEIGHT_PX - 24)))
    axes = (round(radius * rng.uniform(0.9, 1.3)), round(radius * rng.uniform(0.7, 1.0)))
    lesion = np.zeros((HEIGHT_PX, WIDTH_PX), dtype=np.uint8)
    cv2.ellipse(lesion, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, thickness=-1)
    pixels = np.where(lesion > 0, 150 - 130 * level + 15 * speckle, tissue)
    return np.clip(pixels, 0, 255).astype(np.uint8), lesion


def _file_table(
    root: Path,
    layout: TableLayout,
    classes: Sequence[str],
    drawings: Sequence[_Drawing],
    variant: str,
) -> None:
    """The layout of BUS-BRA: two tables, `Images/` and `Masks/`."""
    assert layout.folds is not None
    num_folds = layout.folds.num_folds
    data, folds = [], []
    for drawing in drawings:
        fold = (drawing.patient // len(classes)) % num_folds + 1
        if drawing.astray:
            fold = fold % num_folds + 1
        if variant == "without-fold-1" and fold == 1:
            continue
        tail = f"_{drawing.patient + 1:04d}-{'lrs'[drawing.shot]}"
        pathology = classes[drawing.label]
        _write_png(root / f"Images/bus{tail}.png", drawing.pixels)
        _write_png(root / f"Masks/mask{tail}.png", drawing.lesion)
        side = ("left", "right", "left")[drawing.shot]
        box = "[{},{},{},{}]".format(*cv2.boundingRect(drawing.lesion))
        birads, device = 2 + drawing.patient % 4, "GE Logiq 7 @10-14MHz"
        data.append(
            (f"bus{tail}", drawing.patient + 1, "", pathology, birads, device, WIDTH_PX, HEIGHT_PX, side, box)
        )
        inner = [
            "NaN" if fold == outer else int(drawing.patient % 4 > 0) for outer in range(1, num_folds + 1)
        ]
        folds.append((f"bus{tail}", pathology, fold, *inner))
    header = ("ID", "Case", "Histology", "Pathology", "BIRADS", "Device", "Width", "Height", "Side", "BBOX")
    _write_csv(root / layout.table, header, data)
    inner_header = [f"valid_{outer}" for outer in range(1, num_folds + 1)]
    _write_csv(root / layout.folds.table, ("ID", "Pathology", "kFold", *inner_header), folds)


def _file_lists(
    base: Path, layout: ListsLayout, drawings: Sequence[_Drawing], *, num_classes: int, train_only: bool
) -> None:
    """The layout of MMOTU-2D: numbered images, and lists of numbers; a quarter of each class is tested."""
    lines: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for number, drawing in enumerate(drawings, start=1):
        side = "test" if (drawing.patient + drawing.patient // num_classes) % 4 == 3 else "train"
        if side == "test" and train_only:
            continue
        image = layout.image.format(stem=number)
        lines[side].append((f"{number}\n", f"{Path(image).name}  {drawing.label}\n"))
        done, jpeg = cv2.imencode(".jpg", drawing.pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
        assert done
        write_bytes(base / image, jpeg.tobytes())
        colour = (drawing.lesion > 0)[..., None] * np.array(
            [0, 0, 64 * (1 + drawing.label % 2)], dtype=np.uint8
        )
        _write_png(base / f"annotations/{number}.PNG", colour)
        _write_png(base / layout.masks[0].format(stem=number), (drawing.lesion > 0).astype(np.uint8))
    for side, files in layout.lists.items():
        if lines[side]:
            for column, file in enumerate(files):
                write_text(base / file, "".join(line[column] for line in lines[side]))


def _file_class_folders(base: Path, classes: Sequence[str], drawings: Sequence[_Drawing]) -> None:
    """The layout of BUSI: `benign (1).png`, `benign (1)_mask.png`; every fifth has two maps, one in RGBA."""
    count = dict.fromkeys(classes, 0)
    for drawing in drawings:
        name = classes[drawing.label]
        count[name] += 1
        stem = base / name / f"{name} ({count[name]})"
        _write_png(stem.with_name(f"{stem.name}.png"), drawing.pixels)
        lesion = np.zeros_like(drawing.lesion) if name == "normal" else drawing.lesion
        if count[name] % 5:
            _write_png(stem.with_name(f"{stem.name}_mask.png"), lesion)
            continue
        left, right = lesion.copy(), lesion.copy()
        left[:, WIDTH_PX // 2 :] = 0
        right[:, : WIDTH_PX // 2] = 0
        opaque = np.full_like(left, 255)
        _write_png(stem.with_name(f"{stem.name}_mask.png"), np.stack([left, left, left, opaque], axis=2))
        _write_png(stem.with_name(f"{stem.name}_mask_1.png"), right)


def _file_labels_csv(table: Path, classes: Sequence[str], drawings: Sequence[_Drawing]) -> None:
    """A user's own table with every optional column."""
    sides = ("train", "train", "train", "val", "test")
    rows = []
    for drawing in drawings:
        turn = (drawing.patient // len(classes)) % len(sides)
        if drawing.astray:
            turn = (turn + 3) % len(sides)
        stem = f"p{drawing.patient:03d}_{drawing.shot}"
        _write_png(table.parent / f"scans/{stem}.png", drawing.pixels)
        _write_png(table.parent / f"lesions/{stem}.png", drawing.lesion)
        files = (f"scans/{stem}.png", f"lesions/{stem}.png")
        rows.append((files[0], classes[drawing.label], f"p{drawing.patient:03d}", sides[turn], files[1]))
    _write_csv(table, ("path", "label", "patient", "split", "mask"), rows)


def _write_png(path: Path, pixels: UInt8[np.ndarray, "height width *channels"]) -> None:
    done, png = cv2.imencode(".png", pixels)
    assert done
    write_bytes(path, png.tobytes())


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
