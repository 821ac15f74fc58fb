"""L2-penalised logistic regression on standardised features, for a row of penalties at once.

The answers are those of scikit-learn's `LogisticRegression` behind a `StandardScaler`; what differs is the
way there. The penalty is the same in every direction, so the features may be turned: to their principal axes,
of which there are no more than images. There the curvature of the loss is nearly diagonal, and a quasi-Newton
method whose coordinates are scaled by it needs tens of steps instead of hundreds. Each penalty starts from
the answer to the stronger one before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.linalg import eigh
from scipy.optimize import minimize
from sklearn.preprocessing import StandardScaler

from usfmae.base.logs import get_logger

log = get_logger(__name__)

NOTHING = 1e-14
"""Share of the largest variance below which a principal axis holds rounding alone: single precision, in which
features come, resolves squares to 4e-15."""

EXACT = 1e-8
"""Largest entry of the gradient, per image and in scaled coordinates, at which a fit ends: probabilities are
then right to about 1e-5 at the weakest penalty."""

NEAR = 1e-6
"""The same where only a loss is wanted, to compare penalties."""

FLAT = 1e-6
"""Smallest curvature that steps are scaled by, where all images are told with certainty already."""

MAX_STEPS = 5000
"""More are a warning."""


@dataclass(frozen=True, eq=False)
class LogisticModel:
    """A fitted regression, in the scale of the features as they came."""

    weights: Float64[np.ndarray, "d column"]
    """One column per class; with two classes one column, for the second."""

    bias: Float64[np.ndarray, " column"]
    """Not penalised."""

    classes: Int64[np.ndarray, " class"]
    """Those that training held, ascending."""

    def probabilities(
        self, features: Float[np.ndarray, "n d"], num_classes: int
    ) -> Float64[np.ndarray, "n class"]:
        """Predicted probability of each of `num_classes` classes; 0 for those that training did not hold."""
        logits = features.astype(np.float64) @ self.weights + self.bias
        out = np.zeros((len(features), num_classes))
        out[:, self.classes] = np.exp(_log_probabilities(logits))
        return out


def fit_logistic(
    features: Float[np.ndarray, "n d"],
    labels: Int64[np.ndarray, " n"],
    penalties: Sequence[float],
    *,
    balanced: bool = False,
    tolerance: float = EXACT,
) -> list[LogisticModel]:
    """Fit once for each penalty.

    Args:
        features: of the images learnt from; constant ones have no part in the answer.
        labels: their classes, at least two different ones.
        penalties: inverse strengths C of the penalty as in scikit-learn, ascending.
        balanced: let every class weigh the same, however many images it has.
        tolerance: where a fit ends; see `EXACT`.

    Returns:
        One model per penalty, in the same order.

    Raises:
        ValueError: a single class, penalties that do not ascend, or features that are not finite.
    """
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"a classifier needs images of two classes, not of {len(classes)}")
    if list(penalties) != sorted(penalties) or min(penalties) <= 0:
        raise ValueError(f"penalties must be positive and ascend, not {list(penalties)}")
    if not np.isfinite(features).all():
        raise ValueError("some features are not finite numbers")
    scaler = StandardScaler()
    turned = _turn(scaler.fit_transform(features.astype(np.float64)))
    counts = np.bincount(index)
    weight = len(labels) / (len(classes) * counts[index]) if balanced else np.ones(len(labels))
    columns = 1 if len(classes) == 2 else len(classes)
    truth = np.eye(len(classes))[index]
    found = np.zeros((turned.design.shape[1], columns))
    models = []
    for c in penalties:
        found = _minimum(turned, truth, weight, c, found, tolerance)
        weights = (turned.axes @ found[1:]) / scaler.scale_[:, None]
        models.append(LogisticModel(weights, found[0] - scaler.mean_ @ weights, classes))
    return models


@dataclass(frozen=True, eq=False)
class _Turned:
    """Standardised features in their principal axes."""

    design: Float64[np.ndarray, "n axis"]
    """A column of ones for the bias, then the features."""

    axes: Float64[np.ndarray, "d rank"]
    """Orthonormal columns."""

    square: Float64[np.ndarray, " rank"]
    """Squared length of each column of the turned features."""


def _turn(features: Float64[np.ndarray, "n d"]) -> _Turned:
    """A thin singular value decomposition, by way of the smaller of the two Gram matrices."""
    wide = features.shape[0] < features.shape[1]
    square, vectors = eigh(features @ features.T if wide else features.T @ features, driver="evd")
    kept = square > NOTHING * square.max(initial=0.0)
    square, vectors = square[kept], vectors[:, kept]
    axes = features.T @ (vectors / np.sqrt(square)) if wide else vectors
    turned = vectors * np.sqrt(square) if wide else features @ vectors
    design = np.ascontiguousarray(np.concatenate([np.ones((len(features), 1)), turned], axis=1))
    return _Turned(design, axes, square)


def _minimum(
    turned: _Turned,
    truth: Float64[np.ndarray, "n class"],
    weight: Float64[np.ndarray, " n"],
    c: float,
    start: Float64[np.ndarray, "axis column"],
    tolerance: float,
) -> Float64[np.ndarray, "axis column"]:
    """Bias and weights at which the penalised loss is smallest."""
    design, total, each = turned.design, weight.sum(), weight[:, None]
    shape, columns = start.shape, start.shape[1]
    num_classes = max(2, columns)
    penalty = np.full((len(start), 1), 1 / c)
    penalty[0] = 0
    # Curvature: that of the loss is p (1 - p) of the class times the squared length of the column. One mean
    # serves all classes, or a shift of all logits, which the loss does not feel, would no longer stay 0.
    answers = np.exp(_log_probabilities(design @ start))
    spread = (each * answers * (1 - answers)).mean() * (num_classes / (num_classes - 1) if columns > 1 else 1)
    square = np.concatenate([[total], turned.square])[:, None]
    scale = np.sqrt(total / (max(spread, FLAT) * square + penalty))

    def loss_and_gradient(scaled: Float64[np.ndarray, " _"]) -> tuple[float, Float64[np.ndarray, " _"]]:
        weights = scaled.reshape(shape) * scale
        logs = _log_probabilities(design @ weights)
        pull = penalty * weights
        loss = 0.5 * (weights * pull).sum() - (each * truth * logs).sum()
        gradient = design.T @ ((np.exp(logs) - truth) * each)[:, -columns:] + pull
        return float(loss / total), (gradient * scale / total).ravel()

    found = minimize(
        loss_and_gradient,
        (start / scale).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": tolerance, "ftol": 0.0, "maxiter": MAX_STEPS, "maxfun": 2 * MAX_STEPS},
    )
    if found.nit >= MAX_STEPS:
        log.warning("a logistic regression with C=%g has not settled after %d steps", c, found.nit)
    best: Float64[np.ndarray, "axis column"] = found.x.reshape(shape) * scale
    return best


def _log_probabilities(logits: Float64[np.ndarray, "n column"]) -> Float64[np.ndarray, "n class"]:
    """Of each class; a single column holds the log-odds of the second of two."""
    if logits.shape[1] == 1:
        return np.concatenate([-np.logaddexp(0, logits), -np.logaddexp(0, -logits)], axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs: Float64[np.ndarray, "n class"] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs
