"""Logistic regression on frozen features: what a linear classifier can read off them.

The strength of the regularisation is chosen from a fixed grid by cross-validation inside the training images,
whole patients at a time. So validation images are left for thresholds and temperatures, and test images are
seen once, at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64

from usfmae.evaluate.inner_folds import InnerFold, inner_folds
from usfmae.evaluate.logistic import NEAR, LogisticModel, fit_logistic

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the L2 penalty that are tried."""

DEFAULT_C = 0.1
"""Taken where nothing can be chosen: a class lies within one patient."""

SMALLEST = 1e-12
"""Probability below which an error costs no more."""


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear classifier over standardised features."""

    model: LogisticModel
    """Learnt from all training images."""

    num_classes: int
    """Classes in all, seen in training or not."""

    c: float
    """Inverse strength of the penalty."""

    cv_log_loss: dict[float, float]
    """Out-of-fold loss of each strength tried; empty where there was nothing to choose on."""

    num_parts: int = 0
    """Of the cross-validation."""

    def probabilities(self, features: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n class"]:
        """Predicted probability of each class; 0 for classes that training did not hold."""
        return self.model.probabilities(features, self.num_classes)

    def record(self) -> dict[str, Any]:
        """For JSON: c, c_chosen_by (a sentence), cv_log_loss, and a note where nothing could be chosen."""
        losses = {f"{c:g}": loss for c, loss in self.cv_log_loss.items()}
        if losses:
            how = f"cross-validation inside the training images, {self.num_parts} parts of whole groups"
            return {"c": self.c, "c_chosen_by": how, "cv_log_loss": losses}
        note = (
            f"the penalty of the linear probe was not chosen but fixed (C = {self.c:g}): the training images "
            "cannot be parted into groups that hold every class twice"
        )
        return {"c": self.c, "c_chosen_by": "nothing: fixed", "cv_log_loss": {}, "note": note}


def fit_linear_probe(
    features: Float[np.ndarray, "train d"],
    labels: Int64[np.ndarray, " train"],
    groups: Sequence[str],
    *,
    num_classes: int,
    balanced: bool = False,
    seed: int = 0,
) -> LinearProbe:
    """Choose the penalty by cross-validation and fit with it on all training images.

    The choice is by log-loss, which is defined whichever classes a part happens to hold, unlike AUROC.
    Standardisation is fitted anew for each part.

    Args:
        features: of the training images.
        labels: their classes, at least two different ones.
        groups: the patient (or near-duplicate cluster) of each; none is both learnt from and asked. Where a
            class lies within one group, C is `DEFAULT_C`.
        num_classes: classes in all.
        balanced: let every class weigh the same, however many images it has, in the choice as in the fit.
        seed: of the parts of the cross-validation.
    """
    folds = inner_folds(labels, groups, seed=seed, purpose="penalty")
    if not folds:
        return fit_fixed_probe(features, labels, num_classes=num_classes, balanced=balanced)
    losses = _losses(features, labels, folds, balanced)
    best = min(losses, key=lambda c: losses[c])
    (model,) = fit_logistic(features, labels, [best], balanced=balanced)
    return LinearProbe(model, num_classes, best, losses, len(folds))


def fit_fixed_probe(
    features: Float[np.ndarray, "train d"],
    labels: Int64[np.ndarray, " train"],
    *,
    num_classes: int,
    balanced: bool = False,
    c: float = DEFAULT_C,
) -> LinearProbe:
    """Fit with a penalty that is given; arguments as in `fit_linear_probe`."""
    (model,) = fit_logistic(features, labels, [c], balanced=balanced)
    return LinearProbe(model, num_classes, c, {})


def loss_shares(labels: Int64[np.ndarray, " n"], *, balanced: bool) -> Float64[np.ndarray, " n"]:
    """How much each image counts in the loss that a penalty is chosen by; they sum to 1.

    Args:
        labels: the classes.
        balanced: every class weighs the same, else every image.
    """
    classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return 1 / (len(classes) * counts[index]) if balanced else np.full(len(labels), 1 / len(labels))


def _losses(
    features: Float[np.ndarray, "n d"],
    labels: Int64[np.ndarray, " n"],
    folds: Sequence[InnerFold],
    balanced: bool,
) -> dict[float, float]:
    """Mean over all images, or over classes, of the loss of a classifier that has not seen their group."""
    share, num_columns = loss_shares(labels, balanced=balanced), int(labels.max()) + 1
    losses = dict.fromkeys(C_GRID, 0.0)
    for learnt, asked in folds:
        models = fit_logistic(features[learnt], labels[learnt], C_GRID, balanced=balanced, tolerance=NEAR)
        for c, model in zip(C_GRID, models, strict=True):
            told = model.probabilities(features[asked], num_columns)
            likelihood = told[np.arange(len(asked)), labels[asked]]
            losses[c] -= float((share[asked] * np.log(np.maximum(likelihood, SMALLEST))).sum())
    return losses
