"""Cross-validation inside the training side: whole patients at a time, so that a setting can be chosen
without the validation images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from usfmae.datasets.partition import deal_groups

NUM_FOLDS = 5
"""Parts into which training images are dealt; fewer where there are fewer groups."""

InnerFold = tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]]
"""Rows that are learnt from, and rows that are asked."""


def inner_folds(
    labels: Int64[np.ndarray, " n"], groups: Sequence[str], *, seed: int, purpose: str
) -> list[InnerFold]:
    """Deal whole groups to parts, each of which is asked once while the others are learnt from.

    Args:
        labels: classes of the training images.
        groups: the patient (or near-duplicate cluster) of each.
        seed: another seed deals otherwise; the order of the images does not matter.
        purpose: what is chosen, so that two choices with one seed are independent.

    Returns:
        As many parts as possible up to `NUM_FOLDS` such that every class is learnt in each; none where a
        class lies within one group, or the groups cannot be dealt so.
    """
    classes, names = np.unique(labels), len(set(groups))
    for num in range(min(NUM_FOLDS, names), 1, -1):
        side = deal_groups(groups, labels, [1 / num] * num, seed=seed, purpose=purpose)
        sides = [np.flatnonzero(side == one) for one in range(num)]
        folds = [(np.flatnonzero(side != one), asked) for one, asked in enumerate(sides) if len(asked)]
        if len(folds) > 1 and all(len(np.unique(labels[learnt])) == len(classes) for learnt, _ in folds):
            return folds
    return []
