"""One network trained on one split: its batches, its loss, and what it says about images."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the field's own name)

from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import rng_for, seed_for
from usfmae.datasets.splits import Split
from usfmae.engine.augment import augment_batch, whole_batch
from usfmae.engine.devices import PrecisionName, autocast, pick_precision, to_input
from usfmae.engine.ema import WeightAverage
from usfmae.engine.looks import Looks
from usfmae.engine.loop import Batch, LoopResult, train
from usfmae.engine.moments import has_moments, settle_moments
from usfmae.engine.optim import build_optimizer
from usfmae.engine.sampler import batch_indices, steps_in
from usfmae.engine.schedule import make_schedule, with_short_warmup
from usfmae.engine.views import AugmentConfig
from usfmae.evaluate.finetune_config import FinetuneConfig
from usfmae.evaluate.mixup import draw_pairs, mix, with_partners
from usfmae.evaluate.protocol import Task
from usfmae.evaluate.statistics import score_with_intervals
from usfmae.models.classifier import Classifier


@dataclass(frozen=True, eq=False)
class FinetuneBatches:
    """Makes batch `step`: which images and which crops depend on (seed, step) alone."""

    images: UInt8[np.ndarray, "n s s"]
    """Training images."""

    labels: Int64[np.ndarray, " n"]
    """Their classes."""

    image_px: int | tuple[int, int]
    """Side of the views."""

    batch: int
    """Images per step."""

    augment: AugmentConfig
    """Crops and flips."""

    seed: int
    """Of this split."""

    mixup: float = 0.0
    """Alpha of mixup; 0 for none."""

    def __call__(self, step: int) -> Batch:
        """Grey bytes "b p p" and classes "b"; with mixup the same of partners, and shares "b"."""
        indices = batch_indices(step, num_images=len(self.images), global_batch=self.batch, seed=self.seed)
        rng = rng_for(self.seed, "augment", step)
        views = augment_batch(self.images[indices], image_px=self.image_px, config=self.augment, rng=rng)
        batch = torch.from_numpy(views), torch.from_numpy(self.labels[indices])
        if not self.mixup:
            return batch
        rng = rng_for(self.seed, "mixup", step)
        return with_partners(batch, draw_pairs(len(indices), alpha=self.mixup, rng=rng))

    def from_step(self, first: int) -> Iterator[Batch]:
        """All batches from `first` on, without end."""
        return map(self, count(first))


@dataclass(frozen=True, eq=False)
class FinetuneStep:
    """The loss of a batch: cross-entropy against smoothed labels, each class weighted. Of mixed images it is
    the mean of the losses for both labels, weighted by their shares."""

    input_spec: InputSpec
    """Standardisation, applied on the device."""

    class_weights: Float32[Tensor, " class"]
    """Mean 1 over the training images; all ones where classes are not balanced."""

    label_smoothing: float
    """Probability spread over all classes (Szegedy et al. 2016, sec. 7)."""

    def __call__(self, module: nn.Module, batch: Batch) -> Tensor:
        """Mean over the images of the batch, which are mixed if it has partners."""
        views, labels, *mixed = batch
        device = next(module.parameters()).device
        images = to_input(views, self.input_spec, device)
        if not mixed:
            return self._losses(module(images).float(), labels).mean()
        partners, other_labels, share = mixed
        share = share.to(device, non_blocking=True)
        logits = module(mix(images, to_input(partners, self.input_spec, device), share)).float()
        return mix(self._losses(logits, labels), self._losses(logits, other_labels), share).mean()

    def _losses(
        self, logits: Float32[Tensor, "b class"], labels: Int64[Tensor, " b"]
    ) -> Float32[Tensor, " b"]:
        labels = labels.to(logits.device, non_blocking=True)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")
        return loss * self.class_weights.to(logits.device)[labels]


@dataclass(frozen=True, eq=False)
class ValidationWatch:
    """A loop hook: metrics on the validation images, to be looked at and never chosen by."""

    module: Classifier
    """The network in training."""

    input_spec: InputSpec
    """What it sees."""

    task: Task
    """Images and labels."""

    val: Int64[np.ndarray, " val"]
    """The images to watch; may be none."""

    config: FinetuneConfig
    """Precision and intervals."""

    looks: Looks
    """When."""

    average: WeightAverage | None = None
    """Looked at instead of the weights, since it is what will be tested."""

    def __call__(self, step: int) -> list[dict[str, object]]:
        """Lines with task, metric (val_macro_f1, val_auroc), value, low and high."""
        if not len(self.val) or not self.looks.due(step):
            return []
        with nullcontext() if self.average is None else self.average.in_place():
            probabilities = class_probabilities(
                self.module,
                self.task.images[self.val],
                input_spec=self.input_spec,
                precision=self.config.loop.precision,
            )
        scored = score_with_intervals(
            self.task.labels[self.val],
            probabilities,
            self.task.group_ids(self.val),
            config=self.config.bootstrap,
            positive=self.task.positive,
        )
        return [
            {"task": self.task.name, "metric": f"val_{name}", **scored.metrics[name].record()}
            for name in ("macro_f1", "auroc")
            if scored.metrics[name].value is not None
        ]


def train_on_split(
    module: Classifier, task: Task, split: Split, *, input_spec: InputSpec, config: FinetuneConfig, out: Path
) -> LoopResult:
    """Train `module` for the epochs of `config`, or go on from the newest checkpoint in `out`.

    Args:
        module: on its device; holds the last weights afterwards, or their average if there is one.
        task: images and labels.
        split: its training images are learnt from.
        input_spec: what the network sees.
        config: the recipe.
        out: folder of this split: checkpoints, metrics.jsonl, tensorboard.

    Raises:
        TrainingError: the loss is not a finite number.
        Interrupted: Ctrl-C; a checkpoint was written.
    """
    learnt = task.learnt_from(split)
    labels = task.labels[learnt]
    seed = seed_for(config.seed, "split", split.name)
    batches = FinetuneBatches(
        task.images[learnt], labels, input_spec.image_px, config.batch, config.augment, seed, config.mixup
    )
    steps_per_epoch = len(learnt) / config.batch
    total = steps_in(config.epochs, num_images=len(learnt), global_batch=config.batch)
    optimizer = build_optimizer(
        module, config.optim, layer_of=module.encoder.layer_of, encoder_prefix="encoder."
    )
    decay = config.ema.per_step(config.batch)
    average = None if decay is None else WeightAverage(optimizer, list(module.parameters()), decay)
    watch = ValidationWatch(
        module=module,
        input_spec=input_spec,
        task=task,
        val=task.watched(split),
        config=config,
        looks=Looks.every(config.watch_epochs, steps_per_epoch=steps_per_epoch, total_steps=total),
        average=average,
    )
    done = train(
        module,
        FinetuneStep(
            input_spec, balancing_weights(labels, len(task.classes), config.balanced), config.label_smoothing
        ),
        batches.from_step,
        out=out,
        config=config.loop,
        optimizer=optimizer,
        schedule=make_schedule(
            with_short_warmup(config.optim, epochs=config.epochs),
            global_batch=config.batch,
            steps_per_epoch=steps_per_epoch,
            total_steps=total,
        ),
        clip_norm=config.optim.clip_norm,
        steps_per_epoch=steps_per_epoch,
        seed=seed,
        hooks=[watch] if average is None else [average, watch],
        title=f"{task.name} {split.name}",
    )
    if average is not None:
        average.settle()
    if config.moment_images and has_moments(module):
        settle_moments(module, _views_after(batches, total, config.moment_images, input_spec, module))
    return done


def _views_after(
    batches: FinetuneBatches, step: int, num_images: int, input_spec: InputSpec, module: nn.Module
) -> Iterator[Tensor]:
    """Training views as the network takes them, of the steps that would have come next, in whole batches."""
    device = next(module.parameters()).device
    for later in range(step, step + -(-num_images // batches.batch)):
        views, *_ = batches(later)
        yield to_input(views, input_spec, device)


def class_probabilities(
    module: Classifier,
    images: UInt8[np.ndarray, "n s s"],
    *,
    input_spec: InputSpec,
    precision: PrecisionName = "fp32",
    mirror: bool = False,
    batch: int = 128,
) -> Float64[np.ndarray, "n class"]:
    """Predicted probabilities of images seen whole; draws no random number and leaves `module` as it was.

    Args:
        module: on any device.
        images: prepared grey squares of any side.
        input_spec: what the network sees.
        precision: fp32 for results, so that they do not depend on the machine.
        mirror: mean of the image and its mirror image, left for right.
        batch: images at a time.
    """
    device = next(module.parameters()).device
    number_type = pick_precision(precision, device)
    was_training = module.training
    module.eval()
    rows = []
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                part = torch.from_numpy(
                    whole_batch(images[start : start + batch], image_px=input_spec.image_px)
                )
                seen = [part, part.flip(-1)] if mirror else [part]
                with autocast(number_type, device):
                    logits = [module(to_input(one, input_spec, device)) for one in seen]
                mean = torch.stack([one.double().softmax(dim=1) for one in logits]).mean(dim=0)
                rows.append(mean.cpu().numpy())
    finally:
        module.train(was_training)
    return np.concatenate(rows)


def balancing_weights(
    labels: Int64[np.ndarray, " n"], num_classes: int, balanced: bool
) -> Float32[Tensor, " class"]:
    """A weight per class: all 1, or inverse to its number of images with mean 1 over the images."""
    counts = np.bincount(labels, minlength=num_classes)
    present = counts > 0
    weights = np.ones(num_classes)
    if balanced:
        weights[present] = len(labels) / (present.sum() * counts[present])
    return torch.from_numpy(weights).float()
