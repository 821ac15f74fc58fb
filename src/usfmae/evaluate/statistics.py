"""How sure a number is: bootstrap intervals over patients.

Two images of one patient are not two independent observations, so patients are drawn with replacement and
each brings all of its images (cluster bootstrap; Field and Welsh 2007, "Bootstrapping clustered data",
J. R. Stat. Soc. B 69(3)). The interval is bias-corrected and accelerated (Efron 1987, "Better bootstrap
confidence intervals", JASA 82), or the percentile one. Two classifiers are compared on the same draws of the
same patients, which removes the difficulty of the patients from the difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from scipy.special import ndtr, ndtri

from usfmae.base.config import Config
from usfmae.base.seeds import rng_for
from usfmae.evaluate.metrics import METRICS, class_weights, f1_per_class, score_resamples

MAX_CELLS = 4_000_000
"""Weights held at a time, resamples x images: 32 MB per array, whatever the size of the test set."""

SAME = 1e-12
"""Two numbers that differ by less were summed in another order; draws level with the value count as half."""

MAX_LEFT_OUT = 2_000
"""Times that patients are left out for `bca`: one by one, or in so many parts where there are more."""

Scorer = Callable[[Float[np.ndarray, "resample image"]], Float[np.ndarray, "resample metric"]]
"""Turns weights of images into the values of one or more metrics."""


class BootstrapConfig(Config):
    """How intervals are drawn."""

    num_resamples: int = Field(default=1000, ge=100, le=100_000)
    """Draws; 1,000 leave the bounds of a 95 % interval uncertain by about a twentieth of its width."""

    level: float = Field(default=0.95, gt=0, lt=1)
    """The share of repetitions of the experiment whose interval should hold the truth."""

    method: Literal["percentile", "bca"] = "bca"
    """`bca` corrects bias and skewness, at the cost of one more evaluation per patient; it holds the truth
    more often where a number is near 1 (docs/results/benchmarks.md)."""

    seed: int = Field(default=0, ge=0)
    """Equal seeds draw equal patients, so two results on one test set are paired."""


@dataclass(frozen=True)
class Interval:
    """A number and the range that it may well have been."""

    value: float | None
    """The number on the data as they are; None where it is not defined."""

    low: float | None
    """Lower bound; None where no interval can be given."""

    high: float | None
    """Upper bound."""

    why: str = ""
    """Why something is None; empty otherwise."""

    def record(self) -> dict[str, Any]:
        """For `result.json`: value, low and high, and why where there is something to say."""
        known: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high}
        return known | {"why": self.why} if self.why else known


@dataclass(frozen=True)
class Scored:
    """Metrics with intervals, and how the intervals came about."""

    metrics: dict[str, Interval]
    """Keys are `metrics.METRICS`."""

    f1_per_class: tuple[Interval, ...]
    """F1 of each class against the rest."""

    num_groups: int
    """Patients (or clusters) that were drawn from."""

    num_resamples: int
    """Draws that were asked for."""

    num_skipped: int
    """Draws left out because they held no image of some class."""


def score_with_intervals(
    labels: Int[np.ndarray, " image"],
    probabilities: Float[np.ndarray, "image class"],
    groups: Int[np.ndarray, " image"],
    *,
    config: BootstrapConfig,
    positive: int | None = None,
    folds: Int[np.ndarray, " image"] | None = None,
) -> Scored:
    """Every metric with its bootstrap interval over groups.

    Args:
        labels: true classes.
        probabilities: predicted probability of each class.
        groups: the patient of each image, any integers.
        config: number of draws, level, method, seed.
        positive: with two classes, the one to be found; the last if None.
        folds: the network that scored each image, any integers; None if one scored all.
    """

    def all_metrics(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample metric"]:
        scored = score_resamples(labels, probabilities, weights, positive=positive, folds=folds)
        columns = np.stack([scored[name] for name in METRICS], axis=1)
        return np.concatenate([columns, f1_per_class(labels, probabilities, weights)], axis=1)

    draws = draw_resamples(all_metrics, labels, groups, probabilities.shape[1], config)
    intervals = [draws.interval(column, config) for column in range(len(draws.value))]
    return Scored(
        metrics=dict(zip(METRICS, intervals[: len(METRICS)], strict=True)),
        f1_per_class=tuple(intervals[len(METRICS) :]),
        num_groups=draws.num_groups,
        num_resamples=config.num_resamples,
        num_skipped=draws.num_skipped,
    )


def paired_difference(
    labels: Int[np.ndarray, " image"],
    first: Float[np.ndarray, "image class"],
    second: Float[np.ndarray, "image class"],
    groups: Int[np.ndarray, " image"],
    *,
    config: BootstrapConfig,
    positive: int | None = None,
    folds: Int[np.ndarray, " image"] | None = None,
) -> dict[str, Interval]:
    """`second - first` of every metric, with the interval of the difference on shared draws of patients.

    An interval that leaves out 0 says that the second is better (or worse) at this level.

    Args:
        labels: true classes.
        first: probabilities of the baseline.
        second: probabilities of the contender, for the same images in the same order.
        groups: the patient of each image.
        config: number of draws, level, method, seed.
        positive: with two classes, the one to be found; the last if None.
        folds: the network that scored each image, any integers; None if one scored all.
    """

    def differences(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample metric"]:
        before = score_resamples(labels, first, weights, positive=positive, folds=folds)
        after = score_resamples(labels, second, weights, positive=positive, folds=folds)
        return np.stack([after[name] - before[name] for name in METRICS], axis=1)

    draws = draw_resamples(differences, labels, groups, first.shape[1], config)
    return {name: draws.interval(column, config) for column, name in enumerate(METRICS)}


def intervals_over_groups(
    scorer: Scorer, groups: Int[np.ndarray, " image"], *, config: BootstrapConfig, undefined: str
) -> tuple[Interval, ...]:
    """Intervals of any numbers that follow from weights of images, on the same draws as all others.

    Args:
        scorer: turns weights of images into numbers; NaN where one is not defined.
        groups: the patient of each image, any integers.
        config: number of draws, level, method, seed.
        undefined: why a number that is NaN on the data as they are is not defined.

    Returns:
        One interval per column of `scorer`; draws in which a number is not defined do not count for it.
    """
    draws = draw_resamples(scorer, np.zeros(len(groups), dtype=np.int64), groups, 1, config)
    columns = range(len(draws.value))
    return tuple(draws.interval(column, config, undefined=undefined) for column in columns)


@dataclass(frozen=True, eq=False)
class Draws:
    """What one or more metrics came to on each draw of patients."""

    value: Float[np.ndarray, " metric"]
    """On the data as they are."""

    resampled: Float[np.ndarray, "kept metric"]
    """On each draw that held every class."""

    jackknife: Float[np.ndarray, "group metric"] | None
    """Without each patient in turn; None unless `bca` asks for it."""

    num_groups: int
    """Patients that were drawn from."""

    num_skipped: int
    """Draws left out because they held no image of some class."""

    def interval(
        self, column: int, config: BootstrapConfig, *, undefined: str = "a class has no image here"
    ) -> Interval:
        """The interval of one metric.

        Args:
            column: which of the scorer's metrics.
            config: level and number of draws.
            undefined: what it means for this metric to be NaN on the data as they are.
        """
        value = float(self.value[column])
        if np.isnan(value):
            return Interval(None, None, None, why=f"not defined: {undefined}")
        if self.num_groups < 2:
            return Interval(value, None, None, why="no interval: one patient (or group) only")
        if self.num_skipped > config.num_resamples // 2:
            skipped = f"{self.num_skipped} of {config.num_resamples} resamples"
            return Interval(value, None, None, why=f"no interval: {skipped} lost a class")
        drawn = self.resampled[:, column]
        drawn = drawn[~np.isnan(drawn)]
        if len(drawn) < config.num_resamples // 2:
            return Interval(value, None, None, why="no interval: not defined on most resamples")
        ratios = np.array([(1 - config.level) / 2, (1 + config.level) / 2])
        if self.jackknife is not None:
            ratios = _bca_ratios(value, drawn, self.jackknife[:, column], ratios)
        low, high = np.quantile(drawn, ratios)
        return Interval(value, float(low), float(high))


def draw_resamples(
    scorer: Scorer,
    labels: Int[np.ndarray, " image"],
    groups: Int[np.ndarray, " image"],
    num_classes: int,
    config: BootstrapConfig,
) -> Draws:
    """Score the data as they are and on `config.num_resamples` draws of whole patients.

    Draws without an image of a class that the data hold are left out and counted.

    Args:
        scorer: turns weights, a row per draw, into metrics, a column each; NaN where not defined.
        labels: true classes.
        groups: the patient of each image, any integers.
        num_classes: classes that labels count into.
        config: number of draws, seed, and whether `bca` needs the patients left out in turn.
    """
    names, member = np.unique(groups, return_inverse=True)
    num_groups = len(names)
    once = np.ones((1, len(labels)))
    present = class_weights(labels, once, num_classes=num_classes)[0] > 0
    rng = rng_for(config.seed, "bootstrap")
    even = np.full(num_groups, 1 / num_groups)
    rows_at_once = max(1, MAX_CELLS // len(labels))
    kept: list[Float[np.ndarray, "part metric"]] = []
    for start in range(0, config.num_resamples, rows_at_once):
        rows = min(rows_at_once, config.num_resamples - start)
        weights = rng.multinomial(num_groups, even, size=rows)[:, member].astype(float)
        whole = (class_weights(labels, weights, num_classes=num_classes)[:, present] > 0).all(axis=1)
        if whole.any():
            kept.append(scorer(weights[whole]))
    value = scorer(once)[0]
    resampled = np.concatenate(kept) if kept else np.empty((0, len(value)))
    return Draws(
        value=value,
        resampled=resampled,
        jackknife=_jackknife(scorer, member, rows_at_once) if config.method == "bca" else None,
        num_groups=num_groups,
        num_skipped=config.num_resamples - len(resampled),
    )


def _jackknife(
    scorer: Scorer, member: Int[np.ndarray, " image"], rows_at_once: int
) -> Float[np.ndarray, "group metric"] | None:
    """The metrics without each group in turn, or each of `MAX_LEFT_OUT` parts of them; None for one group.

    Leaving out parts keeps the acceleration: third moments of sums over independent patients add up.
    """
    num_groups = int(member.max()) + 1
    if num_groups < 2:
        return None
    num_parts = min(num_groups, MAX_LEFT_OUT)
    part_of = (np.arange(num_groups) * num_parts // num_groups)[member]
    at_once: Sequence[Int[np.ndarray, " part"]] = np.array_split(
        np.arange(num_parts), -(-num_parts // rows_at_once)
    )
    return np.concatenate([scorer((part_of[None, :] != part[:, None]).astype(float)) for part in at_once])


def _bca_ratios(
    value: float,
    drawn: Float[np.ndarray, " draw"],
    jackknife: Float[np.ndarray, " group"],
    ratios: Float[np.ndarray, " bound"],
) -> Float[np.ndarray, " bound"]:
    """The quantiles at which bias-corrected and accelerated bounds lie (Efron 1987, eq. 2.3)."""
    level = np.abs(drawn - value) <= SAME * max(1.0, abs(value))
    below = np.mean((drawn < value) & ~level) + np.mean(level) / 2
    if not 0 < below < 1:
        return ratios
    apart = np.nanmean(jackknife) - jackknife
    spread = np.nansum(apart**2)
    acceleration = np.nansum(apart**3) / (6 * spread**1.5) if spread > 0 else 0.0
    bias = ndtri(below)
    shifted = bias + ndtri(ratios)
    corrected: Float[np.ndarray, " bound"] = ndtr(bias + shifted / (1 - acceleration * shifted))
    return corrected
