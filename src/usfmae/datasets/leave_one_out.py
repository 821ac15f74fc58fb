"""Splits that test on one device, hospital or operator at a time, and learn from the others.

An official split has the same devices on both sides, so it does not say what happens on a new one; leaving
each out in turn does.
"""

import re
from collections import Counter
from dataclasses import replace

import numpy as np

from usfmae.base.config import nearest
from usfmae.base.errors import DatasetError, SettingError
from usfmae.datasets.partition import deal_groups
from usfmae.datasets.record import LabelledSet
from usfmae.datasets.splits import Split, check_filled, check_no_leak

MAX_SPLITS = 50
"""More values are no devices or hospitals, but a measurement."""


def leave_one_out_splits(
    labelled_set: LabelledSet,
    column: str,
    *,
    seed: int = 0,
    val_ratio: float = 0.15,
    by_class: bool = True,
) -> tuple[Split, ...]:
    """One split per value of a column: its images are the test side, validation is carved from the others.

    A group with images of several values is tested with each of them, and its other images are then on no
    side. A value whose images all have one class is never tested, since nothing can be told apart there
    (unless outlines are what is told). Images without a value are learnt from.

    Args:
        labelled_set: with tables, or folders that say more than the class.
        column: by its name in the tables, in any case.
        seed: of what is carved.
        val_ratio: share of the images left for training that go to validation.
        by_class: whether classes are to be told apart; without, as for label maps, every value is tested.

    Raises:
        SettingError: no such column.
        DatasetError: fewer than two values, none that can be tested, or nothing left to learn from.
    """
    columns = list(dict.fromkeys(name for item in labelled_set.items for name in item.extras))
    named = {name.casefold(): name for name in columns}
    if column.casefold() not in named:
        raise SettingError(f"task.leave_out: there is no column {column} here", hint=nearest(column, columns))
    name = named[column.casefold()]
    values = np.array([item.extras.get(name, "").strip() for item in labelled_set.items])
    known = sorted(set(values.tolist()) - {""})
    if len(known) < 2:
        raise DatasetError(
            f"{labelled_set.root}: all images have the same {name}: {''.join(known) or 'none'}"
        )
    labels = labelled_set.labels
    tested = [value for value in known if not by_class or len(set(labels[values == value].tolist())) > 1]
    if not tested:
        raise DatasetError(f"{labelled_set.root}: the images of every {name} have one class")
    if len(tested) > MAX_SPLITS:
        raise DatasetError(
            f"{labelled_set.root}: {len(tested):,} values of {name} would be as many splits",
            hint=f"at most {MAX_SPLITS} are tested; join some values in the table",
        )
    never = [f"{value} ({(values == value).sum():,})" for value in known if value not in tested]
    notes = (f"never tested, since their images have one class: {', '.join(never)}",) if never else ()
    splits = [_without(labelled_set, values, value, name, seed, val_ratio) for value in tested]
    times = Counter(split.name for split in splits)
    return tuple(
        replace(
            split,
            name=f"{split.name}-{number}" if times[split.name] > 1 else split.name,
            notes=(*notes, *split.notes),
        )
        for number, split in enumerate(splits, start=1)
    )


def _without(
    labelled_set: LabelledSet, values: np.ndarray, value: str, name: str, seed: int, val_ratio: float
) -> Split:
    groups = np.array(labelled_set.groups)
    tested = values == value
    on_both = ~tested & np.isin(groups, groups[tested])
    rest = np.flatnonzero(~tested & ~on_both)
    shares = (1 - val_ratio, val_ratio)
    of_rest = groups[rest].tolist(), labelled_set.labels[rest]
    sides = deal_groups(*of_rest, shares, seed=seed, purpose="val") if len(rest) else np.zeros(0)
    shared = f"{int(on_both.sum()):,} images with another {name} are of tested groups and not used"
    split = Split(
        f"{_as_name(name)}-{_as_name(value)}",
        rest[sides == 0],
        rest[sides == 1],
        np.flatnonzero(tested),
        (shared,) if on_both.any() else (),
    )
    check_filled(labelled_set, split)
    check_no_leak(split, labelled_set.groups)
    return split


def _as_name(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.casefold()).strip("-") or "other"
