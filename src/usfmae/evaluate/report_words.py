"""How a report names metrics and writes intervals."""

from html import escape
from typing import Any, TypeGuard

import numpy as np

from usfmae.base.page import UNKNOWN, number

METRIC_NAMES = {
    "macro_f1": "Macro-F1",
    "auroc": "AUROC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "average_precision": "Average precision",
    "knn_macro_f1": "kNN macro-F1",
    "knn_auroc": "kNN AUROC",
    "linear_macro_f1": "Linear-probe macro-F1",
    "linear_auroc": "Linear-probe AUROC",
    "feature_rank": "Effective rank of the features",
    "val_macro_f1": "Validation macro-F1",
    "val_auroc": "Validation AUROC",
    "reconstruction_loss": "Reconstruction loss",
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "95 % Hausdorff distance",
    "map": "COCO mAP, masks",
    "map50": "COCO mAP@50, masks",
    "box_map": "COCO mAP, boxes",
    "val_dice": "Validation Dice",
}
METHOD_NAMES = {
    "finetune": "Fine-tuned",
    "attentive-probe": "Attentive probe",
    "linear-probe": "Linear probe",
    "knn": "Nearest neighbours",
    "segment": "Segmentation",
}


def metric_name(name: str) -> str:
    """A metric's name for people."""
    return METRIC_NAMES.get(name, name.replace("_", " "))


def interval(metric: dict[str, Any] | None) -> str:
    """`value [low, high]` as HTML; says why something is not there."""
    if not metric:
        return UNKNOWN
    why = metric.get("why")
    shown = f"<b>{number(metric.get('value'))}</b>"
    if metric.get("low") is not None and metric.get("high") is not None:
        return f"{shown} <small>[{number(metric['low'])}, {number(metric['high'])}]</small>"
    return f"{shown} <small>{escape(str(why or 'no interval'))}</small>"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a cell of JSON can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def spread_words(spread: float | None, num_seeds: int) -> str:
    """The standard deviation over seeds, in words."""
    if num_seeds < 2:
        return "one seed" if num_seeds else "no sd over seeds"
    return f"sd over {num_seeds} seeds {number(spread)}"
