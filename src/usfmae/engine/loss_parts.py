"""A loss that is a sum of named parts, and how the parts get into the metrics log."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from usfmae.engine.ranks import Ranks

TOTAL = "loss"
"""Name of the whole in the metrics log; a part called "pixels" is "loss_pixels" there."""


@dataclass(frozen=True)
class LossInParts:
    """What a step function returns where its loss has parts that are worth a curve each."""

    total: Float[Tensor, ""]
    """What is minimised."""

    parts: dict[str, Tensor]
    """Name -> value before it is weighted; the same names in every step."""


StepLoss = Tensor | LossInParts
"""The loss of a batch, mean over its images, ready for `backward`; perhaps with its parts."""


def total_of(loss: StepLoss) -> Float[Tensor, ""]:
    """What is minimised."""
    return loss.total if isinstance(loss, LossInParts) else loss


def named(loss: StepLoss) -> dict[str, Tensor]:
    """The whole and its parts under the names of the metrics log, free of their graph."""
    parts = loss.parts if isinstance(loss, LossInParts) else {}
    every = {TOTAL: total_of(loss)} | {f"{TOTAL}_{name}": value for name, value in parts.items()}
    return {name: value.detach() for name, value in every.items()}


def mean_parts(steps: Sequence[dict[str, Tensor]], ranks: Ranks) -> dict[str, float]:
    """The parts, each its mean over steps and ranks; the device is waited for once.

    Args:
        steps: what `named` gave in each of them; at least one.
        ranks: all of them call this.
    """
    names = [name for name in steps[0] if name != TOTAL]
    if not names:
        return {}
    table = torch.stack([torch.stack([step[name].float() for name in names]) for step in steps])
    return dict(zip(names, ranks.mean(table.mean(dim=0)).tolist(), strict=True))
