"""Do two AUROCs on the same images differ? DeLong's test, also where a patient has several images.

An AUROC is the share of pairs (an image of the class, one outside of it) that the scores order rightly, ties
counted half. What one image contributes is its placement: the share of the other side that it is ordered
rightly against. The spread of the placements gives the variance of the AUROC, their covariance that of two
AUROCs on the same images (DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more
correlated receiver operating characteristic curves", Biometrics 44). Placements come from midranks in
O(n log n) (Sun and Xu 2014, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21).

With groups, placements are summed within each patient before they are squared, and patients with images on
both sides add a term of their own (Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data",
Biometrics 53, eq. 4 and 6). With one image per patient that is DeLong's variance, term by term.

With more than two classes the AUROC is the mean of the one-against-the-rest ones, as in `metrics`, and an
image contributes to each of them. The papers have two classes only; this is the same sum.

With folds, each scored by a network of its own, pairs are those within a fold, as in `metrics`: the AUROC is
the mean of the folds', each weighed by its pairs, and an image's placement counts with that weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import rankdata

from usfmae.evaluate.statistics import Interval

ALIKE = 1e-12
"""Variances below are rounding."""


@dataclass(frozen=True)
class AurocTest:
    """Two AUROCs on the same images and the test of their difference."""

    first: Interval
    """AUROC of the baseline; bounds normal on the logit scale, which holds the truth more often near 1."""

    second: Interval
    """AUROC of the contender."""

    difference: Interval
    """`second - first`."""

    z: float | None
    """The difference in standard errors; None where there is no standard error."""

    p: float | None
    """Two-sided, from the normal distribution."""

    num_images: int
    """Images compared."""

    num_groups: int
    """Patients; images where no groups were given."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "test": "delong" if self.num_groups == self.num_images else "delong-obuchowski",
            "first": self.first.record(),
            "second": self.second.record(),
            "difference": self.difference.record(),
            "z": self.z,
            "p": self.p,
            "num_images": self.num_images,
            "num_groups": self.num_groups,
        }


Answers = Float[np.ndarray, "image class"] | Sequence[Float[np.ndarray, "image class"]]
"""Probabilities of a contender, or of its several seeds."""


def seeds_of(answers: Answers) -> list[Float[np.ndarray, "image class"]]:
    """One array per seed."""
    return [answers] if isinstance(answers, np.ndarray) else list(answers)


def delong_test(
    labels: Int[np.ndarray, " image"],
    first: Answers,
    second: Answers,
    groups: Int[np.ndarray, " image"] | None = None,
    *,
    positive: int | None = None,
    folds: Int[np.ndarray, " image"] | None = None,
    level: float = 0.95,
) -> AurocTest:
    """Both AUROCs, their difference with its interval, and the p-value of no difference.

    Args:
        labels: true classes.
        first: probabilities (or any scores) of the baseline; of several seeds the mean of their AUROCs is
            compared, whose placements are the means of theirs.
        second: the same of the contender, for the same images in the same order.
        groups: the patient of each image, any integers; None takes every image for a patient of its own,
            which makes p too small where that is not so.
        positive: with two classes, the one to be found; the last if None.
        folds: the network that scored each image, any integers; None if one scored all.
        level: of the intervals.

    Raises:
        ValueError: a score is not a number, or the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, got {level}")
    num_groups = len(labels) if groups is None else len(np.unique(groups))
    sides = seeds_of(first), seeds_of(second)
    area, covariance = auroc_covariance(
        labels, [*sides[0], *sides[1]], groups, positive=positive, folds=folds
    )
    mean = np.repeat(np.eye(2), [len(side) for side in sides], axis=1)
    mean /= mean.sum(axis=1, keepdims=True)
    area, covariance = mean @ area, mean @ covariance @ mean.T
    if np.isnan(area).any():
        nothing = Interval(None, None, None, why="not defined: a class has no image here")
        return AurocTest(nothing, nothing, nothing, None, None, len(labels), num_groups)
    change = float(area[1] - area[0])
    if np.isnan(covariance).any():
        why = "no interval: a class has images of one patient only"
        bare = [Interval(float(value), None, None, why=why) for value in (*area, change)]
        return AurocTest(bare[0], bare[1], bare[2], None, None, len(labels), num_groups)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    z, p = _z_and_p(change, variance)
    return AurocTest(
        first=_area_interval(float(area[0]), float(covariance[0, 0]), level),
        second=_area_interval(float(area[1]), float(covariance[1, 1]), level),
        difference=_difference_interval(change, variance, level),
        z=z,
        p=p,
        num_images=len(labels),
        num_groups=num_groups,
    )


def auroc_covariance(
    labels: Int[np.ndarray, " image"],
    probabilities: Sequence[Float[np.ndarray, "image class"]],
    groups: Int[np.ndarray, " image"] | None = None,
    *,
    positive: int | None = None,
    folds: Int[np.ndarray, " image"] | None = None,
) -> tuple[Float[np.ndarray, " classifier"], Float[np.ndarray, "classifier classifier"]]:
    """AUROCs of classifiers on the same images, and how their errors vary together.

    Any contrast can be tested with it: for rows L, `(L a)' (L C L')^-1 (L a)` is chi-square distributed.

    Args:
        labels: true classes.
        probabilities: one array per classifier.
        groups: the patient of each image; None takes every image for a patient of its own.
        positive: with two classes, the one to be found; the last if None.
        folds: the network that scored each image, any integers; None if one scored all.

    Returns:
        The areas, NaN where no fold has a class and others beside it, and their covariance matrix, NaN where
        a class has images of one patient only.

    Raises:
        ValueError: a score is not a number.
    """
    if not all(np.isfinite(scores).all() for scores in probabilities):
        raise ValueError("a probability is not a finite number")
    num_classes = probabilities[0].shape[1]
    ranked = range(num_classes)
    if num_classes == 2:
        ranked = range(1, 2) if positive is None else range(positive, positive + 1)
    num = len(probabilities)
    parts = [np.arange(len(labels))]
    if folds is not None:
        parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    pairs = np.array([[_num_pairs(labels[part] == one) for part in parts] for one in ranked])
    if (pairs.sum(axis=1) == 0).any():
        return np.full(num, np.nan), np.full((num, num), np.nan)
    weights = pairs / pairs.sum(axis=1, keepdims=True) / len(ranked)
    areas, shares = np.zeros(num), np.zeros((num, len(labels)))
    for row, scores in enumerate(probabilities):
        for one, of_class in zip(ranked, weights, strict=True):
            for part, weight in zip(parts, of_class, strict=True):
                if weight:
                    area, share = _contributions(scores[part, one], labels[part] == one)
                    areas[row] += area * weight
                    shares[row, part] += share * weight
    member = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    return areas, _clustered_covariance(shares, labels, member, num_classes)


def _num_pairs(is_positive: Bool[np.ndarray, " image"]) -> int:
    return int(is_positive.sum()) * int((~is_positive).sum())


def _contributions(
    scores: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]
) -> tuple[float, Float[np.ndarray, " image"]]:
    """The area, and by how much each image's placement moves it; the latter sum to 0 on either side."""
    num_positive = int(is_positive.sum())
    num_negative = len(scores) - num_positive
    among_all = rankdata(scores)
    above = among_all[is_positive] - rankdata(scores[is_positive])  # negatives below each positive
    below = num_positive - (among_all[~is_positive] - rankdata(scores[~is_positive]))
    area = float(above.sum() / (num_positive * num_negative))
    share = np.empty(len(scores))
    share[is_positive] = (above / num_negative - area) / num_positive
    share[~is_positive] = (below / num_positive - area) / num_negative
    return area, share


