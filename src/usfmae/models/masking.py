"""Which patches the encoder may not see, and which of them are predicted and scored.

All randomness is handed in, as a generator or as turns: a uniform number for each patch or place, by which
they are ordered. Every image of a batch has the same number of visible and of predicted patches: batches stay
dense.
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


def one_after_the_other(first: Hiding, second: Hiding) -> Hiding:
    """The choices of two batches as that of one that holds the images of both."""
    scored = None
    if first.scored is not None and second.scored is not None:
        scored = torch.cat([first.scored, second.scored])
    return Hiding(
        torch.cat([first.visible, second.visible]), torch.cat([first.hidden, second.hidden]), scored
    )


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
    return hide_by_turns(torch.rand(batch, num_patches, generator=rng), hide_ratio=hide_ratio)


def hide_by_turns(turns: Float[Tensor, "b n"], *, hide_ratio: float) -> Hiding:
    """`hide_patches` from its uniform numbers, one per patch: the smallest are visible."""
    num_patches = turns.shape[1]
    return _split(turns.argsort(dim=1), num_patches - count_hidden(num_patches, hide_ratio))


def hide_blocks(
    turns: Float[Tensor, "b k"], grid: tuple[int, int], *, hide_ratio: float, block: int
) -> Hiding:
    """Hide squares of `block` x `block` patches until `hide_ratio` of each image is hidden.

    Squares fall at random places, may overlap and may hang over the edge, so patches of the border are hidden
    like any other. The last square of an image is hidden in part where that makes the count exact.

    Args:
        turns: uniform numbers, `num_block_turns(grid, block)` for each image.
        grid: patches (down, across).
        hide_ratio: fraction hidden, strictly between 0 and 1.
        block: side of a square in patches; at most the shorter side of the grid.

    Raises:
        ValueError: the ratio would hide all patches or none, or a square does not fit into the grid.
    """
    (rows, cols), num_patches = grid, grid[0] * grid[1]
    if block > min(grid):
        raise ValueError(f"a block of {block} x {block} patches does not fit into {rows} x {cols}")
    num_visible = num_patches - count_hidden(num_patches, hide_ratio)
    # Each place of a square has its turn; a patch is hidden at the first turn of a square upon it. Patches of
    # one square, which share that turn, are shuffled among themselves.
    squares = turns[:, num_patches:].reshape(-1, 1, rows + block - 1, cols + block - 1)
    first = -F.max_pool2d(-squares, block, stride=1).reshape(-1, num_patches)
    shuffled = turns[:, :num_patches].argsort(dim=1)
    latest_first = first.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return _split(shuffled.gather(1, latest_first), num_visible)


def num_block_turns(grid: tuple[int, int], block: int) -> int:
    """Uniform numbers that `hide_blocks` wants: one per patch, then one per place of a square."""
    return grid[0] * grid[1] + (grid[0] + block - 1) * (grid[1] + block - 1)


def hide_in_sector(turns: Float[Tensor, "b n"], empty: Bool[Tensor, "b n"], *, hide_ratio: float) -> Hiding:
    """Hide `hide_ratio` of the patches with echo, and of the empty ones what the dense batch needs.

    An image of n patches of which e have echo hides round(hide_ratio * e) of these; all images hide
    round(hide_ratio * n) patches. That always works out: the rest of either count is empty patches.

    Args:
        turns: uniform numbers, one per patch.
        empty: which patches are black, from `empty_patches`.
        hide_ratio: fraction hidden, strictly between 0 and 1.

    Raises:
        ValueError: the ratio would hide all patches or none.
    """
    batch, num_patches = empty.shape
    num_visible = num_patches - count_hidden(num_patches, hide_ratio)
    echo_first = (turns.double() + empty).argsort(dim=1, stable=True)
    num_echo = (~empty).sum(dim=1, keepdim=True)
    seen_echo = num_echo - (hide_ratio * num_echo.double()).round().long()
    rank = torch.arange(num_patches, device=empty.device).expand(batch, -1)
    seen = (rank < seen_echo) | ((rank >= num_echo) & (rank < num_echo + num_visible - seen_echo))
    visible_first = (~seen).long().argsort(dim=1, stable=True)
    return _split(echo_first.gather(1, visible_first), num_visible)


def score_echo(hiding: Hiding, empty: Bool[Tensor, "b n"]) -> Hiding:
    """The same choice, scored on patches with echo alone."""
    return Hiding(hiding.visible, hiding.hidden, (~empty).gather(1, hiding.hidden).float())


def predict_share(hiding: Hiding, predict_ratio: float, turns: Float[Tensor, "b h"]) -> Hiding:
    """Keep a random `predict_ratio` of the hidden patches, scored ones first; the rest nobody sees.

    CrossMAE (Fu et al. 2024, "Rethinking Patch Dependence for Masked Autoencoders", "Partial reconstruction")
    predicts a part of what is hidden, since its decoder's tokens do not need each other.

    Args:
        hiding: a choice with all hidden patches.
        predict_ratio: share kept, above 0 and at most 1.
        turns: uniform numbers, one per hidden patch.
    """
    kept = round(predict_ratio * hiding.hidden.shape[1])
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
