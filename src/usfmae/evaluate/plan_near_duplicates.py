"""A plan's numbers without test images of which a near-duplicate was learnt from.

Where official lists part near-duplicates (MMOTU-2D: 44 pairs), every cell's `result.json` has its metrics
without the test images concerned. Here they are averaged, beside those of the same cells with all images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.plan_scores import Entry

WITHOUT = "metrics_without_near_duplicates"


@dataclass(frozen=True)
class NearDuplicates:
    """What is left of an entry's numbers without them."""

    num_left_out: int
    """Test images, over all splits."""

    num_images: int
    """Test images with them."""

    without: dict[str, float | None]
    """Mean over splits and seeds of each metric without them; None where it is not defined somewhere."""

    all_images: dict[str, float | None]
    """The same mean with all test images."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "num_left_out": self.num_left_out,
            "num_images": self.num_images,
            "metrics": self.without,
            "metrics_with_all_images": self.all_images,
        }


def without_near_duplicates(entry: Entry) -> NearDuplicates | None:
    """The mean over the cells of an entry; None where no split parts near-duplicates.

    A split without any counts with all of its test images.
    """
    if not any(WITHOUT in result for result in entry.results):
        return None
    first = [result for result in entry.results if result["seed"] == entry.seeds[0]]
    return NearDuplicates(
        num_left_out=sum(int(result.get("num_near_duplicates", 0)) for result in first),
        num_images=sum(int(result["num_images"]) for result in first),
        without=_means([result.get(WITHOUT, result["metrics"]) for result in entry.results]),
        all_images=_means([result["metrics"] for result in entry.results]),
    )


def _means(metrics: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in METRICS:
        values = [one[name]["value"] for one in metrics]
        found[name] = None if None in values else float(np.mean(values))
    return found
