"""A segmentation task: images with a label map each, prepared alike, and the official splits to report on."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from usfmae.base.errors import DatasetError, ImageError, SettingError
from usfmae.base.logs import progress_bar
from usfmae.datasets.record import Item, LabelledSet
from usfmae.datasets.registry import get_card, read_dataset
from usfmae.datasets.splits import Split, check_no_leak
from usfmae.evaluate.protocol import Task, TaskConfig, asked_splits, few_labels
from usfmae.evaluate.task_splits import tolerated, without_images
from usfmae.images.frame import Box
from usfmae.images.prepare import prepare, prepare_mask, shown_box
from usfmae.images.read import read_frame


class SegmentTaskConfig(TaskConfig):
    """Which images are learnt from and tested, and what is to be told apart in them.

    Labels are label maps here: `label_ratio` and `labels_per_class` say how many images are learnt from.
    """

    by_class: bool = False
    """Tell apart of which class a structure is (benign lesion, malignant lesion), by the image's class."""

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.positive is not None:
            raise ValueError("task.positive is for classifiers; structures are all to be found")


@dataclass(frozen=True)
class Stored:
    """A picture as it lies on the disk, where predictions are scored."""

    size: tuple[int, int]
    """(height, width) in pixels."""

    shown: Box
    """The part of it that the network is shown."""

    spacing_mm: tuple[float, float] | None
    """Pixel pitch (down, across); None where neither table nor file says."""


