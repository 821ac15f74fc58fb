"""Which images are in which batch: a pure function of the seed, the step and the images' weights."""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from usfmae.base.seeds import rng_for


@dataclass(frozen=True, eq=False)
class Weights:
    """How often each image is drawn, in proportion; made once per run, since orders are remembered by it."""

    values: Float[np.ndarray, " n"] = field(repr=False)
    """At least 0, and not all 0; any scale."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.values).all() and (self.values >= 0).all() and self.values.sum() > 0):
            raise ValueError("weights must be finite, at least 0, and not all 0")


def batch_indices(
    step: int, *, num_images: int, global_batch: int, seed: int, weights: Weights | None = None
) -> Int[np.ndarray, " b"]:
    """The images of global batch `step`.

    Epochs of `num_images` draws are laid end to end, each freshly shuffled, and cut into batches, so no
    remainder is dropped; a batch may end one epoch and begin the next. Without weights every image is seen
    once an epoch.

    Args:
        step: counted from 0.
        num_images: images in the pool.
        global_batch: images per step over all processes; may exceed `num_images`.
        seed: the run's seed.
        weights: how often each image is drawn; None for all alike.

    Raises:
        ValueError: the weights are not one per image.
    """
    if weights is not None and len(weights.values) != num_images:
        raise ValueError(f"{len(weights.values)} weights for {num_images} images")
    positions = np.arange(step * global_batch, (step + 1) * global_batch)
    epochs, places = np.divmod(positions, num_images)
    indices = np.empty(global_batch, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = shuffled(int(epoch), num_images, seed, weights)[places[here]]
    return indices


@lru_cache(maxsize=4)
def shuffled(epoch: int, num_images: int, seed: int, weights: Weights | None = None) -> Int[np.ndarray, " n"]:
    """The order of one epoch; the four used last are remembered: two for each of two pools."""
    order = rng_for(seed, "order", epoch).permutation(num_images)
    return order if weights is None else drawn(epoch, seed, weights)[order]


def drawn(epoch: int, seed: int, weights: Weights) -> Int[np.ndarray, " n"]:
    """The images of one epoch in ascending order, each as often as its weight says, rounded up or down.

    Systematic resampling (Kitagawa 1996, "Monte Carlo filter and smoother", appendix): one random offset
    for all, so an image whose share of n draws is 1.3 comes once or twice, never three times; over many
    epochs it comes 1.3 times on average. Equal weights give every image once.
    """
    values = weights.values
    n = len(values)
    ends = np.cumsum(values * (n / values.sum()))
    ends[-1] = n  # whatever rounding left
    offset = rng_for(seed, "offset", epoch).random()
    counts = np.diff(np.ceil(ends - offset), prepend=np.ceil(-offset)).astype(np.int64)
    return np.repeat(np.arange(n), counts)


def steps_in(epochs: float, *, num_images: int, global_batch: int) -> int:
    """Steps that show every image `epochs` times, rounded up; at least one."""
    return max(1, math.ceil(epochs * num_images / global_batch))
