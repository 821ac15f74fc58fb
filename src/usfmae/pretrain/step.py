"""Batch number s of a run, and the loss of a batch."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import rng_for, seed_for
from usfmae.corpus.balance import image_weights
from usfmae.corpus.shards import Corpus
from usfmae.engine.augment import apply_views
from usfmae.engine.augment_device import apply_views_on_device
from usfmae.engine.devices import to_input
from usfmae.engine.loop import Batch
from usfmae.engine.sampler import Weights, batch_indices
from usfmae.engine.views import AugmentConfig, draw_views
from usfmae.models.masking import Hiding, hide_patches
from usfmae.pretrain.config import PretrainConfig


@dataclass(frozen=True)
class PretrainBatches:
    """Makes global batch `step`: images, crops and hidden patches depend on (seed, step) alone."""

    corpus: Corpus
    """The pool."""

    config: PretrainConfig
    """The run's settings."""

    def __call__(self, step: int) -> Batch:
        """Grey bytes "b p p", indices of visible patches "b v", indices of hidden patches "b h".

        If views are made on the device: whole images "b s s", the numbers of their views, then the indices.
        """
        config = self.config
        indices = batch_indices(
            step,
            num_images=len(self.corpus),
            global_batch=config.global_batch,
            seed=config.seed,
            weights=self.weights,
        )
        images = self.corpus.read(indices)
        views = draw_views(
            len(indices),
            self.corpus.size_px,
            config.augment,
            rng_for(config.seed, "augment", step),
            size_px=config.model.encoder.image_size_px,
        )
        hiding = hide_patches(
            config.global_batch,
            config.model.encoder.num_patches,
            hide_ratio=config.model.hide_ratio,
            rng=torch.Generator().manual_seed(seed_for(config.seed, "hide", step)),
        )
        if config.augment_on == "device":
            whole, numbers = torch.from_numpy(images), torch.from_numpy(views.numbers())
            return whole, numbers, hiding.visible, hiding.hidden
        return torch.from_numpy(apply_views(images, views)), hiding.visible, hiding.hidden

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

    augment: AugmentConfig
    """How views were drawn, where they are made on the device."""

    def __call__(self, module: nn.Module, batch: Batch) -> Tensor:
        """Mean squared error over the hidden patches of the batch."""
        views, *numbers, visible, hidden = batch
        device = next(module.parameters()).device
        if numbers:
            views, drawn = (part.to(device, non_blocking=True) for part in (views, *numbers))
            side = self.input_spec.image_px
            views = apply_views_on_device(views, drawn, size_px=(side, side), config=self.augment)
        hiding = Hiding(visible.to(device, non_blocking=True), hidden.to(device, non_blocking=True))
        loss: Tensor = module(to_input(views, self.input_spec, device), hiding).loss
        return loss


def picture_indices(corpus: Corpus, count: int, seed: int) -> np.ndarray:
    """The images shown in a run's pictures: drawn once, the same over the whole run."""
    chosen = rng_for(seed, "pictures").choice(len(corpus), size=min(count, len(corpus)), replace=False)
    return np.sort(chosen)
