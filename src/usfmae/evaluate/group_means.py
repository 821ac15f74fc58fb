"""Means over images with intervals over patients.

What `statistics` does for metrics of a classifier, for plain numbers that each image has: hits, shares,
distances. Equal seeds draw equal patients in both.
"""

import numpy as np
from jaxtyping import Float, Int

from usfmae.base.seeds import rng_for
from usfmae.evaluate.statistics import BootstrapConfig, Interval


def mean_with_interval(
    values: Float[np.ndarray, " image"], groups: Int[np.ndarray, " image"], *, config: BootstrapConfig
) -> Interval:
    """The mean over images, and its percentile interval when whole patients are drawn with replacement.

    For two numbers of the same images, the interval of their difference is that of the mean of differences.

    Args:
        values: one finite number per image.
        groups: the patient of each image, any integers.
        config: number of draws, level and seed; the method is "percentile".

    Returns:
        Without an interval, and saying why, where there is one patient only.

    Raises:
        ValueError: no image, a value that is not finite, or another method.
    """
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a mean needs finite numbers, at least one; here are {len(values)}")
    if config.method != "percentile":
        raise ValueError(f"means over images have percentile intervals only, not {config.method}")
    _, member = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(member, values), np.bincount(member)
    if len(sums) < 2:
        return Interval(float(values.mean()), None, None, why="no interval: one patient (or group) only")
    rng = rng_for(config.seed, "bootstrap")
    even = np.full(len(sums), 1 / len(sums))
    drawn = rng.multinomial(len(sums), even, size=config.num_resamples)
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.quantile(means, [(1 - config.level) / 2, (1 + config.level) / 2])
    return Interval(float(values.mean()), float(low), float(high))
