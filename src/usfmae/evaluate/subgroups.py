"""Is a classifier as good for each device, each BI-RADS, small lesions as large ones?

The images are parted by the values of one column, and each part gets the metrics of the whole with intervals
over its own patients. Images without a value are a part of their own, so that nothing is left out unseen. A
part of few patients, or in which a class does not occur, carries a warning: a difference between such parts
is more likely chance than a finding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.statistics import BootstrapConfig, Interval, score_with_intervals

FEW_PATIENTS = 20
"""Parts with fewer carry a warning."""

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
    probabilities: Float[np.ndarray, "image class"],
    groups: Int[np.ndarray, " image"],
    values: Sequence[str | None],
    *,
    column: str,
    config: BootstrapConfig,
    positive: int | None = None,
) -> Subgroups:
    """Every metric for each value of a column.

    Args:
        labels: true classes.
        probabilities: predicted probability of each class.
        groups: the patient of each image, any integers.
        values: of each image; None or blank where unknown. `thirds` makes them of a measure.
        column: what the values are of, such as `device`.
        config: number of draws, level, method, seed.
        positive: with two classes, the one to be found; the last if None.

    Raises:
        ValueError: not one value per image.
    """
    if len(values) != len(labels):
        raise ValueError(f"{column}: {len(values)} values for {len(labels)} images")
    cleaned = np.array([(value or "").strip() or UNKNOWN for value in values])
    names = sorted(set(cleaned.tolist()), key=lambda name: (name == UNKNOWN, _in_order(name)))
    parts = []
    for name in names:
        rows = cleaned == name
        scored = score_with_intervals(
            labels[rows], probabilities[rows], groups[rows], config=config, positive=positive
        )
        counts = np.bincount(labels[rows], minlength=probabilities.shape[1])
        parts.append(
            Subgroup(
                name=name,
                num_images=int(rows.sum()),
                num_groups=scored.num_groups,
                num_per_class=tuple(counts.tolist()),
                metrics={metric: scored.metrics[metric] for metric in METRICS},
                warning=_warning(scored.num_groups, counts),
            )
        )
    return Subgroups(column, tuple(parts))


def thirds(measures: Float[np.ndarray, " image"], *, unit: str) -> list[str | None]:
    """Each image's third of a measure, as a value for `score_subgroups`.

    The cuts are at the 1/3 and 2/3 quantiles of the known measures; equal ones stay together, so thirds may
    be uneven, or be fewer where many measures are alike.

    Args:
        measures: such as lesion areas; NaN where unknown.
        unit: written after the numbers, such as `mm`.

    Returns:
        `1: up to 9.5 mm`, `2: up to 14 mm`, `3: up to 41 mm`, or None where unknown.
    """
    known = measures[~np.isnan(measures)]
    if len(known) == 0:
        return [None] * len(measures)
    tops = np.unique(np.quantile(known, [1 / 3, 2 / 3, 1], method="inverted_cdf"))
    names = [f"{number}: up to {top:.4g} {unit}" for number, top in enumerate(tops.tolist(), start=1)]
    places = np.searchsorted(tops, measures, side="left")
    return [
        None if np.isnan(measure) else names[place]
        for measure, place in zip(measures.tolist(), places.tolist(), strict=True)
    ]


def _in_order(name: str) -> tuple[int, float, str]:
    """Numbers by size and before words, so that 10 comes after 9."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def _warning(num_groups: int, counts: Int[np.ndarray, " class"]) -> str:
    reasons = []
    if num_groups < FEW_PATIENTS:
        reasons.append(f"only {num_groups} patient{'s' * (num_groups != 1)}")
    absent = int((counts == 0).sum())
    if absent:
        reasons.append(f"no image of {absent} of {len(counts)} classes")
    return "; ".join(reasons)
