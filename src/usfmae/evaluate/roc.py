"""ROC curves with a band over patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from usfmae.base.seeds import rng_for
from usfmae.evaluate.metrics import score
from usfmae.evaluate.predictions import Predictions, fold_ids
from usfmae.evaluate.statistics import BootstrapConfig

GRID = np.linspace(0, 1, 201)
"""False-positive rates at which curves are averaged and bands are given."""


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Sensitivity against false-positive rate, with a pointwise interval."""

    false_positive: Float[np.ndarray, " point"]
    true_positive: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"] | None
    """Lower end of the 95 % interval of the true-positive rate; None if every resample lost a class."""

    high: Float[np.ndarray, " point"] | None
    auroc: float
    """Exact area, ties counted half; of one fold scikit-learn's `roc_auc_score` (one-vs-rest, macro)."""


def roc_curve(
    predictions: Predictions, *, positive: int | None = None, bootstrap: BootstrapConfig | None = None
) -> RocCurve | None:
    """The ROC curve of the positive class, or with more than two classes the mean of all one-vs-rest curves.

    The band is the interval of the sensitivity at each false-positive rate when whole patients are drawn
    with replacement (vertical averaging; Fawcett 2006, "An introduction to ROC analysis", sec. 8). Each fold,
    scored by a network of its own, has a curve of its own, weighed by its pairs as in `metrics`.

    Args:
        predictions: one row per image (or patient).
        positive: with two classes the one to be found; the last if None.
        bootstrap: draws, level and seed.

    Returns:
        None if a class has no image, so that there is no curve.
    """
    bootstrap = bootstrap or BootstrapConfig()
    num_classes = len(predictions.classes)
    ranked = [num_classes - 1 if positive is None else positive] if num_classes == 2 else range(num_classes)
    if len(np.unique(predictions.labels)) < num_classes:
        return None
    folds = fold_ids(predictions)
    parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    sides = [
        [_Side(part, predictions.probabilities[part, one], predictions.labels[part] == one) for part in parts]
        for one in ranked
    ]
    rate = _mean_curve(sides, np.ones(len(predictions)))
    if rate is None:
        return None
    drawn = _resampled(predictions, sides, bootstrap)
    low = high = None
    if len(drawn):
        low, high = np.quantile(drawn, [(1 - bootstrap.level) / 2, (1 + bootstrap.level) / 2], axis=0)
    auroc = score(predictions.labels, predictions.probabilities, positive=positive, folds=folds)["auroc"]
    return RocCurve(GRID, rate, low, high, auroc)


@dataclass(frozen=True, eq=False)
class _Side:
    """One fold for one class."""

    part: Int[np.ndarray, " part"]
    """Its images."""

    scores: Float[np.ndarray, " part"]
    """Of the class."""

    found: Bool[np.ndarray, " part"]
    """Which are of the class."""

    def num_pairs(self, weight: Float[np.ndarray, " image"]) -> float:
        """Images of the class times those outside of it, as weighed."""
        mine = weight[self.part]
        return float(mine[self.found].sum() * mine[~self.found].sum())


def _mean_curve(
    sides: Sequence[Sequence[_Side]], weight: Float[np.ndarray, " image"]
) -> Float[np.ndarray, " point"] | None:
    """Over folds, weighed by their pairs, then over classes; None if a class has no pair in any fold."""
    curves = []
    for of_class in sides:
        pairs = np.array([side.num_pairs(weight) for side in of_class])
        if not pairs.any():
            return None
        rows = [
            share * _sensitivity_at(GRID, side.scores, side.found, weight[side.part])
            for share, side in zip(pairs / pairs.sum(), of_class, strict=True)
            if share
        ]
        curves.append(np.sum(rows, axis=0))
    mean: Float[np.ndarray, " point"] = np.mean(curves, axis=0)
    return mean


def _resampled(
    predictions: Predictions,
    sides: Sequence[Sequence[_Side]],
    bootstrap: BootstrapConfig,
) -> Float[np.ndarray, "draw point"]:
    """The curve for each draw of patients; draws without both sides of every class are left out."""
    member = predictions.group_ids
    num_groups = int(member.max()) + 1
    rng = rng_for(bootstrap.seed, "bootstrap")
    curves = []
    for _ in range(bootstrap.num_resamples):
        weight = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups))[member].astype(float)
        curve = _mean_curve(sides, weight)
        if curve is not None:
            curves.append(curve)
    return np.array(curves).reshape(len(curves), len(GRID))


def _sensitivity_at(
    rates: Float[np.ndarray, " point"],
    scores: Float[np.ndarray, " image"],
    found: Bool[np.ndarray, " image"],
    weight: Float[np.ndarray, " image"],
) -> Float[np.ndarray, " point"]:
    """Sensitivity at each false-positive rate; on a vertical stretch of the curve its upper end."""
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum((weight * found)[order])[last_of_tie]
    alarms = np.cumsum((weight * ~found)[order])[last_of_tie]
    sensitivity = np.concatenate([[0.0], hits / hits[-1]])
    false_positive = np.concatenate([[0.0], alarms / alarms[-1]])
    after = np.searchsorted(false_positive, rates, side="right")
    before = after - 1
    after = np.minimum(after, len(false_positive) - 1)
    step = false_positive[after] - false_positive[before]
    part = np.divide(rates - false_positive[before], step, out=np.zeros_like(rates), where=step > 0)
    return np.asarray(sensitivity[before] + part * (sensitivity[after] - sensitivity[before]))