@dataclass(frozen=True, eq=False)
class SegmentTask(Task):
    """Images with label maps; `classes` and `labels` (-1 for none) are the images', where the set has any."""

    config: SegmentTaskConfig
    """How it was made."""

    structures: tuple[str, ...]
    """What is told apart; label k + 1 is the k-th."""

    label_maps: UInt8[np.ndarray, "n s s"]
    """Prepared as the images are; 0 outside."""

    stored: tuple[Stored | None, ...]
    """One per image; None for one that could not be read."""

    def sha256(self) -> str:
        """A hash of pixels, labels, label maps and splits: equal where results can be compared."""
        digest = hashlib.sha256(super().sha256().encode())
        digest.update(self.label_maps.tobytes())
        digest.update("\n".join(self.structures).encode())
        return digest.hexdigest()

    @property
    def unit(self) -> str:
        """Of distances: "mm" where every tested picture has a pixel pitch, else "px" as stored."""
        tested = np.unique(np.concatenate([split.test for split in self.splits])).tolist()
        known = (self.stored[index] for index in tested)
        return "mm" if all(one is not None and one.spacing_mm is not None for one in known) else "px"

    def truth(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """The label map of an image as stored, at its own size.

        Raises:
            ImageError, DatasetError: it cannot be read any more.
        """
        stored = self.stored[index]
        assert stored is not None, "unreadable images are on no side"
        classes = self.classes if self.config.by_class else ()
        return _read_labels(self.items[index], stored.size, self.structures, classes)


def load_segment_task(
    name: str, root: Path, *, config: SegmentTaskConfig, workers: int | None = None
) -> SegmentTask:
    """Read a dataset's images, label maps and official splits.

    A still has one label map, or several that are merged (later ones lie on top). Of a clip the frames that
    are annotated one by one are used, each as an image of its own; label maps of whole clips and volumes are
    left out, and a note says how many.

    Args:
        name: name of the dataset's card, "folder" for a user's own.
        root: its folder.
        config: folds, label fraction, size and so on.
        workers: reading threads; None for one per core, at most 8.

    Raises:
        SettingError: no such dataset, fold or column; `by_class` or `labels_per_class` for a set without
            classes.
        DatasetError: no label maps; files that cannot be read, or label maps of another size than their
            image (more than `config.max_unreadable_ratio` of them); nothing is drawn on a side of a split.
        LeakError: a patient is on two sides.
    """
    drawn_set = _with_label_maps(read_dataset(name, root))
    classes = drawn_set.classes if config.by_class else ()
    if config.by_class and (len(classes) < 2 or any(item.label is None for item in drawn_set.items)):
        raise SettingError(
            f"task.by_class=true: not every image of {name} has a class",
            hint="--set task.by_class=false tells structures apart without it",
        )
    structures = _structures(drawn_set.items, classes)
    if config.labels_per_class is not None and (drawn_set.labels < 0).any():
        raise SettingError(
            f"task.labels_per_class={config.labels_per_class}: not every image of {name} has a class",
            hint="--set task.label_ratio=0.1 takes a tenth of the training images, in whole patients",
        )
    splits = asked_splits(drawn_set, config, by_class=False)
    splits = tuple(few_labels(split, drawn_set, config) for split in splits)
    images, label_maps, stored, problems = _read_all(drawn_set.items, structures, classes, config, workers)
    notes = drawn_set.notes
    if problems:
        notes = (*notes, tolerated(problems, len(images), config.max_unreadable_ratio))
        bad = np.array(sorted(problems), dtype=np.int64)
        splits = tuple(without_images(split, bad) for split in splits)
    num_empty = sum(
        one is not None and not label_map.any() for one, label_map in zip(stored, label_maps, strict=True)
    )
    if num_empty:
        notes = (
            *notes,
            f"{num_empty:,} of {len(images):,} label maps are empty: nothing is to be found there",
        )
    for split in splits:
        check_no_leak(split, drawn_set.groups)
        notes = (*notes, *_checked(root, split, label_maps, structures))
    return SegmentTask(
        name=name,
        root=root,
        config=config,
        classes=drawn_set.classes,
        positive=None,
        group_kind=drawn_set.group_kind,
        items=drawn_set.items,
        labels=drawn_set.labels,
        images=images,
        splits=splits,
        notes=tuple(dict.fromkeys(notes)),
        structures=structures,
        label_maps=label_maps,
        stored=stored,
        facts=get_card(name).task,
    )


def _with_label_maps(labelled_set: LabelledSet) -> LabelledSet:
    """One item per picture that has a label map of its own; notes say how many others were left out."""
    items: list[Item] = []
    num_bare = num_whole = 0
    for item in labelled_set.items:
        if not item.masks:
            num_bare += 1
        elif item.media == "image" or item.frame is not None:
            items.append(item)
        else:
            frames = sorted({mask.frame for mask in item.masks if mask.frame is not None})
            num_whole += not frames
            for frame in frames:
                masks = tuple(mask for mask in item.masks if mask.frame == frame)
                items.append(replace(item, masks=masks, frame=frame, name=f"{item.name}#{frame}"))
    if not items:
        whole = f"; {num_whole:,} have one for a whole clip or volume, which is not supported" * bool(
            num_whole
        )
        raise DatasetError(
            f"{labelled_set.root}: none of {len(labelled_set):,} images has a label map{whole}",
            hint="usfmae datasets show says what a set holds; your own need a column `mask` in labels.csv",
        )
    notes = list(labelled_set.notes)
    if num_bare:
        notes.append(f"{num_bare:,} of {len(labelled_set):,} images have no label map and are not used")
    if num_whole:
        notes.append(f"{num_whole:,} clips or volumes have a label map for all frames and are not used")
    return replace(labelled_set, items=tuple(items), notes=tuple(notes))


def _structures(items: Sequence[Item], classes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of all structures that label maps may hold, in order; by class each class has its own."""
    found = dict.fromkeys(name for item in items for mask in item.masks for name in mask.meaning.structures)
    if not classes:
        return tuple(found)
    return tuple(_name(name, of, alone=len(found) == 1) for of in classes for name in found)


def _name(structure: str, of: str, *, alone: bool) -> str:
    """Of a structure in the images of a class; the class says it all where there is one structure only."""
    return of if alone else f"{structure} ({of})"


def _read_labels(
    item: Item, size: tuple[int, int], structures: tuple[str, ...], classes: tuple[str, ...]
) -> UInt8[np.ndarray, "height width"]:
    """The merged label maps of a picture, with labels that count into `structures`; `classes` where these are
    told apart by the class of the image, else empty."""
    merged = np.zeros(size, dtype=np.uint8)
    for mask in item.masks:
        labels = mask.read(size)
        if labels.shape != size:
            raise DatasetError(f"{mask.path}: has {labels.ndim} axes, one picture is meant")
        for number, name in enumerate(mask.meaning.structures, start=1):
            if classes:
                assert item.label is not None, "checked when the task was loaded"
                name = _name(name, classes[item.label], alone=len(structures) == len(classes))
            merged[labels == number] = structures.index(name) + 1
    return merged


def _read_all(
    items: Sequence[Item],
    structures: tuple[str, ...],
    classes: tuple[str, ...],
    config: SegmentTaskConfig,
    workers: int | None,
) -> tuple[UInt8[np.ndarray, "n s s"], UInt8[np.ndarray, "n s s"], tuple[Stored | None, ...], dict[int, str]]:
    """Prepared images and label maps, what they look like on the disk, and what was wrong by index."""
    side = config.size_px
    images = np.zeros((len(items), side, side), dtype=np.uint8)
    label_maps = np.zeros_like(images)
    stored: list[Stored | None] = [None] * len(items)
    problems: dict[int, str] = {}

    def read(index: int) -> None:
        item = items[index]
        try:
            frame = read_frame(item.path, item.frame or 0, key=item.array)
            size = (frame.height, frame.width)
            labels = _read_labels(item, size, structures, classes)
            shown = shown_box(frame, crop=config.crop)
            images[index] = prepare(frame, size_px=side, fit=config.fit, crop=config.crop)
            label_maps[index] = prepare_mask(labels, size_px=side, fit=config.fit, shown=shown)
            stored[index] = Stored(size, shown, item.spacing_mm or frame.spacing_mm)
        except (ImageError, DatasetError) as error:
            problems[index] = error.message

    threads = workers or min(8, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool, progress_bar("read label maps", total=len(items)) as bar:
        for _ in pool.map(read, range(len(items))):
            bar.advance()
    return images, label_maps, tuple(stored), problems


def _checked(
    root: Path, split: Split, label_maps: UInt8[np.ndarray, "n s s"], structures: tuple[str, ...]
) -> list[str]:
    """Notes on structures that are missing on a side; nothing at all on a side is an error."""
    notes = []
    for side in ("train", "test"):
        indices: Int64[np.ndarray, " k"] = getattr(split, side)
        there = {int(label) for index in indices.tolist() for label in np.unique(label_maps[index])} - {0}
        if not there:
            raise DatasetError(
                f"{root}: all {len(indices):,} label maps on the {side} side of split {split.name} are empty",
                hint="check what the values of the label maps mean: usfmae datasets show",
            )
        missing = [name for label, name in enumerate(structures, start=1) if label not in there]
        if missing:
            notes.append(f"split {split.name}: no image of the {side} side shows {', '.join(missing)}")
    return notes
