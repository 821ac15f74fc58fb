"""Which patches the encoder may not see."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Generator, Tensor


@dataclass(frozen=True)
class Hiding:
    """A choice of visible and hidden patches, the same number in each image of a batch."""

    visible: Int[Tensor, "b v"]
    """Indices of the visible patches, ascending."""

    hidden: Int[Tensor, "b h"]
    """Indices of the hidden patches, ascending."""


def hide_patches(batch: int, num_patches: int, *, hide_ratio: float, rng: Generator) -> Hiding:
    """Hide a random `hide_ratio` of the patches, separately for each image.

    Sampling is uniform without replacement (He et al. 2022, "Masked Autoencoders Are Scalable Vision
    Learners", sec. 3). Every image hides the same number, so visible patches stack into a dense batch.

    Args:
        batch: number of images.
        num_patches: patches per image.
        hide_ratio: fraction hidden, strictly between 0 and 1; 0.75 in the paper.
        rng: source of randomness, so a resumed run draws what it would have drawn.

    Raises:
        ValueError: the ratio would hide all patches or none.
    """
    num_hidden = round(hide_ratio * num_patches)  # not int(): int(0.29 * 100) is 28
    if not 0 < num_hidden < num_patches:
        raise ValueError(f"hide_ratio={hide_ratio} hides {num_hidden} of {num_patches} patches")
    order = torch.rand(batch, num_patches, generator=rng).argsort(dim=1)
    num_visible = num_patches - num_hidden
    return Hiding(
        visible=order[:, :num_visible].sort(dim=1).values, hidden=order[:, num_visible:].sort(dim=1).values
    )
