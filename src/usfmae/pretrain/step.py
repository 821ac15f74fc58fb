"""Batch number s of a run, and the loss of a batch."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import rng_for, seed_for
from usfmae.corpus.balance import image_weights
from usfmae.corpus.shards import Corpus
from usfmae.engine.augment import augment_batch
from usfmae.engine.devices import to_input
from usfmae.engine.loop import Batch
from usfmae.engine.sampler import Weights, batch_indices
from usfmae.models.masking import Hiding, hide_patches
from usfmae.pretrain.config import PretrainConfig


@dataclass(frozen=True)
class PretrainBatches:
    """Makes global batch `step`: images, crops and hidden patches depend on (seed, step) alone."""

    corpus: Corpus
    """The pool."""

    config: PretrainConfig
    """The run's settings."""

    rows: slice = field(default_factory=lambda: slice(None))
    """Which rows of each batch to make: those of this process. They are the same whoever makes them."""

    def __call__(self, step: int) -> Batch:
        """Grey bytes "b p p", indices of visible patches "b v", indices of hidden patches "b h"."""
        config = self.config
        indices = batch_indices(
            step,
            num_images=len(self.corpus),
            global_batch=config.global_batch,
            seed=config.seed,
            weights=self.weights,
        )
        views = augment_batch(
            self.corpus.read(indices[self.rows]),
            image_px=config.input_spec.image_px,
            config=config.augment,
            rng=rng_for(config.seed, "augment", step),
            rows=self.rows,
            batch=config.global_batch,
        )
        hiding = hide_patches(
            config.global_batch,
            config.model.encoder.num_patches,
            hide_ratio=config.model.hide_ratio,
            rng=torch.Generator().manual_seed(seed_for(config.seed, "hide", step)),
        )
        return torch.from_numpy(views), hiding.visible[self.rows], hiding.hidden[self.rows]

    @cached_property
    def weights(self) -> Weights | None:
        """How often each image is drawn; None for all alike."""
        chances = image_weights(self.corpus, self.config.balance)
        return None if chances is None else Weights(chances)


@dataclass(frozen=True)
class PretrainStep:
    """The loss of a batch that `PretrainBatches` made."""

    input_spec: InputSpec
    """Standardisation, applied on the device."""

    def __call__(self, module: nn.Module, batch: Batch) -> Tensor:
        """Mean squared error over the hidden patches of the batch."""
        views, visible, hidden = batch
        device = next(module.parameters()).device
        hiding = Hiding(visible.to(device, non_blocking=True), hidden.to(device, non_blocking=True))
        loss: Tensor = module(to_input(views, self.input_spec, device), hiding).loss
        return loss


def picture_indices(corpus: Corpus, count: int, seed: int) -> np.ndarray:
    """The images shown in a run's pictures: drawn once, the same over the whole run."""
    chosen = rng_for(seed, "pictures").choice(len(corpus), size=min(count, len(corpus)), replace=False)
    return np.sort(chosen)
