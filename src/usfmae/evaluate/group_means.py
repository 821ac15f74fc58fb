"""Means over images with intervals over patients.

What `statistics` does for metrics of a classifier, for plain numbers that each image has: hits, shares,
distances. Equal seeds draw equal patients in both.
"""

import numpy as np
from jaxtyping import Float, Int

from usfmae.evaluate.statistics import BootstrapConfig, Interval, intervals_over_groups


def mean_with_interval(
    values: Float[np.ndarray, " image"], groups: Int[np.ndarray, " image"], *, config: BootstrapConfig
) -> Interval:
    """The mean over images, and its interval when whole patients are drawn with replacement.

    For two numbers of the same images, the interval of their difference is that of the mean of differences.

    Args:
        values: one finite number per image.
        groups: the patient of each image, any integers.
        config: number of draws, level, method and seed.

    Returns:
        Without an interval, and saying why, where there is one patient only.

    Raises:
        ValueError: no image, or a value that is not finite.
    """
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a mean needs finite numbers, at least one; here are {len(values)}")

    def means(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample 1"]:
        mean: Float[np.ndarray, " resample"] = weights @ values / weights.sum(axis=1)
        return mean[:, None]

    (interval,) = intervals_over_groups(means, groups, config=config, undefined="there is no image")
    return interval
