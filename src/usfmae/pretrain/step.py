"""Batch number s of a run, and the loss of a batch."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import rng_for, seed_for
from usfmae.corpus.shards import Corpus
from usfmae.engine.all_rows import rows_of_all
from usfmae.engine.augment import apply_views
from usfmae.engine.augment_device import apply_views_on_device
from usfmae.engine.devices import to_input
from usfmae.engine.loop import Batch
from usfmae.engine.loss_parts import LossInParts, StepLoss
from usfmae.engine.ranks import ALONE, Ranks
from usfmae.engine.sampler import steps_in
from usfmae.engine.views import draw_views
from usfmae.models.agreement import vicreg
from usfmae.models.hiding_choice import Turns, choose_hiding, draw_turns
from usfmae.models.mae import Context, MaeOutput
from usfmae.models.masking import Hiding, empty_patches, one_after_the_other
from usfmae.models.teacher import Targets
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.replay import Pools
from usfmae.pretrain.teaching import Teacher


@dataclass(frozen=True)
class PretrainBatches:
    """Makes global batch `step`: images, crops and hidden patches depend on (seed, step) alone."""

    corpus: Corpus
    """The pool."""

    config: PretrainConfig
    """The run's settings."""

    rows: slice = field(default_factory=lambda: slice(None))
    """Which rows of each batch to make: those of this process. They are the same whoever makes them."""

    old: Corpus | None = None
    """The pool that is replayed; its images are the last `config.num_old` of each batch."""

    def __call__(self, step: int) -> Batch:
        """What `PretrainStep` makes views and hidden patches of, one row per image.

        Of k frames (1; 2 with another frame of the clip or a second view, the image itself first): grey
        bytes "b k h w" of the views or, where views are made on the device, of whole images; the numbers of
        their views "b k n" (n is 0 where they are made); their size in pixels "b 2"; the numbers that decide
        what is hidden "b k t"; and those that decide what of it is predicted "b k p".
        """
        config = self.config
        indices = self.pools.batch(
            step, global_batch=config.global_batch, num_old=config.num_old, seed=config.seed
        )
        frames = [self._drawn(indices, step, "")]
        if config.model.context == "clip":
            others = self.pools.partners.draw(indices, rng_for(config.seed, "context", step))
            frames.append(self._drawn(others, step, " context"))
        if config.model.agreement.kind != "none":
            frames.append(self._drawn(self._paired(indices, step), step, " pair"))
        pixels, numbers, turns = zip(*frames, strict=True)
        size_px = torch.tensor(self._size_px(step)).expand(len(pixels[0]), -1)
        hide = torch.stack([each.hide for each in turns], dim=1)
        predict = torch.stack([each.predict for each in turns], dim=1)
        return torch.stack(pixels, dim=1), torch.stack(numbers, dim=1), size_px, hide, predict

    def _paired(self, indices: Int[np.ndarray, " b"], step: int) -> Int[np.ndarray, " b"]:
        """The image of which the second view of each is: itself, or another of its clip or patient."""
        kind = self.config.model.agreement.kind
        if kind == "image":
            return indices
        partners = self.pools.partners if kind == "clip" else self.pools.of_patients
        return partners.draw(indices, rng_for(self.config.seed, "pair", step))

    def _drawn(self, indices: np.ndarray, step: int, what: str) -> tuple[Tensor, Tensor, Turns]:
        """Pixels of one frame per image; `what` sets one draw of a step apart from another."""
        config, size_px = self.config, self._size_px(step)
        images = self.pools.read(indices[self.rows])
        views = draw_views(
            len(indices),
            self.corpus.size_px,
            config.augment,
            rng_for(config.seed, "augment" + what, step),
            size_px=size_px,
        )
        turns = draw_turns(
            config.model,
            len(indices),
            config.model.encoder.grid_of(size_px),
            rng=torch.Generator().manual_seed(seed_for(config.seed, "hide" + what, step)),
        ).of(self.rows)
        if config.augment_on == "device":
            return torch.from_numpy(images), torch.from_numpy(views.numbers()[self.rows]), turns
        made = apply_views(images, views, range(len(indices))[self.rows])
        return torch.from_numpy(made), torch.zeros(len(made), 0), turns

    def _size_px(self, step: int) -> tuple[int, int]:
        config = self.config
        return config.resolution.size_px(
            step, total_steps=self.total_steps, final_px=config.input_spec.size_px
        )

    @property
    def total_steps(self) -> int:
        """Steps of the run."""
        config = self.config
        return steps_in(config.epochs, num_images=len(self.corpus), global_batch=config.num_new)

    @cached_property
    def pools(self) -> Pools:
        """Where images come from."""
        return Pools(self.corpus, self.old, self.config.balance)


