"""What a run shows while it goes on: reconstructions, and any live evaluation it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from usfmae.base.files import new_file
from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import seed_for
from usfmae.engine.devices import to_input
from usfmae.engine.looks import Looks
from usfmae.models.encoder import Encoder
from usfmae.models.hiding_choice import choose_hiding, draw_turns
from usfmae.models.masked_models import MaskedNetwork
from usfmae.models.masking import Hiding
from usfmae.pretrain.whole_moments import WholeMoments

LiveEvaluation = Callable[[Encoder, InputSpec], Sequence[dict[str, object]]]
"""Scores an encoder now: lines with `task`, `metric`, `value`, and perhaps `low` and `high`. The command
line hands in a nearest-neighbour evaluation; this room does not know how it is done."""

PICTURES = "pictures"


Lines = Sequence[dict[str, object]]
Look = Callable[[MaskedNetwork, int], Lines]
"""Given the whole network, in evaluation mode, and the steps done; returns lines for the metrics log."""


@dataclass(frozen=True, eq=False)
class Watch:
    """A loop hook: gathers the network once for everything that looks at it."""

    whole: Callable[[], MaskedNetwork]
    """Gives the network in training, with all its weights on the first rank; every rank calls it."""

    looks: Looks
    """When."""

    parts: tuple[Look, ...]
    """What is done with it, in order."""

    leads: bool = True
    """Whether this is the first rank, the one that looks."""

    def __call__(self, step: int) -> Lines:
        """Look if it is time."""
        return self.look(step) if self.looks.due(step) else []

    def look(self, step: int) -> Lines:
        """Look now."""
        module = self.whole()
        if not self.leads:
            return []
        was_training = module.training
        module.eval()
        try:
            return [line for part in self.parts for line in part(module, step)]
        finally:
            module.train(was_training)


@dataclass(frozen=True)
class Scores:
    """Live evaluations of the encoder."""

    evaluations: tuple[LiveEvaluation, ...]
    """What to score."""

    input_spec: InputSpec
    """Standardisation."""

    moments: WholeMoments
    """What the encoder's batch norms have seen meanwhile, as those of the weights that are saved."""

    def __call__(self, module: MaskedNetwork, _step: int) -> Lines:
        """Score now."""
        if not self.evaluations:
            return []
        with self.moments.settled(module.encoder):
            return [
                dict(line)
                for evaluation in self.evaluations
                for line in evaluation(module.encoder, self.input_spec)
            ]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images with hidden patches, and what the network makes of them."""

    images: UInt8[np.ndarray, "k h w"]
    """Already of the input size; may be none."""

    input_spec: InputSpec
    """Standardisation."""

    out: Path
    """The run's folder."""

    seed: int
    """Decides what is hidden: the same patches in each look."""

    @torch.no_grad()
    def __call__(self, module: MaskedNetwork, step: int) -> Lines:
        """Draw now; has nothing to say to the metrics log."""
        if not len(self.images):
            return []
        config = module.config
        device = next(module.parameters()).device
        turns = draw_turns(
            config,
            len(self.images),
            config.encoder.grid,
            rng=torch.Generator().manual_seed(seed_for(self.seed, "picture hiding")),
            predict_all=True,
        )
        views = torch.from_numpy(self.images)
        hiding = choose_hiding(config, turns, grid=config.encoder.grid, views=views)
        hiding = Hiding(hiding.visible.to(device), hiding.hidden.to(device))
        inputs = to_input(views, self.input_spec, device)
        output = module.reconstruct(inputs, hiding)
        reconstructed = to_pixels(output, self.input_spec)
        patch_px, (rows, cols) = config.encoder.patch_px, config.encoder.grid
        shown = torch.zeros(len(self.images), rows * cols, dtype=torch.bool, device=device)
        shown.scatter_(1, hiding.visible, True)
        mask = shown.reshape(-1, rows, cols).cpu().numpy()
        mask = mask.repeat(patch_px, axis=1).repeat(patch_px, axis=2)
        visible = np.where(mask, self.images, 0).astype(np.uint8)
        with new_file(self.out / PICTURES / f"step_{step:08d}.npz") as file:
            np.savez_compressed(file, visible=visible, reconstructed=reconstructed, original=self.images)
        return []


def to_pixels(images: torch.Tensor, spec: InputSpec) -> UInt8[np.ndarray, "k h w"]:
    """Standardised network images back to grey bytes (mean over the channels)."""
    mean = torch.tensor(spec.mean, device=images.device).reshape(1, -1, 1, 1)
    std = torch.tensor(spec.std, device=images.device).reshape(1, -1, 1, 1)
    grey = (images.float() * std + mean).mean(dim=1) * 255
    return grey.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
