"""Masked autoencoder (He et al. 2022): encode what is visible, predict what is hidden.

The maths is the reference's; work that cannot change the result is left out: hidden patches are never
embedded, the decoder keeps visible before hidden instead of sorting back, its last block asks only for
hidden tokens, and only those are predicted and scored.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from usfmae.base.config import Config
from usfmae.models.masking import Hiding
from usfmae.models.patches import channels_first, channels_last, patchify, unpatchify
from usfmae.models.positions import sincos_positions
from usfmae.models.vit import Block, VisionTransformer, ViTConfig, take_rows

NORM_EPS = 1e-6
"""Added to a patch's variance before it divides (the reference code's value)."""


class DecoderConfig(Config):
    """Shape of the decoder that is thrown away after pretraining."""

    dim: int = Field(default=512, ge=4, multiple_of=4)
    """Width; 512 in the paper."""

    num_layers: int = Field(default=8, ge=1)
    """Blocks; 8 in the paper."""

    num_heads: int = Field(default=16, ge=1)
    """Attention heads; 16 in the paper; divides `dim`."""

    def model_post_init(self, _context: object) -> None:
        if self.dim % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide dim={self.dim}")


class MaeConfig(Config):
    """A masked autoencoder: encoder, decoder, and what is predicted."""

    encoder: ViTConfig = ViTConfig()
    """The network that is kept."""

    decoder: DecoderConfig = DecoderConfig()
    """The network that is thrown away."""

    hide_ratio: float = Field(default=0.75, gt=0, lt=1)
    """Fraction of patches hidden."""

    normalised_pixels: bool = True
    """Predict each patch standardised by its own mean and variance (He et al.), or plain pixels (USF-MAE)."""


@dataclass(frozen=True)
class MaeOutput:
    """What one forward pass gives."""

    loss: Float[Tensor, ""]
    """Mean squared error over hidden patches."""

    prediction: Float[Tensor, "b h d"]
    """Predicted hidden patches (down, across, channel), in the order of `hiding.hidden`."""


class Decoder(nn.Module):
    """Small transformer from visible tokens to hidden pixels."""

    def __init__(self, config: DecoderConfig, encoder: ViTConfig, encoder_dim: int) -> None:
        super().__init__()
        self.embed = nn.Linear(encoder_dim, config.dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(sincos_positions(encoder.grid, config.dim), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.num_heads, norm_eps=encoder.norm_eps) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim, eps=encoder.norm_eps)
        self.pred = nn.Linear(config.dim, encoder.patch_px**2 * encoder.channels)

    def forward(
        self,
        encoded: Float[Tensor, "b tokens d"],
        visible: Int[Tensor, "b v"],
        hidden: Int[Tensor, "b h"],
    ) -> Float[Tensor, "b h p"]:
        """Predict the hidden patches from the encoder's tokens (class token first)."""
        tokens = self.embed(encoded)
        positions = self.pos_embed[0]
        places = torch.cat([torch.zeros_like(visible[:, :1]), visible + 1], dim=1)
        asked = self.mask_token + positions[hidden + 1]
        tokens = torch.cat([tokens + positions[places], asked], dim=1)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        tokens = self.blocks[-1](tokens, num_queries=hidden.shape[1])
        out: Tensor = self.pred(self.norm(tokens))
        return out


class MaskedAutoencoder(nn.Module):
    """Encoder, decoder and the loss over hidden patches.

    Args:
        config: the shape and the target.
    """

    def __init__(self, config: MaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.decoder = Decoder(config.decoder, config.encoder, self.encoder.embed_dim)

    def forward(self, images: Float[Tensor, "b c h w"], hiding: Hiding) -> MaeOutput:
        """Hide, encode, predict, score.

        Args:
            images: standardised as the run's `InputSpec` says.
            hiding: which patches the encoder may not see.
        """
        encoded = self.encoder(images, visible=hiding.visible)
        prediction = self.decoder(encoded, hiding.visible, hiding.hidden)
        target = take_rows(patchify(images, self.config.encoder.patch_px), hiding.hidden)
        target = channels_last(target, self.config.encoder.channels)
        loss = hidden_patch_loss(prediction, target, normalised=self.config.normalised_pixels)
        return MaeOutput(loss=loss, prediction=prediction)

    @torch.no_grad()
    def reconstruct(self, images: Float[Tensor, "b c h w"], hiding: Hiding) -> Float[Tensor, "b c h w"]:
        """The images with hidden patches replaced by what the network predicts for them.

        A network that predicts normalised pixels gets each patch's true mean and variance back, since it
        was never asked for them.
        """
        encoder = self.config.encoder
        prediction = self.forward(images, hiding).prediction.float()
        patches = patchify(images, encoder.patch_px)
        hidden = channels_last(take_rows(patches, hiding.hidden), encoder.channels)
        if self.config.normalised_pixels:
            mean, std = patch_moments(hidden)
            prediction = prediction * std + mean
        prediction = channels_first(prediction, encoder.channels).to(patches.dtype)
        places = hiding.hidden[:, :, None].expand(-1, -1, patches.shape[2])
        return unpatchify(
            patches.scatter(1, places, prediction), grid=encoder.grid, patch_px=encoder.patch_px
        )


def hidden_patch_loss(
    prediction: Float[Tensor, "b h d"], target: Float[Tensor, "b h d"], *, normalised: bool = True
) -> Float[Tensor, ""]:
    """Mean squared error over hidden patches (He et al. 2022, sec. 3, "Reconstruction target").

    Args:
        prediction: what the decoder says; any number type, scored in fp32.
        target: the true patches in the same order.
        normalised: standardise each true patch by its own mean and unbiased variance first.
    """
    target = target.float()
    if normalised:
        mean, std = patch_moments(target)
        target = (target - mean) / std
    return (prediction.float() - target).square().mean()


def patch_moments(
    patches: Float[Tensor, "b n d"],
) -> tuple[Float[Tensor, "b n 1"], Float[Tensor, "b n 1"]]:
    """Mean and `sqrt(unbiased variance + 1e-6)` of each patch."""
    var, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return mean, (var + NORM_EPS).sqrt()