def _clustered_covariance(
    shares: Float[np.ndarray, "classifier image"],
    labels: Int[np.ndarray, " image"],
    member: Int[np.ndarray, " image"],
    num_classes: int,
) -> Float[np.ndarray, "classifier classifier"]:
    """Products of patients' sums, class by class and across, each with its small-sample factor."""
    num, num_groups = len(shares), int(member.max()) + 1
    by_class = np.zeros((num_classes, num, num_groups))
    num_with = np.zeros(num_classes, dtype=int)
    for one in np.unique(labels):
        found = labels == one
        num_with[one] = len(np.unique(member[found]))
        for row in range(num):
            by_class[one, row] = np.bincount(member[found], shares[row, found], minlength=num_groups)
    if (num_with[num_with > 0] < 2).any():
        return np.full((num, num), np.nan)
    total = by_class.sum(axis=0)
    covariance = np.zeros((num, num))
    within = np.zeros((num, num))
    for one in np.flatnonzero(num_with):
        product = by_class[one] @ by_class[one].T
        within += product
        covariance += product * (num_with[one] / (num_with[one] - 1))
    across = total @ total.T - within
    covariance += across * (num_groups / (num_groups - 1))
    return covariance


def _z_and_p(change: float, variance: float) -> tuple[float | None, float | None]:
    if variance < ALIKE:
        return (0.0, 1.0) if abs(change) < ALIKE else (None, None)
    z = change / float(np.sqrt(variance))
    return z, float(2 * ndtr(-abs(z)))


def _area_interval(area: float, variance: float, level: float) -> Interval:
    """Normal on the logit scale (Pepe 2003, "The Statistical Evaluation of Medical Tests", sec. 5.2)."""
    if variance < ALIKE:
        return Interval(area, None, None, why="no interval: all images are placed alike")
    half = float(ndtri((1 + level) / 2) * np.sqrt(variance)) / (area * (1 - area))
    return Interval(area, float(expit(logit(area) - half)), float(expit(logit(area) + half)))


def _difference_interval(change: float, variance: float, level: float) -> Interval:
    if variance < ALIKE:
        if abs(change) < ALIKE:
            return Interval(0.0, 0.0, 0.0)
        return Interval(change, None, None, why="no interval: all images are placed alike")
    half = float(ndtri((1 + level) / 2) * np.sqrt(variance))
    return Interval(change, change - half, change + half)
