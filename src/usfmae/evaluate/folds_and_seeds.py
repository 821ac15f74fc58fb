"""A mean over folds and seeds, and how sure it is although the folds share their training images.

The k results of a cross-validation are not independent: any two training sets have most images in common.
The usual `s**2 / k` is then far too small. Nadeau and Bengio (2003, "Inference for the generalization error",
Machine Learning 52, sec. 3) put `(1 / k + n_test / n_train) * s**2` in its place, with Student's t and k - 1
degrees of freedom; for r repetitions of k folds, drawn anew, there are k * r results (Bouckaert and Frank
2004, "Evaluating the replicability of significance tests for comparing learning algorithms", PAKDD).

Seeds that saw the same folds are no such repetitions: they share their test images too. They are averaged
fold by fold first, which is the default here, and count as one result per fold.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from usfmae.evaluate.statistics import Interval


@dataclass(frozen=True)
class MeanOverRuns:
    """A metric over folds and seeds."""

    mean: Interval
    """Over all runs, with corrected bounds; they are not cut off at the ends of the metric's range."""

    num_seeds: int
    """Seeds, or repetitions."""

    num_folds: int
    """Folds of each."""

    spread_folds: float | None
    """Standard deviation over folds of the mean over seeds; None for a single fold."""

    spread_seeds: float | None
    """Standard deviation over seeds of the mean over folds; None for a single seed."""

    test_to_train_ratio: float
    """Test images per training image, of which the correction is made."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.mean.record(),
            "num_seeds": self.num_seeds,
            "num_folds": self.num_folds,
            "spread_folds": self.spread_folds,
            "spread_seeds": self.spread_seeds,
            "test_to_train_ratio": self.test_to_train_ratio,
        }


@dataclass(frozen=True)
class CorrectedTTest:
    """The difference of two classifiers over the same folds and seeds."""

    difference: Interval
    """`second - first`, with corrected bounds."""

    t: float | None
    """The mean difference in corrected standard errors; None where there is no standard error."""

    degrees_of_freedom: int
    """Independent results less one."""

    p: float | None
    """Two-sided, from Student's t."""

    test_to_train_ratio: float
    """Test images per training image."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "test": "corrected-resampled-t",
            "difference": self.difference.record(),
            "t": self.t,
            "degrees_of_freedom": self.degrees_of_freedom,
            "p": self.p,
            "test_to_train_ratio": self.test_to_train_ratio,
        }


def mean_over_runs(
    scores: Float[np.ndarray, "seed fold"],
    *,
    test_to_train_ratio: float,
    folds_drawn_anew: bool = False,
    level: float = 0.95,
) -> MeanOverRuns:
    """The mean of a metric over folds and seeds with Nadeau and Bengio's interval.

    Args:
        scores: the metric of each run; NaN where it is not defined, as AUROC in a fold without a class.
        test_to_train_ratio: images tested per image learnt from; 1 / (k - 1) in k-fold cross-validation.
        folds_drawn_anew: each row has other folds (repeated cross-validation), so that every run counts;
            False if all seeds saw the same.
        level: of the interval.

    Raises:
        ValueError: no run, or a ratio or level that cannot be.
    """
    _check(scores, test_to_train_ratio, level)
    num_seeds, num_folds = scores.shape
    mean, _, _ = _corrected(scores, test_to_train_ratio, folds_drawn_anew, level)
    return MeanOverRuns(
        mean=mean,
        num_seeds=num_seeds,
        num_folds=num_folds,
        spread_folds=_spread(scores.mean(axis=0)),
        spread_seeds=_spread(scores.mean(axis=1)),
        test_to_train_ratio=test_to_train_ratio,
    )


def corrected_t_test(
    first: Float[np.ndarray, "seed fold"],
    second: Float[np.ndarray, "seed fold"],
    *,
    test_to_train_ratio: float,
    folds_drawn_anew: bool = False,
    level: float = 0.95,
) -> CorrectedTTest:
    """Is one of two classifiers better over folds? The corrected resampled t-test.

    Args:
        first: a metric of the baseline in each run.
        second: the same of the contender, in the same folds.
        test_to_train_ratio: images tested per image learnt from; 1 / (k - 1) in k-fold cross-validation.
        folds_drawn_anew: each row has other folds, so that every run counts.
        level: of the interval.

    Raises:
        ValueError: no run, or a ratio or level that cannot be.
    """
    change = second - first
    _check(change, test_to_train_ratio, level)
    difference, error, num = _corrected(change, test_to_train_ratio, folds_drawn_anew, level)
    t: float | None = None
    p: float | None = None
    if difference.value is not None and error is not None:
        if error > 0:
            t = difference.value / error
            p = float(2 * stats.t.sf(abs(t), num - 1))
        elif difference.value == 0:
            t, p = 0.0, 1.0
    return CorrectedTTest(difference, t, num - 1, p, test_to_train_ratio)


def _corrected(
    scores: Float[np.ndarray, "seed fold"], ratio: float, folds_drawn_anew: bool, level: float
) -> tuple[Interval, float | None, int]:
    """Mean with bounds, its standard error, and how many results it rests on."""
    results = scores.ravel() if folds_drawn_anew else scores.mean(axis=0)
    num, num_undefined = len(results), int(np.isnan(scores).sum())
    if num_undefined:
        why = f"not defined in {num_undefined} of {scores.size} runs: a class has no image there"
        return Interval(None, None, None, why=why), None, num
    mean = float(results.mean())
    if num < 2:
        return Interval(mean, None, None, why="no interval: one fold only"), None, num
    spread = 0.0 if np.ptp(results) == 0 else float(results.std(ddof=1))
    error = spread * float(np.sqrt(1 / num + ratio))
    half = float(stats.t.ppf((1 + level) / 2, num - 1)) * error
    return Interval(mean, mean - half, mean + half), error, num


def _spread(means: Float[np.ndarray, " run"]) -> float | None:
    if len(means) < 2 or np.isnan(means).any():
        return None
    return float(means.std(ddof=1))


def _check(scores: Float[np.ndarray, "seed fold"], ratio: float, level: float) -> None:
    if scores.size == 0:
        raise ValueError("a mean needs at least one run")
    if not 0 < ratio < np.inf:
        raise ValueError(f"test images per training image are more than 0, got {ratio}")
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, got {level}")