@dataclass(frozen=True)
class PretrainStep:
    """The loss of a batch that `PretrainBatches` made."""

    input_spec: InputSpec
    """Standardisation, applied on the device."""

    config: PretrainConfig
    """How views were drawn, and what is hidden and scored."""

    ranks: Ranks = ALONE
    """The processes that have parts of the batch: whether views agree is asked of the whole."""

    teacher: Teacher | None = None
    """Says what is to be predicted of whole views beside their pixels; None for nothing."""

    def __call__(self, module: nn.Module, batch: Batch) -> StepLoss:
        """Mean squared error over the hidden patches of the batch that are scored; with a teacher, the sum of
        that and the errors of its features; with `model.agreement` of both views, and by how much these do
        not agree."""
        device = next(module.parameters()).device
        height, width = batch[2][0].tolist()  # before it goes to the device, so nothing waits for it
        pixels, numbers, _, hide, predict = (part.to(device, non_blocking=True) for part in batch)
        frames = zip(*(part.unbind(1) for part in (pixels, numbers, hide, predict)), strict=True)
        seen = [self._seen(frame, drawn, Turns(*turns), (height, width)) for frame, drawn, *turns in frames]
        if self.config.model.agreement.kind != "none":
            return self._agreeing(module, *seen)
        taught = self._taught(seen[0][0])
        (images, hiding), *others = ((to_input(v, self.input_spec, device), h) for v, h in seen)
        context = (Context(frames, chosen.visible) for frames, chosen in others)
        output: MaeOutput = module(images, hiding, *context, **taught)
        return LossInParts(output.loss, output.parts) if output.parts else output.loss

    def _taught(self, views: Tensor) -> dict[str, Targets]:
        """What the teacher makes of views, if there is one; black patches count here where they count for
        pixels."""
        if self.teacher is None:
            return {}
        targets, model = self.teacher(views), self.config.model
        if model.hides_by_view:
            targets = replace(targets, scored=(~empty_patches(views, model.encoder.patch_px)).float())
        return {"targets": targets}

    def _agreeing(
        self, module: nn.Module, one: tuple[Tensor, Hiding], other: tuple[Tensor, Hiding]
    ) -> LossInParts:
        """The loss of two views of each image. Both are predicted, since both are encoded anyway."""
        views = torch.cat([one[0], other[0]])
        images = to_input(views, self.input_spec, views.device)
        hiding = one_after_the_other(one[1], other[1])
        output: MaeOutput = module(images, hiding, **self._taught(views))
        assert output.projected is not None
        both = torch.cat(output.projected.float().chunk(2), dim=1)  # so that ranks talk once
        agreement = vicreg(*rows_of_all(both, self.ranks, count=self.config.global_batch).chunk(2, dim=1))
        total = output.loss + self.config.model.agreement.weighted(agreement)
        parts = output.parts or {"pixels": output.loss}
        return LossInParts(total, {**parts, **vars(agreement)})

    def _seen(
        self, pixels: Tensor, numbers: Tensor, turns: Turns, size_px: tuple[int, int]
    ) -> tuple[Tensor, Hiding]:
        """Grey views "b h w" and what of them is hidden."""
        if numbers.shape[1]:
            pixels = apply_views_on_device(pixels, numbers, size_px=size_px, config=self.config.augment)
        model = self.config.model
        return pixels, choose_hiding(model, turns, grid=model.encoder.grid_of(size_px), views=pixels)


def picture_indices(corpus: Corpus, count: int, seed: int) -> np.ndarray:
    """The images shown in a run's pictures: drawn once, the same over the whole run."""
    chosen = rng_for(seed, "pictures").choice(len(corpus), size=min(count, len(corpus)), replace=False)
    return np.sort(chosen)
