"""Logistic regression on frozen features: what a linear classifier can read off them.

The strength of the regularisation is chosen from a fixed grid on the validation images alone; test images are
seen once, at the end.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the L2 penalty that are tried."""

DEFAULT_C = 0.1
"""Taken where there is no validation image to choose on."""

SMALLEST = 1e-12
"""Probability below which a validation error costs no more."""


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear classifier over standardised features."""

    model: Pipeline
    """Standardisation and logistic regression."""

    num_classes: int
    """Classes in all, seen in training or not."""

    c: float
    """Inverse strength of the penalty that validation chose."""

    val_log_loss: dict[float, float]
    """Validation loss of each strength tried; empty where there was nothing to choose on."""

    def probabilities(self, features: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, "n class"]:
        """Predicted probability of each class; 0 for classes that training did not hold."""
        out = np.zeros((len(features), self.num_classes))
        out[:, self.model.classes_] = self.model.predict_proba(features)
        return out


def fit_linear_probe(
    train: Float32[np.ndarray, "train d"],
    train_labels: Int64[np.ndarray, " train"],
    val: Float32[np.ndarray, "val d"],
    val_labels: Int64[np.ndarray, " val"],
    *,
    num_classes: int,
    balanced: bool = False,
) -> LinearProbe:
    """Fit with each penalty and keep the one that validation likes best.

    The choice is by log-loss, which is defined whichever classes validation happens to hold, unlike AUROC.

    Args:
        train: features of the training images.
        train_labels: their classes, at least two different ones.
        val: features of the validation images; may be empty, then C is `DEFAULT_C`.
        val_labels: their classes.
        num_classes: classes in all.
        balanced: let every class weigh the same, however many images it has.
    """
    losses: dict[float, float] = {}
    best = LinearProbe(_fitted(train, train_labels, DEFAULT_C, balanced), num_classes, DEFAULT_C, losses)
    if not len(val):
        return best
    for c in C_GRID:
        probe = LinearProbe(_fitted(train, train_labels, c, balanced), num_classes, c, losses)
        likelihood = probe.probabilities(val)[np.arange(len(val)), val_labels]
        losses[c] = float(-np.log(np.maximum(likelihood, SMALLEST)).mean())
        if losses[c] == min(losses.values()):
            best = probe
    return best


def _fitted(
    features: Float32[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], c: float, balanced: bool
) -> Pipeline:
    model = LogisticRegression(C=c, max_iter=5000, class_weight="balanced" if balanced else None)
    return make_pipeline(StandardScaler(), model).fit(features.astype(np.float64), labels)
