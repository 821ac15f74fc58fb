"""A task: labelled images in memory, and the official splits to report on.

The images are prepared once, by the code that prepares them for pretraining and for the clinic, and kept as
grey bytes: 1,500 images of 256 px take 100 MB.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from pydantic import Field

from usfmae.base.config import Config, nearest
from usfmae.base.errors import DatasetError, SettingError
from usfmae.base.files import write_json
from usfmae.base.input_spec import Crop, Fit
from usfmae.base.logs import get_logger
from usfmae.datasets.leave_one_out import leave_one_out_splits
from usfmae.datasets.record import Item, LabelledSet
from usfmae.datasets.registry import get_card, read_dataset
from usfmae.datasets.splits import (
    Split,
    check_no_leak,
    label_fraction,
    labels_per_class,
    official_splits,
)
from usfmae.datasets.task_facts import TaskFacts
from usfmae.evaluate.prepared import read_images
from usfmae.evaluate.subgroup_columns import (
    SIZE,
    Columns,
    outlined_shares,
    size_parts,
    table_columns,
)
from usfmae.evaluate.task_splits import check_classes, chosen_splits, tolerated, without_images

log = get_logger(__name__)

SPLITS_FOLDER = "splits"
"""Below a result's folder: one JSON file per split, with the names on each side."""


class TaskConfig(Config):
    """Which images are learnt from and which are tested."""

    size_px: int = Field(default=256, ge=8, le=4096)
    """Side of the prepared images; that of the corpus, so that contamination can be told by content."""

    fit: Fit = "pad"
    """How pictures are made square; evaluations set it to what the weights have learnt on."""

    crop: Crop = "none"
    """What of each picture is shown; set in the same way."""

    folds: tuple[int | str, ...] | None = None
    """Splits to report on, by name ("fold-2") or number (2); None for all that are here."""

    label_ratio: float = Field(default=1.0, gt=0, le=1)
    """Fraction of the training labels that are used, in whole patients."""

    labels_per_class: int | None = Field(default=None, ge=1)
    """Training images of each class that are used, in whole patients; None for all, or `label_ratio`."""

    learn_from_val: bool = False
    """Train on the validation images too. Nothing is chosen on them then."""

    val_ratio: float = Field(default=0.15, gt=0, lt=1)
    """Share of the images left for training that a carved validation side takes."""

    carve_folds: int | None = Field(default=None, ge=2, le=20)
    """Where nothing is official: so many folds by group, each the test side once; None for one 70/10/20."""

    leave_out: str | None = None
    """A column of the set's tables, such as its device: each of its values is the test side once, and the
    official split is left aside."""

    positive: str | None = None
    """With two classes, the one to be found; None for the last (benign, malignant)."""

    max_unreadable_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of labelled images that may be unreadable; they are left out and named."""

    split_seed: int = Field(default=0, ge=0)
    """Of carved sides and label fractions; kept apart from the training seed, so that test sides stay."""

    label_seed: int | None = Field(default=None, ge=0)
    """Of label fractions alone, for several draws of few labels on one test side; None for `split_seed`."""

    def model_post_init(self, _context: object) -> None:
        few = self.label_ratio < 1 or self.labels_per_class is not None
        if self.learn_from_val and few:
            raise ValueError("learn_from_val would add validation labels to a label_ratio below 1")
        if self.label_ratio < 1 and self.labels_per_class is not None:
            raise ValueError("label_ratio and labels_per_class both say how many labels are used; set one")
        if self.leave_out is not None and self.carve_folds is not None:
            raise ValueError("leave_out and carve_folds both say what is tested; set one")


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled images and the splits on which a classifier is scored."""

    name: str
    """bus-bra, mmotu-2d, busi, folder."""

    root: Path
    """The dataset's folder."""

    config: TaskConfig
    """How it was made."""

    classes: tuple[str, ...]
    """Class names; labels count into them."""

    positive: int | None
    """With two classes, the one to be found; None with more."""

    group_kind: str
    """What a group is: patient, near-duplicate cluster or file."""

    items: tuple[Item, ...]
    """One per image: name, group, label."""

    labels: Int64[np.ndarray, " n"]
    """True classes."""

    images: UInt8[np.ndarray, "n s s"]
    """Prepared grey pixels; black where a file could not be read."""

    splits: tuple[Split, ...]
    """Indices into `items`; unreadable images are on no side."""

    notes: tuple[str, ...]
    """What a reader of a result has to know."""

    facts: TaskFacts | None = field(default=None, kw_only=True)
    """What the card of the set states of it as a task."""

    columns: Columns = field(default_factory=dict, kw_only=True)
    """By which results are given too, a value per image: device, BI-RADS, outlined size."""

    def group_ids(self, indices: Int64[np.ndarray, " k"]) -> Int64[np.ndarray, " k"]:
        """The groups of some images as integers."""
        groups = [self.items[index].group for index in indices.tolist()]
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)

    def learnt_from(self, split: Split) -> Int64[np.ndarray, " k"]:
        """The images whose labels a classifier may be fitted to."""
        return np.union1d(split.train, split.val) if self.config.learn_from_val else split.train

    def watched(self, split: Split) -> Int64[np.ndarray, " k"]:
        """The images on which settings may be chosen and progress is shown; may be empty."""
        return split.val[:0] if self.config.learn_from_val else split.val

    def sha256(self) -> str:
        """A hash of pixels, labels and splits: equal where results can be compared."""
        digest = hashlib.sha256(self.images.tobytes())
        digest.update(self.labels.tobytes())
        for split in self.splits:
            digest.update(split.sha256(self.items).encode())
        return digest.hexdigest()


