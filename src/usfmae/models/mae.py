"""Masked autoencoder (He et al. 2022): encode what is visible, predict what is hidden.

The maths is the reference's; work that cannot change the result is left out: hidden patches are never
embedded, the decoder keeps visible before hidden instead of sorting back, its last block asks only for
hidden tokens, and only those are predicted and scored.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from usfmae.base.config import Config
from usfmae.models.agreement import AgreementConfig, build_projector
from usfmae.models.cross_decoder import CrossDecoder, EncodedContext
from usfmae.models.losses import hidden_patch_loss, patch_moments
from usfmae.models.masking import Hiding, HidingConfig, count_hidden
from usfmae.models.patches import channels_first, channels_last, patchify, unpatchify
from usfmae.models.positions import decoder_positions, sincos_positions
from usfmae.models.products import Linear
from usfmae.models.teacher import Targets, TeacherConfig, TeacherHeads
from usfmae.models.vit import SIZES, Block, VisionTransformer, ViTConfig, take_rows


class DecoderConfig(Config):
    """Shape of the decoder that is thrown away after pretraining."""

    dim: int = Field(default=512, ge=4, multiple_of=4)
    """Width; 512 in the paper."""

    num_layers: int = Field(default=8, ge=1)
    """Blocks; 8 in the paper."""

    num_heads: int = Field(default=16, ge=1)
    """Attention heads; 16 in the paper; divides `dim`."""

    kind: Literal["self", "cross"] = "self"
    """self: hidden patches see each other and what is visible (MAE); cross: only the latter (CrossMAE)."""

    predict_ratio: float = Field(default=1.0, gt=0, le=1)
    """Share of the hidden patches that is predicted, drawn anew for each image and step; the rest is neither
    seen nor asked for."""

    layers_seen: int = Field(default=1, ge=1)
    """Encoder layers of which each block of a cross decoder sees its own learned mix: 1 for the last alone,
    else so many, evenly spaced and ending with the last."""

    def model_post_init(self, _context: object) -> None:
        if self.dim % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide dim={self.dim}")
        if self.layers_seen > 1 and self.kind != "cross":
            raise ValueError(f"layers_seen={self.layers_seen} needs kind=cross")


class MaeConfig(Config):
    """A masked autoencoder: encoder, decoder, and what is predicted."""

    kind: Literal["mae"] = "mae"
    """Tells it from a masked convolutional network (`sparse_cnn`)."""

    encoder: ViTConfig = ViTConfig()
    """The network that is kept."""

    decoder: DecoderConfig = DecoderConfig()
    """The network that is thrown away."""

    hide_ratio: float = Field(default=0.75, gt=0, lt=1)
    """Fraction of patches hidden."""

    hiding: HidingConfig = HidingConfig()
    """Where the hidden patches lie."""

    normalised_pixels: bool = True
    """Predict each patch standardised by its own mean and variance (He et al.), or plain pixels (USF-MAE)."""

    loss_in: Literal["everywhere", "sector"] = "everywhere"
    """Score all hidden patches, or only those with echo; hiding by sector always does the second."""

    context: Literal["none", "clip"] = "none"
    """clip: another frame of the same clip comes along, and the decoder may look at its visible patches."""

    agreement: AgreementConfig = AgreementConfig()
    """Whether a second view of each image comes along, is predicted as well, and ought to be represented as
    the first is."""

    teacher: TeacherConfig = TeacherConfig()
    """Another network whose features are predicted beside the pixels."""

    def model_post_init(self, _context: object) -> None:
        self.check_hiding(self.encoder.grid)
        num_layers = SIZES[self.encoder.size][1]
        if self.decoder.layers_seen > num_layers:
            raise ValueError(
                f"decoder.layers_seen={self.decoder.layers_seen}: the encoder has {num_layers} layers"
            )
        if self.context != "none" and self.agreement.kind != "none":
            raise ValueError(
                f"context={self.context} shows the decoder a second frame and "
                f"agreement.kind={self.agreement.kind} predicts it: choose one"
            )
        averaged = self.teacher.layers_averaged
        if self.teacher.kind == "self" and averaged > num_layers:
            raise ValueError(f"teacher.layers_averaged={averaged}: the encoder has {num_layers} layers")

    @property
    def moment_images(self) -> int:
        """Of batch norms: a ViT has none."""
        return 0

    @property
    def hides_by_view(self) -> bool:
        """Whether what is hidden or scored depends on the pixels of a view."""
        return self.hiding.kind == "sector" or self.loss_in == "sector"

    def check_hiding(self, grid: tuple[int, int]) -> None:
        """Raise ValueError if no patches can be hidden as asked in images of (down, across) patches."""
        num_hidden = count_hidden(grid[0] * grid[1], self.hide_ratio)
        block, share = self.hiding.block, self.decoder.predict_ratio
        if self.hiding.kind == "block" and block > min(grid):
            raise ValueError(f"hiding.block={block} does not fit into {grid[0]} x {grid[1]} patches")
        if not round(share * num_hidden):
            raise ValueError(f"decoder.predict_ratio={share} predicts none of {num_hidden} hidden patches")


@dataclass(frozen=True)
class Context:
    """Another frame for each image of a batch."""

    images: Float[Tensor, "b c h w"]
    """Standardised, of the size of the images that they accompany."""

    visible: Int[Tensor, "b v"]
    """Which of their patches may be seen."""


@dataclass(frozen=True)
class MaeOutput:
    """What one forward pass gives."""

    loss: Float[Tensor, ""]
    """Mean squared error over the hidden patches that are scored, or the weighted sum of `parts`."""

    prediction: Float[Tensor, "b h d"]
    """Predicted hidden patches (down, across, channel), in the order of `hiding.hidden`."""

    projected: Float[Tensor, "b e"] | None = None
    """Each image's visible patch tokens, their mean taken and projected; None without a projector."""

    parts: dict[str, Tensor] = field(default_factory=dict)
    """What the loss is the weighted sum of, by name; empty where it is of the pixels alone."""


