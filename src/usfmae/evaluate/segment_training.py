"""One segmentation network trained on one split: its batches, its loss, and what it says about images."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the field's own name)

from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import rng_for, seed_for
from usfmae.datasets.splits import Split
from usfmae.engine.augment import apply_views, apply_views_to_label_maps, whole_batch
from usfmae.engine.devices import PrecisionName, autocast, pick_precision, to_input
from usfmae.engine.looks import Looks
from usfmae.engine.loop import Batch, LoopResult, train
from usfmae.engine.optim import build_optimizer
from usfmae.engine.sampler import batch_indices, steps_in
from usfmae.engine.schedule import make_schedule, with_short_warmup
from usfmae.engine.views import AugmentConfig, draw_views
from usfmae.evaluate.overlap import mean_overlap, overlaps
from usfmae.evaluate.segment_config import SegmentConfig
from usfmae.evaluate.segment_task import SegmentTask
from usfmae.images.prepare import back_onto_picture
from usfmae.models.segmenter import Segmenter
from usfmae.models.vit import vit_layer_of

ENCODER_PREFIX = "encoder.vit."
"""Where the transformer sits in a `Segmenter` on `ViTFeatures`, for learning rates by layer."""


@dataclass(frozen=True, eq=False)
class SegmentBatches:
    """Makes batch `step`: which images and which crops depend on (seed, step) alone."""

    images: UInt8[np.ndarray, "n s s"]
    """Training images."""

    label_maps: UInt8[np.ndarray, "n s s"]
    """Their label maps."""

    image_px: tuple[int, int]
    """Height and width of the views."""

    batch: int
    """Images per step."""

    augment: AugmentConfig
    """Crops and flips."""

    seed: int
    """Of this split."""

    def __call__(self, step: int) -> Batch:
        """Grey bytes and labels, both "b h w"."""
        indices = batch_indices(step, num_images=len(self.images), global_batch=self.batch, seed=self.seed)
        rng = rng_for(self.seed, "augment", step)
        side = self.images.shape[1]
        views = draw_views(len(indices), side, self.augment, rng, size_px=self.image_px)
        images = apply_views(self.images[indices], views)
        label_maps = apply_views_to_label_maps(self.label_maps[indices], views)
        return torch.from_numpy(images), torch.from_numpy(label_maps)

    def from_step(self, first: int) -> Iterator[Batch]:
        """All batches from `first` on, without end."""
        return map(self, count(first))


@dataclass(frozen=True, eq=False)
class SegmentStep:
    """The loss of a batch: cross-entropy over all pixels and soft Dice over the structures."""

    input_spec: InputSpec
    """Standardisation, applied on the device."""

    dice_weight: float
    """Of the Dice loss; that of the cross-entropy is 1."""

    def __call__(self, module: nn.Module, batch: Batch) -> Tensor:
        """Mean over the images of the batch."""
        views, labels = batch
        device = next(module.parameters()).device
        truth = labels.to(device, non_blocking=True).long()
        logits = module(to_input(views, self.input_spec, device)).float()
        loss = F.cross_entropy(logits, truth)
        return loss + self.dice_weight * soft_dice_loss(logits, truth).mean()


def soft_dice_loss(
    logits: Float[Tensor, "b label h w"], truth: Int64[Tensor, "b h w"]
) -> Float[Tensor, " b"]:
    """One minus the mean soft Dice of the structures, for each image.

    Dice with probabilities for areas (Milletari et al. 2016, "V-Net", sec. 3, without the squares, as in
    nnU-Net), plus one pixel in numerator and denominator: a structure that is not there and hardly predicted
    costs nothing. Label 0, the outside, is left to the cross-entropy.
    """
    probabilities = logits.softmax(dim=1)[:, 1:]
    wanted = F.one_hot(truth, logits.shape[1]).permute(0, 3, 1, 2)[:, 1:].to(probabilities.dtype)
    both = (probabilities * wanted).sum(dim=(2, 3))
    areas = probabilities.sum(dim=(2, 3)) + wanted.sum(dim=(2, 3))
    return 1 - ((2 * both + 1) / (areas + 1)).mean(dim=1)


@dataclass(frozen=True, eq=False)
class SegmentWatch:
    """A loop hook: Dice on the prepared validation images, to be looked at and never chosen by."""

    module: Segmenter
    """The network in training."""

    input_spec: InputSpec
    """What it sees."""

    task: SegmentTask
    """Images and label maps."""

    val: Int64[np.ndarray, " val"]
    """The images to watch; may be none."""

    config: SegmentConfig
    """Precision and intervals."""

    looks: Looks
    """When."""

    def __call__(self, step: int) -> list[dict[str, object]]:
        """A line with task, metric (val_dice), value, low and high."""
        if not len(self.val) or not self.looks.due(step):
            return []
        rows = []
        for index, said in zip(self.val.tolist(), self._said(), strict=True):
            predicted = said.argmax(axis=0).astype(np.uint8)
            found = overlaps(self.task.label_maps[index], predicted, num_structures=len(self.task.structures))
            rows.append(found[:, 0])
        dice, _ = mean_overlap(np.stack(rows), self.task.group_ids(self.val), config=self.config.bootstrap)
        if dice.value is None:
            return []
        return [{"task": self.task.name, "metric": "val_dice", **dice.record()}]

    def _said(self) -> Iterator[Float32[np.ndarray, "label s s"]]:
        images = self.task.images[self.val]
        precision = self.config.loop.precision
        return square_probabilities(
            self.module, images, input_spec=self.input_spec, precision=precision, size_px=images.shape[1]
        )


def train_segmenter(
    module: Segmenter,
    task: SegmentTask,
    split: Split,
    *,
    input_spec: InputSpec,
    config: SegmentConfig,
    out: Path,
) -> LoopResult:
    """Train `module` for the epochs of `config`, or go on from the newest checkpoint in `out`.

    Args:
        module: on its device; holds the last weights afterwards.
        task: images and label maps.
        split: its training images are learnt from.
        input_spec: what the network sees.
        config: the recipe.
        out: folder of this split: checkpoints, metrics.jsonl, tensorboard.

    Raises:
        TrainingError: the loss is not a finite number.
        Interrupted: Ctrl-C; a checkpoint was written.
    """
    learnt = task.learnt_from(split)
    seed = seed_for(config.seed, "split", split.name)
    batches = SegmentBatches(
        task.images[learnt], task.label_maps[learnt], input_spec.size_px, config.batch, config.augment, seed
    )
    steps_per_epoch = len(learnt) / config.batch
    total = steps_in(config.epochs, num_images=len(learnt), global_batch=config.batch)
    watch = SegmentWatch(
        module=module,
        input_spec=input_spec,
        task=task,
        val=task.watched(split),
        config=config,
        looks=Looks.every(config.watch_epochs, steps_per_epoch=steps_per_epoch, total_steps=total),
    )
    return train(
        module,
        SegmentStep(input_spec, config.dice_weight),
        batches.from_step,
        out=out,
        config=config.loop,
        optimizer=build_optimizer(module, config.optim, layer_of=vit_layer_of, encoder_prefix=ENCODER_PREFIX),
        schedule=make_schedule(
            with_short_warmup(config.optim, epochs=config.epochs),
            global_batch=config.batch,
            steps_per_epoch=steps_per_epoch,
            total_steps=total,
        ),
        clip_norm=config.optim.clip_norm,
        steps_per_epoch=steps_per_epoch,
        seed=seed,
        hooks=[watch],
        title=f"{task.name} {split.name}",
    )


def square_probabilities(
    module: nn.Module,
    images: UInt8[np.ndarray, "n s s"],
    *,
    input_spec: InputSpec,
    size_px: int,
    precision: PrecisionName = "fp32",
    mirror: bool = False,
    batch: int = 32,
) -> Iterator[Float32[np.ndarray, "label p p"]]:
    """Probabilities of each label over the prepared square, image by image; `module` is left as it was.

    Args:
        module: a segmenter, on any device.
        images: prepared grey squares of any side.
        input_spec: what the network sees.
        size_px: side of the squares that come out; logits are enlarged to it.
        precision: fp32 for results, so that they do not depend on the machine.
        mirror: mean of the image and its mirror image, left for right.
        batch: images at a time.
    """
    device = next(module.parameters()).device
    number_type = pick_precision(precision, device)
    was_training = module.training
    module.eval()
    try:
        for start in range(0, len(images), batch):
            part = torch.from_numpy(whole_batch(images[start : start + batch], image_px=input_spec.size_px))
            with torch.inference_mode(), autocast(number_type, device):
                said = _enlarged(module(to_input(part, input_spec, device)), size_px).softmax(dim=1)
                if mirror:
                    turned = module(to_input(part.flip(-1), input_spec, device)).flip(-1)
                    said = (said + _enlarged(turned, size_px).softmax(dim=1)) / 2
            yield from said.cpu().numpy()
    finally:
        module.train(was_training)


def stored_probabilities(
    module: nn.Module,
    task: SegmentTask,
    indices: Int64[np.ndarray, " k"],
    *,
    input_spec: InputSpec,
    mirror: bool = False,
) -> Iterator[Float32[np.ndarray, "label _ _"]]:
    """Probabilities of each label over the pictures as stored, each at its own size.

    Args:
        module: a segmenter, on any device.
        task: images and what they look like on the disk.
        indices: which images.
        input_spec: what the network sees.
        mirror: mean of the image and its mirror image.
    """
    squares = square_probabilities(
        module, task.images[indices], input_spec=input_spec, mirror=mirror, size_px=task.config.size_px
    )
    for index, square in zip(indices.tolist(), squares, strict=True):
        stored = task.stored[index]
        assert stored is not None, "unreadable images are on no side"
        yield np.stack(
            [
                back_onto_picture(
                    plane,
                    size=stored.size,
                    fit=task.config.fit,
                    shown=stored.shown,
                    outside=float(label == 0),
                )
                for label, plane in enumerate(square)
            ]
        )


def _enlarged(logits: Float[Tensor, "b label h w"], size_px: int) -> Float[Tensor, "b label s s"]:
    return F.interpolate(logits.float(), size=(size_px, size_px), mode="bilinear", align_corners=False)
