"""Train, validation and test without a patient (or near-duplicate) on two sides.

Official splits are taken as published where they are there; what they leave open is carved by group. Every
split is checked by `check_no_leak` before it is handed out.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from usfmae.base.errors import DatasetError, LeakError, SettingError
from usfmae.base.seeds import seed_for
from usfmae.datasets.partition import deal_groups, groups_by_class
from usfmae.datasets.record import SPLIT_SIDES, Item, LabelledSet

TEST_RATIO = 0.2
"""Share of the test side where the dataset names none."""

VAL_RATIO = 0.1
"""Share of the validation side in a split that is carved altogether (70/10/20)."""

Indices = Int64[np.ndarray, " _"]
"""Indices into `LabelledSet.items`, ascending."""


@dataclass(frozen=True, eq=False)
class Split:
    """Which images are learnt from, watched and tested: indices into `LabelledSet.items`, ascending."""

    name: str
    """fold-2, official, carved-from-train, grouped-70-10-20."""

    train: Int64[np.ndarray, " train"]
    val: Int64[np.ndarray, " val"]
    test: Int64[np.ndarray, " test"]

    notes: tuple[str, ...] = ()
    """What a reader of the result has to know about this split."""

    known_leaks: Int64[np.ndarray, " leak"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Validation and test images that the official lists put apart from a near-duplicate: report with and
    without them (`without_known_leaks`). Empty nearly everywhere."""

    def to_json(self, items: Sequence[Item]) -> dict[str, Any]:
        """The split as a file: the sorted names of each side (paths below the dataset's folder)."""
        sides = {side: sorted(items[i].name for i in getattr(self, side).tolist()) for side in SPLIT_SIDES}
        return {"name": self.name, **sides}

    def sha256(self, items: Sequence[Item]) -> str:
        """A hash of the names on each side: equal for equal splits, wherever the files lie."""
        content = {side: names for side, names in self.to_json(items).items() if side != "name"}
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()

    def without_known_leaks(self) -> "Split":
        """The same split with `known_leaks` taken off validation and test; training is untouched."""
        return replace(
            self,
            name=f"{self.name}-without-near-duplicates",
            val=np.setdiff1d(self.val, self.known_leaks),
            test=np.setdiff1d(self.test, self.known_leaks),
            known_leaks=np.zeros(0, dtype=np.int64),
        )


def official_splits(
    labelled_set: LabelledSet, *, seed: int = 0, val_ratio: float = 0.15, carve_folds: int | None = None
) -> tuple[Split, ...]:
    """The splits to report on: one per outer fold that is here, otherwise a single one.

    Folds: each is the test side once, validation is carved by group from the others. Official sides: as
    listed; a missing validation side is carved from train. Without an official test side, test is carved from
    train too, and the split is called "carved-from-train". Nothing official: 70/10/20 by group, or as many
    folds by group as asked for.

    Args:
        labelled_set: as `read_dataset` gives it, with its groups.
        seed: of what is carved; keep it fixed over training seeds, or their test sides differ.
        val_ratio: share of the images left for training that go to a carved validation side.
        carve_folds: for a set without official folds or sides; None for a single split.

    Returns:
        Splits whose sides are disjoint and part no group, except for `Split.known_leaks`.

    Raises:
        LeakError: the official folds or sides part a patient.
        DatasetError: too few folds or groups to fill every side.
        SettingError: folds are to be carved of a set that has official ones, or official sides.
    """
    if not 0 < val_ratio < 1:
        raise ValueError(f"val_ratio must lie between 0 and 1, not {val_ratio}")
    carver = _Carver(labelled_set, seed)
    if carve_folds is not None and any(item.fold is not None or item.split for item in labelled_set.items):
        raise SettingError(
            f"{labelled_set.root}: {labelled_set.name} has an official split, which is the one to report on",
            hint="leave task.carve_folds out",
        )
    if any(item.fold is not None for item in labelled_set.items):
        splits = _fold_splits(labelled_set, carver, val_ratio)
    elif any(item.split is not None for item in labelled_set.items):
        splits = (_listed_split(labelled_set, carver, val_ratio),)
    elif carve_folds is not None:
        splits = carver.folds(carve_folds, val_ratio)
    else:
        everything = np.arange(len(labelled_set), dtype=np.int64)
        rest, test = carver.carve(everything, TEST_RATIO, "test")
        train, val = carver.carve(rest, VAL_RATIO / (1 - TEST_RATIO), "val")
        splits = (Split("grouped-70-10-20", train, val, test),)
    for split in splits:
        check_filled(labelled_set, split)
        check_no_leak(split, labelled_set.groups)
    return splits


