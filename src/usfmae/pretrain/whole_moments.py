"""Moments of whole images for a network that has been trained on what is left of them.

A masked convolutional network takes the moments of its batch norms over visible places, beside which its
convolutions meet zeros. Whoever uses the encoder shows it whole images, whose moments are others, and its
first hundred steps of fine-tuning would go into that. So what is saved and scored has moments of whole images
of the pool; the network in training keeps its own.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import rng_for
from usfmae.corpus.shards import Corpus
from usfmae.engine.augment import whole_batch
from usfmae.engine.devices import to_input
from usfmae.engine.moments import has_moments, settled_moments
from usfmae.models.encoder import Encoder

BATCH = 64
"""Images of which moments are taken together; the parts are of nearly equal size."""


@dataclass(frozen=True, eq=False)
class WholeMoments:
    """Images of the pool over which moments are taken."""

    images: UInt8[np.ndarray, "n h w"]
    """Already of the input size; none for a network that keeps the moments of its training."""

    input_spec: InputSpec
    """Standardisation."""

    def settled(self, encoder: Encoder) -> AbstractContextManager[None]:
        """Within, the encoder has the moments of whole images, if it has any."""
        if not len(self.images) or not has_moments(encoder):
            return nullcontext()
        return settled_moments(encoder, self._batches(encoder))

    def _batches(self, encoder: Encoder) -> Iterator[Tensor]:
        weight = next(encoder.parameters())
        for part in np.array_split(self.images, -(-len(self.images) // BATCH)):
            yield to_input(torch.from_numpy(part), self.input_spec, weight.device).to(weight.dtype)


def whole_moments(corpus: Corpus, count: int, spec: InputSpec, *, seed: int) -> WholeMoments:
    """Draw the images: the same over the whole run.

    Args:
        corpus: the pool.
        count: how many, at most all; 0 for none.
        spec: input size and standardisation.
        seed: of the run.
    """
    chosen = rng_for(seed, "moments").choice(len(corpus), size=min(count, len(corpus)), replace=False)
    return WholeMoments(whole_batch(corpus.read(np.sort(chosen)), image_px=spec.image_px), spec)
