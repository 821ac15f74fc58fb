"""From the settings of a masked autoencoder to what is hidden, predicted and scored in a batch.

Two steps, so that a batch may be drawn ahead, in part, and on another device than that of its views: uniform
numbers first (`draw_turns`, a function of the generator alone), then the choice (`choose_hiding`, a function
of the numbers and, where the sector matters, of the views).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from usfmae.models.masked_models import MaskedConfig
from usfmae.models.masking import (
    Hiding,
    count_hidden,
    empty_patches,
    hide_blocks,
    hide_by_turns,
    hide_in_sector,
    num_block_turns,
    predict_share,
    score_echo,
)


@dataclass(frozen=True)
class Turns:
    """Uniform numbers that decide a batch."""

    hide: Float[Tensor, "b k"]
    """What is hidden."""

    predict: Float[Tensor, "b h"]
    """What of it is predicted; without columns where that is everything."""

    def of(self, rows: slice) -> "Turns":
        """The numbers of some images of the batch."""
        return Turns(self.hide[rows], self.predict[rows])


def draw_turns(
    config: MaskedConfig,
    batch: int,
    grid: tuple[int, int],
    *,
    rng: torch.Generator,
    predict_all: bool = False,
) -> Turns:
    """Draw a batch; with the default settings just the numbers that `hide_patches` draws.

    Args:
        config: ratio, kind, and the share that is predicted.
        batch: number of images.
        grid: patches (down, across).
        rng: source of randomness.
        predict_all: predict every hidden patch whatever the configuration says, for pictures.
    """
    num_patches = grid[0] * grid[1]
    by_block = config.hiding.kind == "block"
    num_turns = num_block_turns(grid, config.hiding.block) if by_block else num_patches
    in_part = config.decoder.predict_ratio < 1 and not predict_all
    num_hidden = count_hidden(num_patches, config.hide_ratio) if in_part else 0
    hide = torch.rand(batch, num_turns, generator=rng)
    return Turns(hide, torch.rand(batch, num_hidden, generator=rng))


def choose_hiding(
    config: MaskedConfig,
    turns: Turns,
    *,
    grid: tuple[int, int],
    views: UInt8[Tensor, "b h w"] | None = None,
) -> Hiding:
    """What is hidden, predicted and scored in a batch.

    Args:
        config: ratio, kind, and where the loss counts.
        turns: numbers for these images.
        grid: patches (down, across).
        views: grey bytes as the network will see them, on the device of `turns`; needed where
            `config.hides_by_view`.

    Raises:
        ValueError: views are needed and not there.
    """
    ratio = config.hide_ratio
    empty = None
    if config.hides_by_view:
        if views is None:
            raise ValueError("hiding or scoring by sector needs the views")
        empty = empty_patches(views, config.encoder.patch_px)
    if config.hiding.kind == "block":
        hiding = hide_blocks(turns.hide, grid, hide_ratio=ratio, block=config.hiding.block)
    elif config.hiding.kind == "sector" and empty is not None:
        hiding = hide_in_sector(turns.hide, empty, hide_ratio=ratio)
    else:
        hiding = hide_by_turns(turns.hide, hide_ratio=ratio)
    if empty is not None:
        hiding = score_echo(hiding, empty)
    if not turns.predict.shape[1]:
        return hiding
    return predict_share(hiding, config.decoder.predict_ratio, turns.predict)