def load_task(name: str, root: Path, *, config: TaskConfig, workers: int | None = None) -> Task:
    """Read a labelled dataset and its official splits; see `TaskSource.task`.

    Args:
        name: name of the dataset's card, "folder" for a user's own.
        root: its folder.
        config: folds, label fraction, size and so on.
        workers: reading threads; None for one per core, at most 8.
    """
    return TaskSource(name, root, workers=workers).task(config)


class TaskSource:
    """A labelled dataset on this disk, of which several tasks may be made; files are read once for each
    way of showing them.

    Args:
        name: name of the dataset's card, "folder" for a user's own.
        root: its folder.
        workers: reading threads; None for one per core, at most 8.

    Raises:
        SettingError: no such dataset.
        DatasetError: labels are missing, or only one class is there.
    """

    def __init__(self, name: str, root: Path, *, workers: int | None = None) -> None:
        self.name, self.root, self.workers = name, root, workers
        self.facts = get_card(name).task
        self.labelled_set = _with_labels(read_dataset(name, root))
        self._shares: Float64[np.ndarray, " n"] | None = None
        self._shown: dict[tuple[int, Fit, Crop], tuple[UInt8[np.ndarray, "n s s"], dict[int, str]]] = {}

    def images(
        self, *, size_px: int, fit: Fit, crop: Crop
    ) -> tuple[UInt8[np.ndarray, "n s s"], dict[int, str]]:
        """All images prepared in one way, and what was wrong with some; see `read_images`."""
        way = (size_px, fit, crop)
        if way not in self._shown:
            items = self.labelled_set.items
            self._shown[way] = read_images(items, size_px=size_px, fit=fit, crop=crop, workers=self.workers)
        return self._shown[way]

    def columns(self, splits: Sequence[Split]) -> tuple[Columns, tuple[str, ...]]:
        """What images are parted by: columns of the set's tables, and the outlined share of the picture; and
        what a reader of a result has to know of them.

        Args:
            splits: their training images bound small and large where the card does not; see `size_parts`.
        """
        found = table_columns(self.labelled_set.items, self.facts)
        if self._shares is None:
            self._shares = outlined_shares(self.labelled_set.items, workers=self.workers)
        if not (self._shares > 0).any():
            return found, ()
        found[SIZE], notes = size_parts(self._shares, splits, self.facts)
        return found, notes

    def task(self, config: TaskConfig) -> Task:
        """The images, labels and official splits under some settings.

        Raises:
            SettingError: no such fold or class.
            DatasetError: a side lacks a class, or files cannot be read.
            LeakError: a patient is on two sides.
        """
        return _task(self, config)


