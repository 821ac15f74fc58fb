"""Writes fakes of the layouts that are no mere file names: tables, lists, class folders, COCO, HDF5."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from usfmae.base.files import write_by, write_bytes, write_text
from usfmae.datasets.coco_layout import CocoLayout, coco_text
from usfmae.datasets.fake_files import write_table
from usfmae.datasets.fake_media import write_media
from usfmae.datasets.fake_pictures import HEIGHT_PX, WIDTH_PX, Picture
from usfmae.datasets.hdf5_layout import Hdf5Layout
from usfmae.datasets.layouts import ListsLayout, TableLayout
from usfmae.datasets.shape_meanings import CocoPolygons


def write_table_layout(
    root: Path,
    layout: TableLayout,
    classes: Sequence[str],
    drawings: Sequence[Picture],
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
        write_media(root / f"Images/bus{tail}.png", drawing.pixels)
        write_media(root / f"Masks/mask{tail}.png", drawing.lesion)
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
    _write_rows(root / layout.table, header, data)
    inner_header = [f"valid_{outer}" for outer in range(1, num_folds + 1)]
    _write_rows(root / layout.folds.table, ("ID", "Pathology", "kFold", *inner_header), folds)


def write_lists_layout(
    base: Path, layout: ListsLayout, drawings: Sequence[Picture], *, num_classes: int, train_only: bool
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
        write_media(base / f"annotations/{number}.PNG", colour)
        write_media(base / layout.masks[0].format(stem=number), (drawing.lesion > 0).astype(np.uint8))
    for side, files in layout.lists.items():
        if lines[side]:
            for column, file in enumerate(files):
                write_text(base / file, "".join(line[column] for line in lines[side]))


def write_class_folders(
    base: Path, classes: Sequence[str], drawings: Sequence[Picture], *, with_masks: bool = True
) -> None:
    """The layout of BUSI: `benign (1).png`, `benign (1)_mask.png`; every fifth has two maps, one in RGBA."""
    count = dict.fromkeys(classes, 0)
    for drawing in drawings:
        name = classes[drawing.label]
        count[name] += 1
        stem = base / name / f"{name} ({count[name]})"
        write_media(stem.with_name(f"{stem.name}.png"), drawing.pixels)
        if not with_masks:
            continue
        lesion = np.zeros_like(drawing.lesion) if name == "normal" else drawing.lesion
        if count[name] % 5:
            write_media(stem.with_name(f"{stem.name}_mask.png"), lesion)
            continue
        left, right = lesion.copy(), lesion.copy()
        left[:, WIDTH_PX // 2 :] = 0
        right[:, : WIDTH_PX // 2] = 0
        opaque = np.full_like(left, 255)
        write_media(stem.with_name(f"{stem.name}_mask.png"), np.stack([left, left, left, opaque], axis=2))
        write_media(stem.with_name(f"{stem.name}_mask_1.png"), right)


def write_labels_csv(table: Path, classes: Sequence[str], drawings: Sequence[Picture]) -> None:
    """A user's own table with every optional column."""
    sides = ("train", "train", "train", "val", "test")
    rows = []
    for drawing in drawings:
        turn = (drawing.patient // len(classes)) % len(sides)
        if drawing.astray:
            turn = (turn + 3) % len(sides)
        stem = f"p{drawing.patient:03d}_{drawing.shot}"
        write_media(table.parent / f"scans/{stem}.png", drawing.pixels)
        write_media(table.parent / f"lesions/{stem}.png", drawing.lesion)
        files = (f"scans/{stem}.png", f"lesions/{stem}.png")
        rows.append((files[0], classes[drawing.label], f"p{drawing.patient:03d}", sides[turn], files[1]))
    _write_rows(table, ("path", "label", "patient", "split", "mask"), rows)


def write_coco(base: Path, layout: CocoLayout, pictures: Sequence[Picture]) -> None:
    """One file of all images, and one of the tested images per fold; patients are dealt to folds in turn."""
    numbers = list(layout.categories)
    meaning = CocoPolygons(kind="coco", names=layout.categories)
    images, annotations, folds = [], [], []
    for number, picture in enumerate(pictures, start=1):
        name = f"{number:04d}.jpg"
        write_media(base / layout.images.format(file_name=name), picture.pixels)
        images.append((number, name, (HEIGHT_PX, WIDTH_PX)))
        annotations.append((number, numbers[picture.label], meaning.stored(picture.lesion)))
        folds.append(picture.patient // len(numbers) % max(1, layout.num_folds))
    write_text(base / layout.annotations, coco_text(images, annotations))
    for fold in range(layout.num_folds if layout.folds else 0):
        assert layout.folds is not None
        here = [k for k, its_fold in enumerate(folds) if its_fold == fold]
        text = coco_text([images[k] for k in here], [annotations[k] for k in here])
        write_text(base / layout.folds.format(fold=fold), text)


def write_hdf5(base: Path, layout: Hdf5Layout, pictures: Sequence[Picture], classes: Sequence[str]) -> None:
    """One array of frames: two per picture, the second shifted; a patient's shots are clips."""
    import h5py

    clips = [f"{picture.patient + 1}_{picture.shot + 1}" for picture in pictures for _ in range(2)]
    frames = np.stack([np.roll(picture.pixels, 3 * k, 1) for picture in pictures for k in range(2)])
    labels = np.stack([np.roll(picture.lesion, 3 * k, 1) for picture in pictures for k in range(2)])

    def save(file: Path) -> None:
        with h5py.File(file, "w") as arrays:
            arrays[layout.images] = frames
            arrays[layout.meaning.array if layout.meaning.kind == "array" else "mask"] = labels
            arrays[layout.clip] = np.array(clips, dtype="S")
            arrays["frame_num"] = np.arange(len(clips)) % 2

    write_by(base / layout.file, save)
    texts = {meaning: text for text, meaning in (layout.table.labels or {}).items()}
    rows = []
    for picture in pictures:
        row = {layout.table.key: f"{picture.patient + 1}_{picture.shot + 1}"}
        if layout.table.label:
            row[layout.table.label] = texts.get(classes[picture.label], classes[picture.label])
        rows.append({**row, **dict.fromkeys(layout.table.extras, "")})
    write_table(base / layout.table.file, rows)


def _write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    write_table(path, [dict(zip(header, map(str, row), strict=True)) for row in rows])
