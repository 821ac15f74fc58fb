"""Which images are in which batch: a pure function of the seed and the step."""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Int

from usfmae.base.seeds import rng_for


def batch_indices(step: int, *, num_images: int, global_batch: int, seed: int) -> Int[np.ndarray, " b"]:
    """The images of global batch `step`.

    Epochs are laid end to end, each a fresh shuffle, and cut into batches, so every image is seen
    equally often and no remainder is dropped; a batch may end one epoch and begin the next.

    Args:
        step: counted from 0.
        num_images: images in the pool.
        global_batch: images per step over all processes; may exceed `num_images`.
        seed: the run's seed.
    """
    positions = np.arange(step * global_batch, (step + 1) * global_batch)
    epochs, places = np.divmod(positions, num_images)
    indices = np.empty(global_batch, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = shuffled(int(epoch), num_images, seed)[places[here]]
    return indices


@lru_cache(maxsize=2)
def shuffled(epoch: int, num_images: int, seed: int) -> Int[np.ndarray, " n"]:
    """The order of one epoch; the two used last are remembered, since a batch touches at most a few."""
    return rng_for(seed, "order", epoch).permutation(num_images)


def steps_in(epochs: float, *, num_images: int, global_batch: int) -> int:
    """Steps that show every image `epochs` times, rounded up; at least one."""
    return max(1, math.ceil(epochs * num_images / global_batch))