def check_no_leak(split: Split, groups: Sequence[str]) -> None:
    """Raise if an image or a group is on two sides; `split.known_leaks` are excused.

    Args:
        split: indices into `groups`.
        groups: the group of each image.

    Raises:
        LeakError: how many groups, and the first.
    """
    excused = set(split.known_leaks.tolist())
    sides_of: dict[str, set[str]] = defaultdict(set)
    places: dict[int, list[str]] = defaultdict(list)
    for side in SPLIT_SIDES:
        for index in getattr(split, side).tolist():
            places[index].append(side)
            if side == "train" or index not in excused:
                sides_of[groups[index]].add(side)
    twice = sorted(index for index, found in places.items() if len(found) > 1)
    if twice:
        raise LeakError(f"split {split.name}: {len(twice):,} images stand twice (first: number {twice[0]})")
    parted = sorted(group for group, sides in sides_of.items() if len(sides) > 1)
    if parted:
        sides = " and ".join(side for side in SPLIT_SIDES if side in sides_of[parted[0]])
        raise LeakError(
            f"split {split.name}: {len(parted):,} of {len(sides_of):,} groups are on two sides "
            f"(first: '{parted[0]}' in {sides})",
            hint="put all images of a group on one side",
        )


def label_fraction(
    split: Split, labels: Int64[np.ndarray, " n"], groups: Sequence[str], ratio: float, seed: int
) -> Split:
    """The same split with a fraction of the training labels, in whole groups; validation and test stay.

    In each class, groups are taken in the order of their hash until the fraction is reached (at least one),
    so the 10 % of a seed are part of its 25 %.

    Args:
        split: the full split.
        labels: the class of each image of the set.
        groups: the group of each image of the set.
        ratio: fraction of the training images of each class, above 0 and at most 1.
        seed: another seed takes other groups.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must lie above 0 and up to 1, not {ratio}")
    train_groups = [groups[index] for index in split.train.tolist()]
    train_labels = labels[split.train]
    sizes = Counter(train_groups)
    kept: set[str] = set()
    for members in groups_by_class(train_groups, train_labels, seed=seed, purpose="label fraction").values():
        wanted = ratio * sum(sizes[group] for group in members)
        taken = 0
        for group in members:
            if taken >= wanted - 1e-9:
                break
            kept.add(group)
            taken += sizes[group]
    return _with_few(split, train_groups, kept, name=f"{ratio:g}-labels")


def labels_per_class(
    split: Split, labels: Int64[np.ndarray, " n"], groups: Sequence[str], num: int, seed: int
) -> Split:
    """The same split with so many training images of each class, in whole groups; validation and test stay.

    Groups are taken in the order of their hash until there are at least `num` images, so a class has a few
    more where the last group has several; a class that has fewer keeps them all.

    Args:
        split: the full split.
        labels: the class of each image of the set.
        groups: the group of each image of the set.
        num: images per class, at least 1.
        seed: another seed takes other groups.
    """
    if num < 1:
        raise ValueError(f"at least one image per class is needed, not {num}")
    train_groups = [groups[index] for index in split.train.tolist()]
    train_labels = labels[split.train].tolist()
    held: dict[str, Counter[int]] = defaultdict(Counter)
    for group, label in zip(train_groups, train_labels, strict=True):
        held[group][label] += 1
    in_order = sorted(held, key=lambda group: (seed_for(seed, "label fraction", group), group))
    kept: set[str] = set()
    for label in sorted(set(train_labels)):
        taken = 0
        for group in in_order:
            if taken >= num:
                break
            if held[group][label]:
                kept.add(group)
                taken += held[group][label]
    return _with_few(split, train_groups, kept, name=f"{num}-per-class")


def _with_few(split: Split, train_groups: Sequence[str], kept: set[str], *, name: str) -> Split:
    """The split with the training images of some groups."""
    chosen = np.array([group in kept for group in train_groups], dtype=bool)
    note = f"{int(chosen.sum()):,} of {len(chosen):,} training labels are used"
    return replace(split, name=f"{split.name}-{name}", train=split.train[chosen], notes=(*split.notes, note))


class _Carver:
    """Deals the groups of one set with one seed."""

    def __init__(self, labelled_set: LabelledSet, seed: int) -> None:
        self.groups = labelled_set.groups
        self.labels = labelled_set.labels
        self.seed = seed

    def carve(self, indices: Indices, ratio: float, purpose: str) -> tuple[Indices, Indices]:
        """What stays of `indices`, and a `ratio` of them in whole groups."""
        groups = [self.groups[index] for index in indices.tolist()]
        sides = deal_groups(groups, self.labels[indices], (1 - ratio, ratio), seed=self.seed, purpose=purpose)
        return indices[sides == 0], indices[sides == 1]

    def folds(self, num: int, val_ratio: float) -> tuple[Split, ...]:
        """Every image is tested once, in whole groups, and each fold has its share of every class."""
        dealt = deal_groups(self.groups, self.labels, (1 / num,) * num, seed=self.seed, purpose="folds")
        splits = []
        for fold in range(num):
            train, val = self.carve(np.flatnonzero(dealt != fold), val_ratio, "val")
            splits.append(Split(f"carved-fold-{fold + 1}", train, val, np.flatnonzero(dealt == fold)))
        return tuple(splits)


def _fold_splits(labelled_set: LabelledSet, carver: _Carver, val_ratio: float) -> tuple[Split, ...]:
    folds = np.array([item.fold or 0 for item in labelled_set.items])
    here = sorted(set(folds.tolist()) - {0})
    if len(here) < 2:
        raise DatasetError(
            f"{labelled_set.root}: only fold {here[0]} is here; testing on one needs another to learn from",
            hint="add the images of the other folds",
        )
    num_outside = int((folds == 0).sum())
    notes = (f"{num_outside:,} images are in no fold and are not used",) if num_outside else ()
    splits = []
    for fold in here:
        rest = np.flatnonzero((folds != fold) & (folds != 0))
        train, val = carver.carve(rest, val_ratio, "val")
        splits.append(Split(f"fold-{fold}", train, val, np.flatnonzero(folds == fold), notes))
    return tuple(splits)


def _listed_split(labelled_set: LabelledSet, carver: _Carver, val_ratio: float) -> Split:
    on = np.array([item.split or "" for item in labelled_set.items])
    train, val, test = (np.flatnonzero(on == side) for side in SPLIT_SIDES)
    name = "official"
    notes = []
    if not len(test):
        name = "carved-from-train"
        train, test = carver.carve(train, TEST_RATIO, "test")
        notes.append(
            f"no official test images are here: {len(test):,} were carved from train by "
            f"{labelled_set.group_kind}, so results do not compare with published ones"
        )
    if not len(val):
        train, val = carver.carve(train, val_ratio, "val")
        notes.append(f"{len(val):,} validation images were carved from train by {labelled_set.group_kind}")
    split = Split(name, train, val, test, tuple(notes))
    return split if labelled_set.group_kind == "patient" else _with_known_leaks(split, carver.groups)


def _with_known_leaks(split: Split, groups: Sequence[str]) -> Split:
    """Name the images that an official list parts from their near-duplicates."""
    seen: set[str] = set()
    leaks: list[int] = []
    for side in SPLIT_SIDES:
        indices = getattr(split, side).tolist()
        leaks += [index for index in indices if groups[index] in seen]
        seen |= {groups[index] for index in indices}
    if not leaks:
        return split
    note = (
        f"{len(leaks):,} validation and test images are near-duplicates of images on another side: "
        "read results with and without them"
    )
    return replace(split, notes=(*split.notes, note), known_leaks=np.array(sorted(leaks), dtype=np.int64))


def check_filled(labelled_set: LabelledSet, split: Split) -> None:
    """Raise if a side is empty.

    Raises:
        DatasetError: which, and how many groups there are.
    """
    empty = [side for side in SPLIT_SIDES if not len(getattr(split, side))]
    if empty:
        raise DatasetError(
            f"{labelled_set.root}: {labelled_set.num_groups:,} groups ({labelled_set.group_kind}) "
            f"are too few for train, validation and test; {' and '.join(empty)} would stay empty",
            hint="add images of more patients",
        )
