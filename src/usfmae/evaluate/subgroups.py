"""Is a classifier as good for each device, each BI-RADS, small lesions as large ones?

The images are parted by the values of one column, and each part gets the metrics of the whole with intervals
over its own patients. Images without a value are a part of their own, so that nothing is left out unseen. A
part of few patients, or in which a class does not occur, carries a warning: a difference between such parts
is more likely chance than a finding.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from usfmae.evaluate.over_seeds import score_over_seeds
from usfmae.evaluate.statistics import BootstrapConfig, Interval

FEW_PATIENTS = 20
"""Parts with fewer carry a warning."""

FEW_OF_A_CLASS = 10
"""So do parts in which some class has fewer: macro-F1 and AUROC hang on the rarest."""

UNKNOWN = "unknown"
"""Name of the part without a value."""


@dataclass(frozen=True)
class Subgroup:
    """The images with one value of the column."""

    name: str
    """The value, or `UNKNOWN`."""

    num_images: int
    """Images."""

    num_groups: int
    """Patients with such an image; one patient may be in several parts."""

    num_per_class: tuple[int, ...]
    """Images of each class."""

    metrics: dict[str, Interval]
    """Keys are `metrics.METRICS`."""

    warning: str
    """Why not to lean on these numbers; empty where there is no reason."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        known = {
            "name": self.name,
            "num_images": self.num_images,
            "num_groups": self.num_groups,
            "num_per_class": list(self.num_per_class),
            "metrics": {name: interval.record() for name, interval in self.metrics.items()},
        }
        return known | {"warning": self.warning} if self.warning else known


@dataclass(frozen=True)
class Subgroups:
    """All parts of a test set by one column."""

    column: str
    """What it was parted by."""

    parts: tuple[Subgroup, ...]
    """In the order of their values, the unknown last; their images add up to the whole."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"column": self.column, "parts": [part.record() for part in self.parts]}


def score_subgroups(
    labels: Int[np.ndarray, " image"],
    probabilities: Sequence[Float[np.ndarray, "image class"]],
    groups: Int[np.ndarray, " image"],
    values: Sequence[str | None],
    *,
    column: str,
    config: BootstrapConfig,
    positive: int | None = None,
    folds: Int[np.ndarray, " image"] | None = None,
    group_kind: str = "patient",
) -> Subgroups:
    """Every metric for each value of a column.

    Args:
        labels: true classes.
        probabilities: predicted probability of each class, one table per seed; a metric is the mean over
            seeds.
        groups: the patient of each image, any integers.
        values: of each image; None or blank where unknown.
        column: what the values are of, such as `device`.
        config: number of draws, level, method, seed.
        positive: with two classes, the one to be found; the last if None.
        folds: the network that scored each image, any integers; None if one scored all.
        group_kind: what a group is called in warnings.

    Raises:
        ValueError: not one value per image.
    """
    if len(values) != len(labels):
        raise ValueError(f"{column}: {len(values)} values for {len(labels)} images")
    cleaned = np.array([(value or "").strip() or UNKNOWN for value in values])
    num_classes = probabilities[0].shape[1]
    names = sorted(set(cleaned.tolist()), key=lambda name: (name == UNKNOWN, _in_order(name)))
    parts = []
    for name in names:
        rows = np.flatnonzero(cleaned == name)
        here = labels[rows]
        counts = np.bincount(here, minlength=num_classes)
        parts.append(
            Subgroup(
                name=name,
                num_images=len(rows),
                num_groups=len(np.unique(groups[rows])),
                num_per_class=tuple(counts.tolist()),
                metrics=score_over_seeds(
                    here,
                    [one[rows] for one in probabilities],
                    groups[rows],
                    config=config,
                    positive=positive,
                    folds=None if folds is None else folds[rows],
                ),
                warning=_warning(here, groups[rows], counts, group_kind),
            )
        )
    return Subgroups(column, tuple(parts))


def _in_order(name: str) -> tuple[int, float, str]:
    """Numbers, and words that begin with one, by size and before other words, so that 10 comes after 9."""
    number = re.match(r"\d+(\.\d+)?(?=\s|$)", name)
    return (1, 0.0, name) if number is None else (0, float(number[0]), name)


def _warning(
    labels: Int[np.ndarray, " image"],
    groups: Int[np.ndarray, " image"],
    counts: Int[np.ndarray, " class"],
    group_kind: str,
) -> str:
    reasons = []
    num_groups = len(np.unique(groups))
    rarest = min(len(np.unique(groups[labels == label])) for label in np.flatnonzero(counts).tolist())
    if num_groups < FEW_PATIENTS:
        reasons.append(f"only {num_groups} {group_kind}{'s' * (num_groups != 1)}")
    elif rarest < FEW_OF_A_CLASS:
        reasons.append(f"only {rarest} {group_kind}{'s' * (rarest != 1)} of a class")
    absent = int((counts == 0).sum())
    if absent:
        reasons.append(f"no image of {absent} of {len(counts)} classes")
    return "; ".join(reasons)
