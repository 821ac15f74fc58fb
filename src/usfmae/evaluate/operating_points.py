"""What a classifier does at one threshold that was chosen before the test.

An image is called positive where the probability of the positive class is at least the threshold. The
threshold is chosen on validation images: for at least a wanted sensitivity, at least a wanted specificity, or
for the largest sum of both (Youden 1950, "Index for rating diagnostic tests", Cancer 3). It carries their
names and raises where it is applied to one of them. On test images it reaches what it reaches: the wanted
value is a wish there, and the interval over patients says how far off it may be.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from usfmae.evaluate.statistics import BootstrapConfig, Interval, draw_resamples
from usfmae.evaluate.validation_only import ValidationImages

Rule = Literal["sensitivity", "specificity", "youden"]
RATES = ("sensitivity", "specificity", "ppv", "npv")
"""Names in the order in which tables show them; the last two hold at the share of positives tested on."""

SLACK = 1e-12
"""So that 0.9 of 10 images is 9 of them, whatever the rounding."""

_UNDEFINED = (
    "no image is of the positive class",
    "all images are of the positive class",
    "no image is called positive",
    "all images are called positive",
)


@dataclass(frozen=True)
class Threshold:
    """Where positive begins, and how that was decided."""

    value: float
    """Smallest probability that is called positive; infinite where nothing is to be called so."""

    positive: int
    """The class to be found."""

    rule: Rule
    """What it was chosen for."""

    at_least: float | None
    """The wanted sensitivity or specificity; None for Youden's index."""

    sensitivity: float
    """Reached on the validation images."""

    specificity: float
    """Reached on the validation images."""

    chosen_on: ValidationImages
    """Images that it may not be judged on."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "threshold": self.value if np.isfinite(self.value) else None,
            "positive": self.positive,
            "rule": self.rule,
            "at_least": self.at_least,
            "validation": {"sensitivity": self.sensitivity, "specificity": self.specificity},
            "chosen_on": self.chosen_on.record(),
        }


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold does on test images."""

    threshold: Threshold
    """Chosen elsewhere."""

    rates: dict[str, Interval]
    """Keys are `RATES`; intervals over patients."""

    num_true_positive: int
    """Images of the class that are called so."""

    num_false_positive: int
    """Other images that are called so."""

    num_false_negative: int
    """Images of the class that are not called so."""

    num_true_negative: int
    """Other images that are not called so."""

    num_groups: int
    """Patients."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.threshold.record(),
            **{name: interval.record() for name, interval in self.rates.items()},
            "num_true_positive": self.num_true_positive,
            "num_false_positive": self.num_false_positive,
            "num_false_negative": self.num_false_negative,
            "num_true_negative": self.num_true_negative,
            "num_groups": self.num_groups,
        }


def choose_threshold(
    labels: Int[np.ndarray, " image"],
    probabilities: Float[np.ndarray, "image class"],
    names: list[str] | tuple[str, ...],
    *,
    rule: Rule,
    at_least: float | None = None,
    positive: int | None = None,
) -> Threshold:
    """A threshold from validation images.

    For a wanted sensitivity it is the largest threshold that reaches it, for a wanted specificity the
    smallest, so that the other rate is as good as it can be. Of equal Youden indices the more sensitive
    one is taken.

    Args:
        labels: true classes of the validation images.
        probabilities: predicted for them by a network that did not learn from them.
        names: of these images, as in `predictions.csv`.
        rule: what is wanted.
        at_least: the wanted sensitivity or specificity, above 0 and at most 1.
        positive: the class to be found, against all others; with two classes the last if None.

    Raises:
        ValueError: one side has no image, `at_least` is missing, out of range or of no use, or the class to
            be found is not named among more than two.
    """
    one = _positive_class(probabilities, positive)
    chosen_on = ValidationImages.of(names, count=len(labels))
    if (at_least is None) != (rule == "youden"):
        raise ValueError(f"at_least is for a wanted sensitivity or specificity, not for {rule} = {at_least}")
    if at_least is not None and not 0 < at_least <= 1:
        raise ValueError(f"the wanted {rule} lies above 0 and at most at 1, got {at_least}")
    scores, is_positive = probabilities[:, one], labels == one
    if not np.isfinite(scores).all():
        raise ValueError("a probability is not a finite number")
    if not 0 < is_positive.sum() < len(labels):
        raise ValueError(f"a threshold needs images on both sides, got {is_positive.sum()} of {len(labels)}")
    candidates = np.append(np.unique(scores), np.inf)
    found, rest = np.sort(scores[is_positive]), np.sort(scores[~is_positive])
    sensitivity = 1 - np.searchsorted(found, candidates, side="left") / len(found)
    specificity = np.searchsorted(rest, candidates, side="left") / len(rest)
    if rule == "sensitivity":
        best = np.flatnonzero(sensitivity >= (at_least or 0) - SLACK)[-1]
    elif rule == "specificity":
        best = np.flatnonzero(specificity >= (at_least or 0) - SLACK)[0]
    else:
        youden = sensitivity + specificity
        best = np.flatnonzero(youden >= youden.max() - SLACK)[0]
    return Threshold(
        value=float(candidates[best]),
        positive=one,
        rule=rule,
        at_least=at_least,
        sensitivity=float(sensitivity[best]),
        specificity=float(specificity[best]),
        chosen_on=chosen_on,
    )


def at_threshold(
    threshold: Threshold,
    labels: Int[np.ndarray, " image"],
    probabilities: Float[np.ndarray, "image class"],
    groups: Int[np.ndarray, " image"],
    names: list[str] | tuple[str, ...],
    *,
    config: BootstrapConfig,
) -> OperatingPoint:
    """Sensitivity, specificity and predictive values of a threshold on other images.

    Bounds come from drawn patients. Where a rate is 0 or 1 every draw says the same, so the bounds are the
    exact binomial ones of that many patients (Clopper and Pearson 1934), not of that many images.

    Args:
        threshold: chosen on validation images.
        labels: true classes.
        probabilities: predicted by the same network.
        groups: the patient of each image, any integers.
        names: of these images.
        config: how patients are drawn.

    Raises:
        LeakError: the threshold was chosen on one of these images.
        ValueError: not as many different names as images, or no such class.
    """
    ValidationImages.of(names, count=len(labels))
    threshold.chosen_on.refuse(names, what=f"threshold {threshold.value:.4g} ({threshold.rule})")
    one = _positive_class(probabilities, threshold.positive)
    is_positive, is_called = labels == one, probabilities[:, one] >= threshold.value
    bases = np.stack([is_positive, ~is_positive, is_called, ~is_called])
    right = is_positive == is_called

    def rates(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample metric"]:
        below = weights @ bases.T
        ratio = np.full(below.shape, np.nan)
        np.divide(weights @ (bases & right).T, below, out=ratio, where=below > 0)
        return ratio

    draws = draw_resamples(rates, is_positive.astype(np.int64), groups, 2, config)
    intervals = [
        exact_at_the_ends(
            draws.interval(row, config, undefined=_UNDEFINED[row]), len(np.unique(groups[base])), config.level
        )
        for row, base in enumerate(bases)
    ]
    return OperatingPoint(
        threshold=threshold,
        rates=dict(zip(RATES, intervals, strict=True)),
        num_true_positive=_count(is_positive & is_called),
        num_false_positive=_count(~is_positive & is_called),
        num_false_negative=_count(is_positive & ~is_called),
        num_true_negative=_count(~is_positive & ~is_called),
        num_groups=draws.num_groups,
    )


def exact_at_the_ends(found: Interval, num_groups: int, level: float) -> Interval:
    """The exact binomial bounds (Clopper and Pearson 1934) of a rate that is 0 or 1; any other as it is.

    All draws of patients say the same there, so their interval has no width, which few patients do not
    deserve: 5 of 5 found may be a sensitivity of .48.

    Args:
        found: a rate and its interval over drawn patients.
        num_groups: patients that the rate is a share of, at least 1.
        level: of the interval.
    """
    if found.value not in (0.0, 1.0):
        return found
    reach = float(((1 - level) / 2) ** (1 / num_groups))
    return Interval(1.0, reach, 1.0) if found.value == 1 else Interval(0.0, 0.0, 1 - reach)


def _positive_class(probabilities: Float[np.ndarray, "image class"], positive: int | None) -> int:
    num_classes = probabilities.shape[1]
    if positive is None and num_classes == 2:
        return 1
    if positive is None or not 0 <= positive < num_classes:
        raise ValueError(f"which of {num_classes} classes is to be found? got {positive}")
    return positive


def _count(images: Bool[np.ndarray, " image"]) -> int:
    return int(images.sum())