def _task(source: TaskSource, config: TaskConfig) -> Task:
    labelled_set = source.labelled_set
    splits = asked_splits(labelled_set, config)
    columns, of_columns = source.columns(splits)
    splits = tuple(few_labels(split, labelled_set, config) for split in splits)
    images, problems = source.images(size_px=config.size_px, fit=config.fit, crop=config.crop)
    notes = (*labelled_set.notes, *of_columns)
    if problems:
        unreadable = tolerated(problems, len(images), config.max_unreadable_ratio)
        notes = (*notes, unreadable)
        bad = np.array(sorted(problems), dtype=np.int64)
        splits = tuple(without_images(split, bad) for split in splits)
    for split in splits:
        check_no_leak(split, labelled_set.groups)
        notes = (*notes, *check_classes(labelled_set, split, num_splits=len(splits)))
    return Task(
        name=source.name,
        root=source.root,
        config=config,
        classes=labelled_set.classes,
        positive=_positive(labelled_set.classes, config.positive),
        group_kind=labelled_set.group_kind,
        items=labelled_set.items,
        labels=labelled_set.labels,
        images=images,
        splits=splits,
        notes=notes,
        facts=source.facts,
        columns=columns,
    )


def asked_splits(
    labelled_set: LabelledSet, config: TaskConfig, *, by_class: bool = True
) -> tuple[Split, ...]:
    """The splits to report on, with all of their training labels.

    Args:
        labelled_set: the whole set.
        config: whose `leave_out`, `carve_folds`, `folds`, `val_ratio` and `split_seed` are heeded.
        by_class: whether classes are to be told apart; see `leave_one_out_splits`.
    """
    seed, val_ratio = config.split_seed, config.val_ratio
    if config.leave_out is not None:
        splits = leave_one_out_splits(
            labelled_set, config.leave_out, seed=seed, val_ratio=val_ratio, by_class=by_class
        )
    else:
        splits = official_splits(labelled_set, seed=seed, val_ratio=val_ratio, carve_folds=config.carve_folds)
    return chosen_splits(splits, config.folds)


def few_labels(split: Split, labelled_set: LabelledSet, config: TaskConfig) -> Split:
    """The split with as many of its training images as `label_ratio` or `labels_per_class` say."""
    seed = config.split_seed if config.label_seed is None else config.label_seed
    labels, groups = labelled_set.labels, labelled_set.groups
    if config.labels_per_class is not None:
        return labels_per_class(split, labels, groups, config.labels_per_class, seed)
    return (
        label_fraction(split, labels, groups, config.label_ratio, seed) if config.label_ratio < 1 else split
    )


def write_splits(out: Path, task: Task) -> None:
    """Write the names on each side of each split below a result's folder."""
    for split in task.splits:
        write_json(out / SPLITS_FOLDER / f"{split.name}.json", split.to_json(task.items))


def _with_labels(labelled_set: LabelledSet) -> LabelledSet:
    """The images that have a class; a note says how many were left out."""
    items = tuple(item for item in labelled_set.items if item.label is not None)
    if not items:
        outlined = any(item.masks for item in labelled_set.items)
        hint = "usfmae datasets show says what a set holds"
        if outlined:
            hint = f"it has outlines: usfmae evaluate segment --task {labelled_set.name}, scored by Dice"
        raise DatasetError(
            f"{labelled_set.root}: none of {len(labelled_set):,} images of {labelled_set.name} has a class "
            "to tell apart",
            hint=hint,
        )
    num_bare = len(labelled_set) - len(items)
    if num_bare:
        note = f"{num_bare:,} of {len(labelled_set):,} images have no class and are not used"
        labelled_set = replace(labelled_set, items=items, notes=(*labelled_set.notes, note))
    there = [name for name, count in labelled_set.class_counts().items() if count]
    if len(there) < 2:
        raise DatasetError(
            f"{labelled_set.root}: all {len(labelled_set):,} images are of one class "
            f"({there[0] if there else 'none'}); there is nothing to tell apart",
            hint="add images of a second class",
        )
    return labelled_set


def _positive(classes: tuple[str, ...], name: str | None) -> int | None:
    if name is not None and name not in classes:
        raise SettingError(f"task.positive={name}: no such class", hint=nearest(name, classes))
    if len(classes) != 2:
        return None
    return len(classes) - 1 if name is None else classes.index(name)
