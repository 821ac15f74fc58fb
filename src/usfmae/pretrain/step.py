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
from usfmae.engine.augment import augment_batch
from usfmae.engine.devices import to_input
from usfmae.engine.loop import Batch
from usfmae.engine.sampler import Weights, batch_indices, steps_in
from usfmae.models.hiding_choice import choose_hiding, draw_turns
from usfmae.models.mae import Context
from usfmae.models.masking import Hiding
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.context import Partners, find_partners


@dataclass(frozen=True)
class PretrainBatches:
    """Makes global batch `step`: images, crops and hidden patches depend on (seed, step) alone."""

    corpus: Corpus
    """The pool."""

    config: PretrainConfig
    """The run's settings."""

    def __call__(self, step: int) -> Batch:
        """Grey bytes, indices of visible and of predicted patches, and what the latter count where not alike.

        Shapes are "b h w", "b v", "b p" and "b p"; with another frame of the clip for each image they are
        "b 2 h w" and "b 2 v", the image itself first.
        """
        config = self.config
        indices = batch_indices(
            step,
            num_images=len(self.corpus),
            global_batch=config.global_batch,
            seed=config.seed,
            weights=self.weights,
        )
        views, hiding = self._seen(indices, step, "")
        scored = () if hiding.scored is None else (hiding.scored,)
        if config.model.context == "none":
            return views, hiding.visible, hiding.hidden, *scored
        others = self.partners.draw(indices, rng_for(config.seed, "context", step))
        other_views, other_hiding = self._seen(others, step, " context")
        visible = torch.stack([hiding.visible, other_hiding.visible], dim=1)
        return torch.stack([views, other_views], dim=1), visible, hiding.hidden, *scored

    def _seen(self, indices: np.ndarray, step: int, what: str) -> tuple[Tensor, Hiding]:
        """Views of images, and what of them is hidden; `what` sets one draw of a step apart from another."""
        config = self.config
        size_px = config.resolution.size_px(
            step, total_steps=self.total_steps, final_px=config.input_spec.size_px
        )
        views = torch.from_numpy(
            augment_batch(
                self.corpus.read(indices),
                image_px=size_px,
                config=config.augment,
                rng=rng_for(config.seed, "augment" + what, step),
            )
        )
        patch_px = config.model.encoder.patch_px
        grid = size_px[0] // patch_px, size_px[1] // patch_px
        rng = torch.Generator().manual_seed(seed_for(config.seed, "hide" + what, step))
        turns = draw_turns(config.model, config.global_batch, grid, rng=rng)
        return views, choose_hiding(config.model, turns, grid=grid, views=views)

    @property
    def total_steps(self) -> int:
        """Steps of the run."""
        config = self.config
        return steps_in(config.epochs, num_images=len(self.corpus), global_batch=config.global_batch)

    @cached_property
    def partners(self) -> Partners:
        """Which images are frames of one clip."""
        return find_partners(self.corpus)

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
        """Mean squared error over the hidden patches of the batch that are scored."""
        device = next(module.parameters()).device
        views, *choice = batch
        visible, hidden, *scored = (tensor.to(device, non_blocking=True) for tensor in choice)
        context: tuple[Context, ...] = ()
        if views.ndim == 4:
            views, others = views.unbind(1)
            visible, seen_of_others = visible.unbind(1)
            context = (Context(to_input(others, self.input_spec, device), seen_of_others),)
        images = to_input(views, self.input_spec, device)
        loss: Tensor = module(images, Hiding(visible, hidden, *scored), *context).loss
        return loss


def picture_indices(corpus: Corpus, count: int, seed: int) -> np.ndarray:
    """The images shown in a run's pictures: drawn once, the same over the whole run."""
    chosen = rng_for(seed, "pictures").choice(len(corpus), size=min(count, len(corpus)), replace=False)
    return np.sort(chosen)
