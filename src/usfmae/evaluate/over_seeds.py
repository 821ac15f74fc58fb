"""Means over seeds with their intervals over patients.

A method that was trained with several seeds is scored with each of them on the same drawn patients, and the
mean over seeds is the number of the draw. So an interval says what other patients would change; how far the
seeds lie apart is another question (`folds_and_seeds`).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from usfmae.evaluate.metrics import METRICS, mean_over_seeds
from usfmae.evaluate.statistics import BootstrapConfig, Interval, Scorer, draw_resamples

PerSeed = Sequence[Float[np.ndarray, "image class"]]
"""Probabilities of the same images in the same order, one array for each seed."""


def score_over_seeds(
    labels: Int[np.ndarray, " image"],
    per_seed: PerSeed,
    groups: Int[np.ndarray, " image"],
    *,
    config: BootstrapConfig,
    positive: int | None = None,
) -> dict[str, Interval]:
    """The mean over seeds of every metric, with its interval over groups.

    Args:
        labels: true classes.
        per_seed: what each seed says, at least one.
        groups: the patient of each image, any integers.
        config: number of draws, level, method, seed.
        positive: with two classes, the one to be found; the last if None.
    """

    def means(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample metric"]:
        return mean_over_seeds(labels, per_seed, weights, positive=positive)

    return _intervals(means, labels, per_seed, groups, config)


def difference_over_seeds(
    labels: Int[np.ndarray, " image"],
    first: PerSeed,
    second: PerSeed,
    groups: Int[np.ndarray, " image"],
    *,
    config: BootstrapConfig,
    positive: int | None = None,
) -> dict[str, Interval]:
    """The mean over seeds of the second less that of the first, on shared draws of groups.

    Args:
        labels: true classes.
        first: what each seed of the baseline says.
        second: what each seed of the contender says; it may have another number of seeds.
        groups: the patient of each image, any integers.
        config: number of draws, level, method, seed.
        positive: with two classes, the one to be found; the last if None.
    """

    def differences(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample metric"]:
        before, after = (
            mean_over_seeds(labels, side, weights, positive=positive) for side in (first, second)
        )
        change: Float[np.ndarray, "resample metric"] = after - before
        return change

    return _intervals(differences, labels, first, groups, config)


def _intervals(
    scorer: Scorer,
    labels: Int[np.ndarray, " image"],
    per_seed: PerSeed,
    groups: Int[np.ndarray, " image"],
    config: BootstrapConfig,
) -> dict[str, Interval]:
    draws = draw_resamples(scorer, labels, groups, per_seed[0].shape[1], config)
    return {name: draws.interval(column, config) for column, name in enumerate(METRICS)}
