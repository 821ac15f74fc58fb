"""Which patches the encoder may not see, and which of them are predicted and scored.

All randomness comes from the generator that is handed in, so a choice is a function of the seed and the step.
Every image of a batch has the same number of visible and of predicted patches: batches stay dense.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812

from usfmae.base.config import Config

EMPTY_LEVEL = 4
"""A pixel up to this grey level counts as black: margins of JPEG pictures are not exactly 0."""

EMPTY_SHARE = 0.98
"""Share of black pixels from which on a patch counts as empty; a stray tick of a ruler does not fill it."""


class HidingConfig(Config):
    """Where the hidden patches lie; how many they are says `model.hide_ratio`."""

    kind: Literal["random", "block", "sector"] = "random"
    """random: single patches anywhere (He et al. 2022). block: squares of patches. sector: single patches,
    the ratio held among the patches with echo, and black ones never scored."""

    block: int = Field(default=2, ge=1)
    """Side of a hidden square in patches, for kind "block"; 1 is single patches."""


@dataclass(frozen=True)
class Hiding:
    """A choice of visible and hidden patches, the same number in each image of a batch."""

    visible: Int[Tensor, "b v"]
    """Indices of the visible patches, ascending."""

    hidden: Int[Tensor, "b h"]
    """Indices of the hidden patches that are predicted, ascending."""

    scored: Float[Tensor, "b h"] | None = None
    """What each of `hidden` counts in the loss of its image; None for all alike."""


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
    num_visible = num_patches - count_hidden(num_patches, hide_ratio)
    return _split(torch.rand(batch, num_patches, generator=rng).argsort(dim=1), num_visible)


def hide_blocks(
    batch: int, grid: tuple[int, int], *, hide_ratio: float, block: int, rng: Generator
) -> Hiding:
    """Hide squares of `block` x `block` patches until `hide_ratio` of each image is hidden.

    Squares fall at random places, may overlap and may hang over the edge, so patches of the border are hidden
    like any other. The last square of an image is hidden in part where that makes the count exact.

    Args:
        batch: number of images.
        grid: patches (down, across).
        hide_ratio: fraction hidden, strictly between 0 and 1.
        block: side of a square in patches; at most the shorter side of the grid.
        rng: source of randomness.

    Raises:
        ValueError: the ratio would hide all patches or none, or a square does not fit into the grid.
    """
    rows, cols = grid
    if block > min(grid):
        raise ValueError(f"a block of {block} x {block} patches does not fit into {rows} x {cols}")
    num_visible = rows * cols - count_hidden(rows * cols, hide_ratio)
    # Each place of a square gets a random turn; a patch is hidden at the first turn of a square upon it.
    turns = torch.rand(batch, 1, rows + block - 1, cols + block - 1, generator=rng)
    first = -F.max_pool2d(-turns, block, stride=1).reshape(batch, rows * cols)
    shuffled = torch.rand(batch, rows * cols, generator=rng).argsort(dim=1)  # within the last square
    latest_first = first.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return _split(shuffled.gather(1, latest_first), num_visible)


def hide_in_sector(empty: Bool[Tensor, "b n"], *, hide_ratio: float, rng: Generator) -> Hiding:
    """Hide `hide_ratio` of the patches with echo, and of the empty ones what the dense batch needs.

    An image of n patches of which e have echo hides round(hide_ratio * e) of these; all images hide
    round(hide_ratio * n) patches. That always works out: the rest of either count is empty patches.

    Args:
        empty: which patches are black, from `empty_patches`.
        hide_ratio: fraction hidden, strictly between 0 and 1.
        rng: source of randomness.

    Returns:
        A choice whose hidden empty patches are not scored.

    Raises:
        ValueError: the ratio would hide all patches or none.
    """
    batch, num_patches = empty.shape
    num_visible = num_patches - count_hidden(num_patches, hide_ratio)
    turns = torch.rand(batch, num_patches, generator=rng)
    echo_first = (turns.double() + empty).argsort(dim=1, stable=True)
    num_echo = (~empty).sum(dim=1, keepdim=True)
    seen_echo = num_echo - (hide_ratio * num_echo.double()).round().long()
    rank = torch.arange(num_patches).expand(batch, -1)
    seen = (rank < seen_echo) | ((rank >= num_echo) & (rank < num_echo + num_visible - seen_echo))
    visible_first = (~seen).long().argsort(dim=1, stable=True)
    return score_echo(_split(echo_first.gather(1, visible_first), num_visible), empty)


def score_echo(hiding: Hiding, empty: Bool[Tensor, "b n"]) -> Hiding:
    """The same choice, scored on patches with echo alone."""
    return Hiding(hiding.visible, hiding.hidden, (~empty).gather(1, hiding.hidden).float())


def predict_share(hiding: Hiding, predict_ratio: float, *, rng: Generator) -> Hiding:
    """Keep a random `predict_ratio` of the hidden patches, scored ones first; the rest nobody sees.

    CrossMAE (Fu et al. 2024, "Rethinking Patch Dependence for Masked Autoencoders", "Partial reconstruction")
    predicts a part of what is hidden, since its decoder's tokens do not need each other.

    Args:
        hiding: a choice with all hidden patches.
        predict_ratio: share kept, above 0; at 1 the choice is given back and nothing is drawn.
        rng: source of randomness.

    Raises:
        ValueError: the share is less than one patch.
    """
    if predict_ratio == 1:
        return hiding
    batch, num_hidden = hiding.hidden.shape
    kept = round(predict_ratio * num_hidden)
    if not kept:
        raise ValueError(f"predict_ratio={predict_ratio} predicts none of {num_hidden} hidden patches")
    turns = torch.rand(batch, num_hidden, generator=rng)
    if hiding.scored is not None:
        turns = turns.double() + (hiding.scored == 0)
    places = turns.argsort(dim=1, stable=True)[:, :kept].sort(dim=1).values
    scored = None if hiding.scored is None else hiding.scored.gather(1, places)
    return Hiding(hiding.visible, hiding.hidden.gather(1, places), scored)


def empty_patches(views: UInt8[Tensor, "b h w"], patch_px: int) -> Bool[Tensor, "b n"]:
    """Which patches hold no echo: at least 98 % of the pixels are at grey level 4 or below.

    Nothing but the pixels is asked, so it holds for any crop or flip. Fluid that is as black as the margin
    counts as empty too.

    Args:
        views: grey bytes as the network will see them.
        patch_px: side of a patch in pixels; divides the views.
    """
    b, height, width = views.shape
    black = (views <= EMPTY_LEVEL).reshape(b, height // patch_px, patch_px, width // patch_px, patch_px)
    return (black.sum(dim=(2, 4)) >= EMPTY_SHARE * patch_px**2).reshape(b, -1)


def count_hidden(num_patches: int, hide_ratio: float) -> int:
    """Hidden patches of an image.

    Raises:
        ValueError: all or none.
    """
    num_hidden = round(hide_ratio * num_patches)  # not int(): int(0.29 * 100) is 28
    if not 0 < num_hidden < num_patches:
        raise ValueError(f"hide_ratio={hide_ratio} hides {num_hidden} of {num_patches} patches")
    return num_hidden


def _split(order: Int[Tensor, "b n"], num_visible: int) -> Hiding:
    """The first of an order are visible, the rest is hidden."""
    return Hiding(
        visible=order[:, :num_visible].sort(dim=1).values, hidden=order[:, num_visible:].sort(dim=1).values
    )