class Decoder(nn.Module):
    """Small transformer from visible tokens to hidden pixels."""

    def __init__(
        self, config: DecoderConfig, encoder: ViTConfig, encoder_dim: int, *, with_context: bool = False
    ) -> None:
        super().__init__()
        self.grid = encoder.grid
        self.embed = Linear(encoder_dim, config.dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        if with_context:
            self.frame_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(sincos_positions(encoder.grid, config.dim), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.num_heads, norm_eps=encoder.norm_eps) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim, eps=encoder.norm_eps)
        self.pred = Linear(config.dim, encoder.patch_px**2 * encoder.channels)
        self.heads: TeacherHeads | None = None

    def forward(
        self,
        encoded: list[Float[Tensor, "b tokens d"]],
        hiding: Hiding,
        grid: tuple[int, int],
        context: EncodedContext | None = None,
    ) -> Float[Tensor, "b h p"]:
        """Predict the hidden patches from the encoder's last tokens (class token first)."""
        out: Tensor = self.pred(self.decoded(encoded, hiding, grid, context))
        return out

    def decoded(
        self,
        encoded: list[Float[Tensor, "b tokens d"]],
        hiding: Hiding,
        grid: tuple[int, int],
        context: EncodedContext | None = None,
        *,
        visible_too: bool = False,
    ) -> Float[Tensor, "b asked e"]:
        """Normed tokens of the hidden patches; with `visible_too`, of the visible ones and then of those."""
        positions = decoder_positions(self.pos_embed, own=self.grid, grid=grid)
        parts = [self.embed(encoded[-1]) + positions[_places(hiding.visible)]]
        if context is not None:
            other = self.embed(context.layers[-1]) + positions[_places(context.visible)]
            # The last block is asked for the last tokens, and never for those of the other frame.
            parts.insert(0 if visible_too else 1, other + self.frame_token)
        parts.append(self.mask_token + positions[hiding.hidden + 1])
        tokens = torch.cat(parts, dim=1)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        asked = hiding.hidden.shape[1] + (hiding.visible.shape[1] if visible_too else 0)
        out: Tensor = self.norm(self.blocks[-1](tokens, num_queries=asked))
        return out


def _places(visible: Int[Tensor, "b v"]) -> Int[Tensor, "b tokens"]:
    """Rows of the positions that belong to the class token and the visible patches."""
    return torch.cat([torch.zeros_like(visible[:, :1]), visible + 1], dim=1)


