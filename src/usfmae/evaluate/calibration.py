"""Can a probability be taken at its word? Calibration, before and after a temperature.

With two classes the probability of the positive class is compared with its share; with more the confidence,
which is the largest probability, with the share of right answers. The expected calibration error is the mean
gap over bins, weighted by their images (Guo et al. 2017, "On Calibration of Modern Neural Networks", sec. 2),
the maximum one the largest. Both depend on the bins: with few images in each they are too large even for a
perfect classifier, so the Brier score, which needs none, stands beside them (Brier 1950, "Verification of
forecasts expressed in terms of probability").

A temperature divides the log-probabilities by one number (Guo et al., sec. 4.2), fitted on validation images
by their likelihood. The order of the classes and of what they were fitted on stays; sure answers get less so.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from usfmae.base.config import Config
from usfmae.evaluate.metrics import predicted_classes
from usfmae.evaluate.statistics import BootstrapConfig, Interval, draw_resamples
from usfmae.evaluate.validation_only import ValidationImages

SMALLEST = 1e-12
"""Probabilities below count as this much, so that a single 0 does not decide a temperature."""

TEMPERATURES = (0.02, 50.0)
"""Looked for between these."""


class CalibrationConfig(Config):
    """How probabilities are binned."""

    num_bins: int = Field(default=15, ge=2, le=1000)
    """15 in Guo et al."""

    bins: Literal["equal_width", "equal_mass"] = "equal_width"
    """Bins of one width, the upper edge included, or of as many images each (equal values stay together)."""


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """What was said and what was so, bin by bin; bins without an image are left out."""

    said: Float[np.ndarray, " bin"]
    """Mean probability."""

    found: Float[np.ndarray, " bin"]
    """Share of images of which it was true."""

    num_images: Int[np.ndarray, " bin"]
    """Images."""

    @property
    def expected_error(self) -> float:
        """Mean gap, each bin weighted by its images (ECE)."""
        return float(np.average(np.abs(self.said - self.found), weights=self.num_images))

    @property
    def maximum_error(self) -> float:
        """Largest gap of any bin (MCE)."""
        return float(np.abs(self.said - self.found).max())


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far probabilities can be taken at their word."""

    curve: ReliabilityCurve
    """Of the positive class with two classes, of the confidence with more."""

    brier: Interval
    """Mean squared error of the probabilities, 0 at best, with an interval over patients."""

    config: CalibrationConfig
    """How it was binned."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "expected_error": self.curve.expected_error,
            "maximum_error": self.curve.maximum_error,
            "brier": self.brier.record(),
            "curve": {
                "said": self.curve.said.tolist(),
                "found": self.curve.found.tolist(),
                "num_images": self.curve.num_images.tolist(),
            },
            **self.config.model_dump(),
        }


@dataclass(frozen=True)
class Temperature:
    """One number that makes probabilities more or less sure of themselves."""

    value: float
    """Above 1 softens, below 1 sharpens."""

    likelihood_before: float
    """Mean log-likelihood of the validation images."""

    likelihood_after: float
    """The same with the temperature."""

    fitted_on: ValidationImages
    """Images that it may not be applied to."""

    def apply(
        self, probabilities: Float[np.ndarray, "image class"], names: list[str] | tuple[str, ...]
    ) -> Float[np.ndarray, "image class"]:
        """Probabilities at this temperature; the order of the classes of each image stays.

        Args:
            probabilities: of other images than it was fitted on.
            names: of these images.

        Raises:
            LeakError: it was fitted on one of them.
            ValueError: not as many different names as images.
        """
        ValidationImages.of(names, count=len(probabilities))
        self.fitted_on.refuse(names, what=f"temperature {self.value:.3g}")
        return at_temperature(probabilities, self.value)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "temperature": self.value,
            "likelihood_before": self.likelihood_before,
            "likelihood_after": self.likelihood_after,
            "fitted_on": self.fitted_on.record(),
        }


def calibration(
    labels: Int[np.ndarray, " image"],
    probabilities: Float[np.ndarray, "image class"],
    groups: Int[np.ndarray, " image"],
    *,
    positive: int | None = None,
    config: CalibrationConfig | None = None,
    bootstrap: BootstrapConfig | None = None,
) -> Calibration:
    """Reliability curve, its errors and the Brier score of a set of predictions.

    Args:
        labels: true classes.
        probabilities: each row sums to 1.
        groups: the patient of each image, any integers.
        positive: with two classes, the one to be found; the last if None.
        config: number and kind of bins; 15 of equal width if None.
        bootstrap: how the Brier score's interval is drawn.

    Raises:
        ValueError: rows that are no probabilities.
    """
    config, bootstrap = config or CalibrationConfig(), bootstrap or BootstrapConfig()
    _check(probabilities)
    num_classes = probabilities.shape[1]
    if num_classes == 2:
        one = 1 if positive is None else positive
        said, is_so = probabilities[:, one], labels == one
    else:
        said, is_so = probabilities.max(axis=1), predicted_classes(probabilities) == labels
    errors = _squared_errors(labels, probabilities)

    def brier(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample metric"]:
        return np.asarray((weights @ errors / weights.sum(axis=1))[:, None])

    draws = draw_resamples(brier, labels, groups, num_classes, bootstrap)
    return Calibration(
        curve=reliability_curve(said, is_so, config=config),
        brier=draws.interval(0, bootstrap),
        config=config,
    )


def reliability_curve(
    said: Float[np.ndarray, " image"], is_so: Bool[np.ndarray, " image"], *, config: CalibrationConfig
) -> ReliabilityCurve:
    """Mean probability and share of what was true, bin by bin.

    Args:
        said: probabilities from 0 to 1.
        is_so: whether what they speak of is so.
        config: number and kind of bins.
    """
    inner = np.linspace(0, 1, config.num_bins + 1)[1:-1]
    if config.bins == "equal_mass":
        last = -(-np.arange(1, config.num_bins) * len(said) // config.num_bins) - 1
        inner = np.unique(np.sort(said)[last])
    bins = np.searchsorted(inner, said, side="left")  # a value on an edge belongs to the bin below it
    counts = np.bincount(bins)
    full = counts > 0
    return ReliabilityCurve(
        said=np.bincount(bins, said)[full] / counts[full],
        found=np.bincount(bins, is_so.astype(float))[full] / counts[full],
        num_images=counts[full],
    )


def brier_score(labels: Int[np.ndarray, " image"], probabilities: Float[np.ndarray, "image class"]) -> float:
    """Mean squared error of the probabilities.

    With two classes that of the positive one, 0 to 1 (either class gives the same); with more the sum over
    the classes, 0 to 2, as Brier wrote it. Both are scikit-learn's `brier_score_loss`.

    Raises:
        ValueError: rows that are no probabilities.
    """
    _check(probabilities)
    return float(_squared_errors(labels, probabilities).mean())


def fit_temperature(
    labels: Int[np.ndarray, " image"],
    probabilities: Float[np.ndarray, "image class"],
    names: list[str] | tuple[str, ...],
) -> Temperature:
    """The temperature under which the validation images are likeliest.

    Args:
        labels: true classes of the validation images.
        probabilities: predicted for them by a network that did not learn from them.
        names: of these images; the temperature refuses to be applied to them.

    Raises:
        ValueError: rows that are no probabilities, or not as many different names as images.
    """
    _check(probabilities)
    fitted_on = ValidationImages.of(names, count=len(labels))

    def loss(log_temperature: float) -> float:
        return -_likelihood(labels, probabilities, float(np.exp(log_temperature)))

    between = (float(np.log(TEMPERATURES[0])), float(np.log(TEMPERATURES[1])))
    best = minimize_scalar(loss, bounds=between, method="bounded", options={"xatol": 1e-6})
    value = float(np.exp(best.x))
    return Temperature(
        value=value,
        likelihood_before=_likelihood(labels, probabilities, 1.0),
        likelihood_after=_likelihood(labels, probabilities, value),
        fitted_on=fitted_on,
    )


def at_temperature(
    probabilities: Float[np.ndarray, "image class"], temperature: float
) -> Float[np.ndarray, "image class"]:
    """Log-probabilities divided by `temperature`, and made to sum to 1 again."""
    return np.asarray(np.exp(_log_at(probabilities, temperature)))


def _log_at(
    probabilities: Float[np.ndarray, "image class"], temperature: float
) -> Float[np.ndarray, "image class"]:
    logits = np.log(np.maximum(probabilities, SMALLEST)) / temperature
    return np.asarray(log_softmax(logits, axis=1))


def _likelihood(
    labels: Int[np.ndarray, " image"], probabilities: Float[np.ndarray, "image class"], temperature: float
) -> float:
    logs = _log_at(probabilities, temperature)
    return float(logs[np.arange(len(labels)), labels].mean())


def _squared_errors(
    labels: Int[np.ndarray, " image"], probabilities: Float[np.ndarray, "image class"]
) -> Float[np.ndarray, " image"]:
    num_classes = probabilities.shape[1]
    errors = ((probabilities - np.eye(num_classes)[labels]) ** 2).sum(axis=1)
    return np.asarray(errors / 2 if num_classes == 2 else errors)


def _check(probabilities: Float[np.ndarray, "image class"]) -> None:
    if len(probabilities) == 0 or not (probabilities >= 0).all():
        raise ValueError("calibration needs at least one image, and probabilities from 0 to 1")
    off = int((np.abs(probabilities.sum(axis=1) - 1) > 1e-4).sum())
    if off:
        raise ValueError(f"the probabilities of {off} of {len(probabilities)} images do not sum to 1")
