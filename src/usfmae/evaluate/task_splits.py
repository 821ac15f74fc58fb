"""What is checked of a task's splits, and what is left out of them."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from usfmae.base.config import nearest
from usfmae.base.errors import DatasetError, SettingError
from usfmae.base.logs import get_logger
from usfmae.datasets.record import LabelledSet
from usfmae.datasets.splits import Split

log = get_logger(__name__)


def check_classes(labelled_set: LabelledSet, split: Split, *, num_splits: int) -> list[str]:
    """Raise where a classifier could not be learnt or judged; say which classes a side lacks.

    Args:
        labelled_set: the whole set.
        split: one of its splits.
        num_splits: how many are reported on, for the hint.

    Returns:
        Notes for the result, one per class that some side lacks; none where every side has every class
        that the set has.

    Raises:
        DatasetError: the train or the test side holds one class only.
    """
    held = {
        side: set(labelled_set.labels[getattr(split, side)].tolist()) for side in ("train", "val", "test")
    }
    for side in ("train", "test"):
        if len(held[side]) < 2:
            only = labelled_set.classes[held[side].pop()] if held[side] else "no class"
            others = "; or report on the other splits only, by task.folds" if num_splits > 1 else ""
            raise DatasetError(
                f"{labelled_set.root}: the {side} side of split {split.name} holds only {only}",
                hint=f"add images of other classes, or of more patients{others}",
            )
    notes = []
    for label, name in enumerate(labelled_set.classes):
        if label not in held["test"] and label in held["train"] | held["val"]:
            notes.append(
                f"split {split.name}: no test image is {name}, so AUROC is not defined there, and macro-F1 "
                f"is that of the other classes, with 0 for {name} where an image is called so"
            )
        elif label in held["test"] and label not in held["train"]:
            num = int((labelled_set.labels[split.test] == label).sum())
            notes.append(
                f"split {split.name}: no training image is {name}, so none of its {num:,} test images can be "
                "told"
            )
        elif label in held["test"] and label not in held["val"] and len(split.val):
            notes.append(
                f"split {split.name}: no validation image is {name}; what is chosen there does not know it"
            )
    return notes


def chosen_splits(splits: tuple[Split, ...], folds: tuple[int | str, ...] | None) -> tuple[Split, ...]:
    """The splits with these names or numbers; all for None.

    Raises:
        SettingError: one is not there.
    """
    if folds is None:
        return splits
    by_name = {split.name: split for split in splits}
    chosen = {}
    for fold in folds:
        numbered = (f"fold-{fold}", f"carved-fold-{fold}")
        name = next((one for one in numbered if one in by_name), str(fold))
        if name not in by_name:
            raise SettingError(
                f"task.folds: there is no split {fold} here", hint=nearest(name, list(by_name))
            )
        chosen[name] = by_name[name]
    if not chosen:
        raise SettingError("task.folds: names no split", hint=f"known: {', '.join(by_name)}")
    return tuple(chosen.values())


def tolerated(problems: dict[int, str], num_images: int, max_ratio: float) -> str:
    """A note about images that cannot be read.

    Raises:
        DatasetError: they are more than `max_ratio` of all.
    """
    first = problems[min(problems)]
    said = f"{len(problems):,} of {num_images:,} labelled images cannot be read (first: {first})"
    if len(problems) > max_ratio * num_images:
        raise DatasetError(
            said,
            hint="repair them or take them out; --set task.max_unreadable_ratio=0.05 goes on without them",
        )
    for problem in problems.values():
        log.warning("left out: %s", problem)
    return said


def without_images(split: Split, bad: Int64[np.ndarray, " bad"]) -> Split:
    """The split with some images on no side."""
    return replace(
        split,
        train=np.setdiff1d(split.train, bad),
        val=np.setdiff1d(split.val, bad),
        test=np.setdiff1d(split.test, bad),
        known_leaks=np.setdiff1d(split.known_leaks, bad),
    )
