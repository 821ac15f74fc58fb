"""What a run that goes on gains on its new pool and loses on the old one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from usfmae.base.files import read_json, write_json
from usfmae.base.input_spec import InputSpec
from usfmae.base.logs import get_logger
from usfmae.base.seeds import rng_for, seed_for
from usfmae.corpus.shards import Corpus
from usfmae.engine.augment import whole_batch
from usfmae.engine.devices import to_input
from usfmae.engine.metrics_log import read_metrics
from usfmae.models.hiding_choice import choose_hiding, draw_turns
from usfmae.models.losses import hidden_patch_loss
from usfmae.models.masked_models import MaskedNetwork
from usfmae.models.masking import Hiding
from usfmae.models.patches import channels_last, patchify
from usfmae.models.vit import take_rows
from usfmae.pretrain.context import number_by
from usfmae.pretrain.replay import SAMPLE_SIZE

log = get_logger(__name__)
LOSSES_FILE = "adaptation.json"
"""In a run's folder: the loss of each sampled image before and after, so that the change can be paired."""

METRIC = "reconstruction_loss"
_AT_ONCE = 64
_NUM_RESAMPLES, _LEVEL = 1000, 0.95


@dataclass(frozen=True, eq=False)
class PoolSample:
    """Some images of a pool, the same at every look."""

    folder: Path
    """Of the pool."""

    images: UInt8[np.ndarray, "n h w"]
    """Whole, of the network's input size."""

    groups: Int[np.ndarray, " n"]
    """The patient (or clip, or file) of each."""


def draw_sample(corpus: Corpus, *, image_px: int | tuple[int, int], seed: int) -> PoolSample:
    """Up to `SAMPLE_SIZE` images of a pool, all equally likely."""
    count = min(SAMPLE_SIZE, len(corpus))
    chosen = np.sort(rng_for(seed, "adaptation").choice(len(corpus), size=count, replace=False))
    groups = number_by(corpus, "source", "group")[chosen]
    return PoolSample(corpus.folder, whole_batch(corpus.read(chosen), image_px=image_px), groups)


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Looks at the reconstruction loss on both pools.

    Images are whole and the same patches are hidden at every look.
    """

    samples: dict[str, PoolSample]
    """"new" and "old"."""

    input_spec: InputSpec
    """Standardisation."""

    out: Path
    """The run's folder."""

    held_out: bool
    """Whether the new pool's sample is of images that are not trained on."""

    total_steps: int
    """Steps of the run."""

    seed: int
    """Decides what is hidden, and the draws of intervals."""

    def __call__(self, module: MaskedNetwork, step: int) -> list[dict[str, object]]:
        """Measure now; keeps what was found before the first and after the last step."""
        losses = {
            name: image_losses(module, sample.images, input_spec=self.input_spec, seed=self.seed)
            for name, sample in self.samples.items()
        }
        if step in (0, self.total_steps):
            path = self.out / LOSSES_FILE
            kept = read_json(path) if step and path.exists() else {}
            found = {name: values.tolist() for name, values in losses.items()}
            write_json(path, {**kept, "after" if step else "before": found})
        return [
            {"task": f"{name} pool", "metric": METRIC, **self._interval(values, self.samples[name].groups)}
            for name, values in losses.items()
        ]

    def record(self) -> dict[str, Any]:
        """For run.json, at the end: per pool what was measured before and after, and the change.

        Losses come with 95 % intervals over patients (groups); the change is paired by image. `watched` holds
        the live evaluations that gave intervals, before and after. Empty where the file of losses was lost.
        """
        path = self.out / LOSSES_FILE
        losses = read_json(path) if path.exists() else {}
        if not {"before", "after"} <= losses.keys():
            log.warning("%s: is missing or cut, so gain and loss are not known", path)
            return {}
        found: dict[str, Any] = {"metric": METRIC, "held_out": self.held_out}
        for name, sample in self.samples.items():
            before, after = (np.array(losses[when][name]) for when in ("before", "after"))
            found[name] = {
                "folder": str(sample.folder),
                "num_images": len(sample.images),
                "num_groups": len(np.unique(sample.groups)),
                "before": self._interval(before, sample.groups),
                "after": self._interval(after, sample.groups),
                "change": self._interval(after - before, sample.groups),
            }
        return found | {"watched": self._watched()}

    def _watched(self) -> list[dict[str, object]]:
        lines = [line for line in read_metrics(self.out / "metrics.jsonl") if line["kind"] == "watch"]
        looks: dict[tuple[str, str], dict[str, Any]] = {}
        for line in lines:
            if line["step"] in (0, self.total_steps) and "low" in line and line["metric"] != METRIC:
                when = "after" if line["step"] else "before"
                scored = {name: line[name] for name in ("value", "low", "high")}
                looks.setdefault((line["task"], line["metric"]), {})[when] = scored
        return [
            {"task": task, "metric": metric, **both}
            for (task, metric), both in looks.items()
            if len(both) == 2
        ]

    def _interval(self, values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> dict[str, Any]:
        return mean_interval(values, groups, rng=rng_for(self.seed, "adaptation interval"))


@torch.no_grad()
def image_losses(
    module: MaskedNetwork, images: UInt8[np.ndarray, "n h w"], *, input_spec: InputSpec, seed: int
) -> Float[np.ndarray, " n"]:
    """The loss over the hidden patches of each image by itself, in single precision.

    Args:
        module: left in the mode in which it came.
        images: grey bytes of the network's input size.
        input_spec: standardisation.
        seed: decides which patches are hidden; all of them are predicted.
    """
    config = module.config
    grid, device = config.encoder.grid, next(module.parameters()).device
    rng = torch.Generator().manual_seed(seed_for(seed, "adaptation hiding"))
    turns = draw_turns(config, len(images), grid, rng=rng, predict_all=True)
    was_training = module.training
    module.eval()
    losses = []
    for first in range(0, len(images), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        views = torch.from_numpy(images[rows])
        hiding = _on(choose_hiding(config, turns.of(rows), grid=grid, views=views), device)
        inputs = to_input(views, input_spec, device)
        prediction = module(inputs, hiding).prediction
        target = take_rows(patchify(inputs, config.encoder.patch_px), hiding.hidden)
        target = channels_last(target, config.encoder.channels)
        for k in range(len(views)):
            one = slice(k, k + 1)
            scored = None if hiding.scored is None else hiding.scored[one]
            losses.append(
                hidden_patch_loss(
                    prediction[one], target[one], normalised=config.normalised_pixels, scored=scored
                )
            )
    module.train(was_training)
    return torch.stack(losses).double().cpu().numpy()


def _on(hiding: Hiding, device: torch.device) -> Hiding:
    scored = None if hiding.scored is None else hiding.scored.to(device)
    return Hiding(hiding.visible.to(device), hiding.hidden.to(device), scored)


def mean_interval(
    values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"], *, rng: np.random.Generator
) -> dict[str, Any]:
    """A mean and its 95 % percentile interval, groups drawn with replacement (Field and Welsh 2007).

    Returns:
        value, low and high; low and high are None where there are fewer than two groups.
    """
    _, member = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(member, weights=values), np.bincount(member)
    value = float(values.mean())
    if len(sums) < 2:
        return {"value": value, "low": None, "high": None}
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=_NUM_RESAMPLES)
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return {"value": value, "low": float(low), "high": float(high)}