class MaskedAutoencoder(nn.Module):
    """Encoder, decoder and the loss over hidden patches.

    Args:
        config: the shape and the target.
    """

    def __init__(self, config: MaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.decoder = build_decoder(config)
        width, norm_eps = SIZES[config.encoder.size][0], config.encoder.norm_eps
        self.projector = build_projector(width, config.agreement, norm_eps=norm_eps)

    def forward(
        self,
        images: Float[Tensor, "b c h w"],
        hiding: Hiding,
        context: Context | None = None,
        targets: Targets | None = None,
    ) -> MaeOutput:
        """Hide, encode, predict, score.

        Args:
            images: standardised as the run's `InputSpec` says; of another size than the encoder's own, they
                get the positions of their own grid.
            hiding: which patches the encoder may not see.
            context: other frames whose visible patches help to predict (`config.context`).
            targets: what the teacher makes of the whole images; without, pixels alone are scored.

        Raises:
            ValueError: there is a teacher, and training goes on without its targets.
        """
        heads = self.decoder.heads
        untaught = targets is None and self.training and heads is not None
        if untaught or (targets is not None and heads is None):
            raise ValueError("targets and a teacher (config.teacher) need each other while training")
        encoder, b = self.config.encoder, len(images)
        height, width = images.shape[2:]
        grid = encoder.grid_of((height, width))
        shown, visible = images, hiding.visible
        if context is not None:
            shown, visible = torch.cat([images, context.images]), torch.cat([visible, context.visible])
        layers = self.encoder.layers(
            shown, seen=self.config.decoder.layers_seen, visible=visible, at_px=(height, width)
        )
        other = None
        if context is not None:
            other = EncodedContext([layer[b:] for layer in layers], context.visible)
            layers = [layer[:b] for layer in layers]
        taught: dict[str, Tensor] = {}
        if targets is None or heads is None:
            prediction = self.decoder(layers, hiding, grid, other)
        else:
            tokens = self.decoder.decoded(
                layers, hiding, grid, other, visible_too=self.config.teacher.weight > 0
            )
            prediction = self.decoder.pred(tokens[:, tokens.shape[1] - hiding.hidden.shape[1] :])
            taught = heads(tokens, layers[-1], hiding, targets)
        target = take_rows(patchify(images, encoder.patch_px), hiding.hidden)
        target = channels_last(target, encoder.channels)
        loss = hidden_patch_loss(
            prediction, target, normalised=self.config.normalised_pixels, scored=hiding.scored
        )
        projected = None if self.projector is None else self.projector(layers[-1][:, 1:].mean(dim=1))
        output = MaeOutput(loss=loss, prediction=prediction, projected=projected)
        if heads is None or not taught:
            return output
        parts = {"pixels": loss, **taught}
        return replace(output, loss=heads.total(parts), parts=parts)

    @torch.no_grad()
    def reconstruct(self, images: Float[Tensor, "b c h w"], hiding: Hiding) -> Float[Tensor, "b c h w"]:
        """The images with hidden patches replaced by what the network predicts for them.

        A network that predicts normalised pixels gets each patch's true mean and variance back, since it
        was never asked for them.
        """
        encoder = self.config.encoder
        height, width = images.shape[2:]
        output: MaeOutput = self(images, hiding)
        prediction = output.prediction.float()
        patches = patchify(images, encoder.patch_px)
        hidden = channels_last(take_rows(patches, hiding.hidden), encoder.channels)
        if self.config.normalised_pixels:
            mean, std = patch_moments(hidden)
            prediction = prediction * std + mean
        prediction = channels_first(prediction, encoder.channels).to(patches.dtype)
        places = hiding.hidden[:, :, None].expand(-1, -1, patches.shape[2])
        return unpatchify(
            patches.scatter(1, places, prediction),
            grid=encoder.grid_of((height, width)),
            patch_px=encoder.patch_px,
        )


def build_decoder(config: MaeConfig) -> Decoder | CrossDecoder:
    """The decoder that a configuration asks for."""
    built, encoder_dim = _bare_decoder(config), SIZES[config.encoder.size][0]
    if config.teacher.on:  # last in the module, so that all else starts as it does without
        built.heads = TeacherHeads(config.teacher, decoder_dim=config.decoder.dim, encoder_dim=encoder_dim)
    return built


def _bare_decoder(config: MaeConfig) -> Decoder | CrossDecoder:
    decoder, encoder, with_context = config.decoder, config.encoder, config.context == "clip"
    encoder_dim = SIZES[encoder.size][0]
    if decoder.kind == "self":
        return Decoder(decoder, encoder, encoder_dim, with_context=with_context)
    return CrossDecoder(
        dim=decoder.dim,
        num_layers=decoder.num_layers,
        num_heads=decoder.num_heads,
        layers_seen=decoder.layers_seen,
        encoder_dim=encoder_dim,
        grid=encoder.grid,
        num_values=encoder.patch_px**2 * encoder.channels,
        norm_eps=encoder.norm_eps,
        with_context=with_context,
    )
