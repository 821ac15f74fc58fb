"""Several pictures of one patient, lesion or clip as one answer, without anything new to learn.

The caller says what belongs together: patients, lesions (a patient may have two), clips. Pooling that is
learnt is in `attention_pool`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int64

Fusion = Literal["mean", "max", "log-odds"]
"""How probabilities of several pictures become one: their mean; the largest of each class; or the mean of
their logarithms (a product of experts), which lets a picture that is sure outweigh unsure ones."""

SMALLEST = 1e-12
"""Probability below which a picture is no surer that a class is absent."""


@dataclass(frozen=True, eq=False)
class Bags:
    """Which pictures belong together, in the order in which each bag is first met."""

    names: tuple[str, ...]

    members: tuple[Int64[np.ndarray, " _"], ...]
    """Rows of each bag, ascending; never empty."""

    labels: Int64[np.ndarray, " bag"]
    """One class per bag."""

    num_mixed: int
    """Bags whose pictures carry several labels."""

    def __len__(self) -> int:
        return len(self.names)

    def chosen(self, wanted: Sequence[int]) -> "Bags":
        """Some of the bags, in the order asked for; `num_mixed` stays that of all."""
        return Bags(
            tuple(self.names[one] for one in wanted),
            tuple(self.members[one] for one in wanted),
            self.labels[list(wanted)],
            self.num_mixed,
        )


def bags_of(
    groups: Sequence[str], labels: Int64[np.ndarray, " image"], *, positive: int | None = None
) -> Bags:
    """Collect the pictures of each group.

    A bag whose pictures carry several labels takes the positive one if it is among them (the worst finding
    decides), else the most frequent: the rule of `predictions.per_group`.

    Args:
        groups: patient, lesion or clip of each picture.
        labels: their classes.
        positive: the class to be found; None if none is.

    Raises:
        ValueError: not one group per label.
    """
    if len(groups) != len(labels):
        raise ValueError(f"{len(groups)} groups for {len(labels)} labels")
    rows: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        rows.setdefault(group, []).append(index)
    decided, num_mixed = [], 0
    for found in rows.values():
        counts = np.bincount(labels[found])
        num_mixed += int((counts > 0).sum() > 1)
        worst = positive is not None and positive < len(counts) and counts[positive] > 0
        decided.append(positive if worst else int(counts.argmax()))
    members = tuple(np.array(one, dtype=np.int64) for one in rows.values())
    return Bags(tuple(rows), members, np.array(decided, dtype=np.int64), num_mixed)


def fuse_probabilities(
    probabilities: Float[np.ndarray, "image class"], bags: Bags, *, how: Fusion = "mean"
) -> Float64[np.ndarray, "bag class"]:
    """One row per bag that sums to 1.

    Args:
        probabilities: of each picture.
        bags: which pictures belong together.
        how: see `Fusion`.
    """
    rows = []
    for members in bags.members:
        own = probabilities[members].astype(np.float64)
        if how == "mean":
            fused = own.mean(axis=0)
        elif how == "max":
            fused = own.max(axis=0)
        else:
            logs = np.log(np.maximum(own, SMALLEST)).mean(axis=0)
            fused = np.exp(logs - logs.max())
        rows.append(fused / fused.sum())
    return np.stack(rows)


def mean_features(features: Float[np.ndarray, "image d"], bags: Bags) -> Float[np.ndarray, "bag d"]:
    """The mean feature vector of each bag, for a classifier that is fitted on bags."""
    return np.stack([features[members].mean(axis=0) for members in bags.members])
