"""From the settings of a masked autoencoder to what is hidden, predicted and scored in a batch."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from usfmae.models.mae import MaeConfig
from usfmae.models.masking import (
    Hiding,
    empty_patches,
    hide_blocks,
    hide_in_sector,
    hide_patches,
    predict_share,
    score_echo,
)


def choose_hiding(
    config: MaeConfig, views: UInt8[Tensor, "b h w"], *, rng: torch.Generator, predict_all: bool = False
) -> Hiding:
    """What is hidden, predicted and scored in a batch of views.

    Args:
        config: ratio, kind, and where the loss counts.
        views: grey bytes as the network will see them; only their size matters unless the sector does.
        rng: source of randomness; with the defaults it is drawn from as `hide_patches` does.
        predict_all: predict every hidden patch whatever the configuration says, for pictures.
    """
    batch, patch_px, ratio = len(views), config.encoder.patch_px, config.hide_ratio
    rows, cols = views.shape[1] // patch_px, views.shape[2] // patch_px
    if config.hiding.kind == "sector":
        hiding = hide_in_sector(empty_patches(views, patch_px), hide_ratio=ratio, rng=rng)
    else:
        if config.hiding.kind == "block":
            hiding = hide_blocks(batch, (rows, cols), hide_ratio=ratio, block=config.hiding.block, rng=rng)
        else:
            hiding = hide_patches(batch, rows * cols, hide_ratio=ratio, rng=rng)
        if config.loss_in == "sector":
            hiding = score_echo(hiding, empty_patches(views, patch_px))
    return predict_share(hiding, 1.0 if predict_all else config.decoder.predict_ratio, rng=rng)
