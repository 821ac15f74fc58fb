"""Means over seeds, with intervals over patients and seeds.

A method that was trained with several seeds is scored with each of them on the same drawn patients. Another
reader would have other patients and other seeds (another order, other draws of the few labels), so each draw
takes patients and seeds with replacement: the bootstrap over two crossed factors (Owen 2007, "The pigeonhole
bootstrap", Annals of Applied Statistics 1(2)). Three of three seeds would show two thirds of their variance,
so n - 1 of n are drawn, whose mean varies by the unbiased variance over n (Rao and Wu 1988, "Resampling
inference with complex survey data", JASA 83). With a single seed the interval says nothing about seeds.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from usfmae.base.seeds import rng_for
from usfmae.evaluate.metrics import METRICS, score_resamples
from usfmae.evaluate.statistics import BootstrapConfig, Draws, Interval, draw_resamples

PerSeed = Sequence[Float[np.ndarray, "image class"]]
"""Probabilities of the same images in the same order, one array for each seed."""


def score_over_seeds(
    labels: Int[np.ndarray, " image"],
    per_seed: PerSeed,
    groups: Int[np.ndarray, " image"],
    *,
    config: BootstrapConfig,
    positive: int | None = None,
    folds: Int[np.ndarray, " image"] | None = None,
) -> dict[str, Interval]:
    """The mean over seeds of every metric, with its interval over groups and seeds.

    Args:
        labels: true classes.
        per_seed: what each seed says, at least one.
        groups: the patient of each image, any integers.
        config: number of draws, level, method, seed.
        positive: with two classes, the one to be found; the last if None.
        folds: the network that scored each image, any integers; None if one scored all.
    """

    def each(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample column"]:
        return _columns(labels, per_seed, weights, positive=positive, folds=folds)

    draws = draw_resamples(each, labels, groups, per_seed[0].shape[1], config)
    (shares,) = _seed_weights((len(per_seed),), len(draws.resampled), config)
    return _intervals(_mean(draws, shares), config)


def difference_over_seeds(
    labels: Int[np.ndarray, " image"],
    first: PerSeed,
    second: PerSeed,
    groups: Int[np.ndarray, " image"],
    *,
    config: BootstrapConfig,
    positive: int | None = None,
    folds: Int[np.ndarray, " image"] | None = None,
) -> dict[str, Interval]:
    """The mean over seeds of the second less that of the first, on shared draws of groups and seeds.

    With as many seeds on both sides the k-th ones belong together: they drew the same few labels.

    Args:
        labels: true classes.
        first: what each seed of the baseline says.
        second: what each seed of the contender says; it may have another number of seeds.
        groups: the patient of each image, any integers.
        config: number of draws, level, method, seed.
        positive: with two classes, the one to be found; the last if None.
        folds: the network that scored each image, any integers; None if one scored all.
    """

    def each(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample column"]:
        return _columns(labels, [*first, *second], weights, positive=positive, folds=folds)

    draws = draw_resamples(each, labels, groups, first[0].shape[1], config)
    num = len(first), len(second)
    before, after = _seed_weights(num, len(draws.resampled), config)
    signed = _mean(draws, np.concatenate([-before, after], axis=1), even=_even_difference(*num))
    return _intervals(signed, config)


def _columns(
    labels: Int[np.ndarray, " image"],
    per_seed: PerSeed,
    weights: Float[np.ndarray, "resample image"],
    *,
    positive: int | None,
    folds: Int[np.ndarray, " image"] | None,
) -> Float[np.ndarray, "resample column"]:
    """All metrics of the first seed, then of the second, and so on."""
    scored = [score_resamples(labels, one, weights, positive=positive, folds=folds) for one in per_seed]
    return np.stack([one[name] for one in scored for name in METRICS], axis=1)


def _seed_weights(
    numbers: Sequence[int], num_draws: int, config: BootstrapConfig
) -> list[Float[np.ndarray, "draw seed"]]:
    """The weight of each seed in each draw, summing to 1; equal numbers of seeds are drawn alike."""
    found = []
    for num in numbers:
        rng = rng_for(config.seed, "bootstrap seeds", num)
        num_drawn = max(num - 1, 1)
        found.append(rng.multinomial(num_drawn, np.full(num, 1 / num), size=num_draws) / num_drawn)
    return found


def _even_difference(num_first: int, num_second: int) -> Float[np.ndarray, " seed"]:
    return np.concatenate([np.full(num_first, -1 / num_first), np.full(num_second, 1 / num_second)])


def _mean(
    draws: Draws,
    shares: Float[np.ndarray, "draw seed"],
    even: Float[np.ndarray, " seed"] | None = None,
) -> Draws:
    """Draws of the metrics from draws of every seed's: weighed evenly, but in resamples by `shares`."""
    num_seeds = shares.shape[1]
    even = np.full(num_seeds, 1 / num_seeds) if even is None else even

    def by_seed(columns: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "row seed metric"]:
        return columns.reshape(len(columns), num_seeds, len(METRICS))

    jackknife = draws.jackknife
    return replace(
        draws,
        value=even @ by_seed(draws.value[None])[0],
        resampled=np.einsum("rs,rsm->rm", shares, by_seed(draws.resampled)),
        jackknife=None if jackknife is None else np.einsum("s,gsm->gm", even, by_seed(jackknife)),
    )


def _intervals(draws: Draws, config: BootstrapConfig) -> dict[str, Interval]:
    return {name: draws.interval(column, config) for column, name in enumerate(METRICS)}
