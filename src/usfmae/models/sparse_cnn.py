"""Masked modelling of a convolutional network: SparK (Tian et al. 2023, "Designing BERT for Convolutional
Networks: Sparse and Hierarchical Masked Modeling").

The encoder sees the visible places only, at every resolution (`visible_places`); a light decoder fills the
hidden ones and predicts their pixels; the loss counts hidden patches alone. A patch is what one place of the
last map stands for, 32 x 32 pixels. What is kept is an ordinary network, which looks at whole images.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from usfmae.base.config import Config
from usfmae.base.input_spec import Side, height_width
from usfmae.models.agreement import AgreementConfig, build_projector
from usfmae.models.cnn.efficientnet_lite import STAGE_DIMS, EfficientNetLite0
from usfmae.models.encoder import ConvolutionalEncoder
from usfmae.models.encoders import CnnConfig, build_cnn
from usfmae.models.losses import hidden_patch_loss, patch_moments
from usfmae.models.mae import Context, MaeOutput
from usfmae.models.masking import Hiding, HidingConfig, count_hidden
from usfmae.models.patches import channels_first, channels_last, patchify, unpatchify
from usfmae.models.sparse_decoder import SparseDecoder, SparseDecoderConfig
from usfmae.models.teacher import TeacherConfig
from usfmae.models.visible_places import VisiblePlaces, seeing_only
from usfmae.models.vit import take_rows

PROJECTOR_EPS = 1e-6
"""Epsilon of the projector's layer norms, as that of the ViT's."""


class SparseEncoderConfig(Config):
    """The convolutional network that is pretrained."""

    name: Literal["efficientnet-lite0"] = "efficientnet-lite0"
    """Which one."""

    image_px: Side | tuple[Side, Side] = 128
    """Input side, or (height, width), in pixels; multiples of 32."""

    channels: int = Field(default=1, ge=1, le=16)
    """Input channels: 1 for grey."""

    def model_post_init(self, _context: object) -> None:
        if any(side % self.patch_px for side in self.image_size_px):
            raise ValueError(
                f"image_px={self.image_px} is not a multiple of {self.patch_px}, the stride of {self.name}"
            )

    @property
    def patch_px(self) -> int:
        """Side of a patch in pixels: the stride of the last map."""
        return ConvolutionalEncoder.stride_px

    @property
    def image_size_px(self) -> tuple[int, int]:
        """Input (height, width) in pixels."""
        return height_width(self.image_px)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (down, across)."""
        return self.grid_of(self.image_size_px)

    def grid_of(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Patches (down, across) of an image of another (height, width) in pixels."""
        return size_px[0] // self.patch_px, size_px[1] // self.patch_px


class SparseCnnConfig(Config):
    """A masked convolutional network: encoder, decoder, and what is predicted."""

    kind: Literal["sparse-cnn"] = "sparse-cnn"
    """Tells it from a masked autoencoder of a ViT."""

    encoder: SparseEncoderConfig = SparseEncoderConfig()
    """The network that is kept."""

    decoder: SparseDecoderConfig = SparseDecoderConfig()
    """The network that is thrown away."""

    hide_ratio: float = Field(default=0.6, gt=0, lt=1)
    """Fraction of patches hidden; 0.6 in the paper, for patches of 32 px."""

    hiding: HidingConfig = HidingConfig()
    """Where the hidden patches lie."""

    normalised_pixels: bool = True
    """Predict each patch standardised by its own mean and variance, as the paper does, or plain pixels."""

    loss_in: Literal["everywhere", "sector"] = "everywhere"
    """Score all hidden patches, or only those with echo; hiding by sector always does the second."""

    agreement: AgreementConfig = AgreementConfig()
    """Which views ought to agree beside the pixels."""

    moment_images: int = Field(default=512, ge=0)
    """Whole images of the pool over which the running moments of batch norms are taken in the encoder that is
    saved and in live evaluations; 0 for those of the visible places, which it has learnt with."""

    def model_post_init(self, _context: object) -> None:
        self.check_hiding(self.encoder.grid)

    @property
    def context(self) -> Literal["none"]:
        """What comes along with an image: nothing."""
        return "none"

    @property
    def teacher(self) -> TeacherConfig:
        """Whose features are predicted: nobody's."""
        return TeacherConfig()

    @property
    def hides_by_view(self) -> bool:
        """Whether what is hidden or scored depends on the pixels of a view."""
        return self.hiding.kind == "sector" or self.loss_in == "sector"

    def check_hiding(self, grid: tuple[int, int]) -> None:
        """Raise ValueError if no patches can be hidden as asked in images of (down, across) patches."""
        num_patches, block = grid[0] * grid[1], self.hiding.block
        num_visible = num_patches - count_hidden(num_patches, self.hide_ratio)
        if num_visible < 2:
            raise ValueError(
                f"hide_ratio={self.hide_ratio} leaves {num_visible} of {num_patches} patches visible, and "
                "the norm of the last map needs 2"
            )
        if self.hiding.kind == "block" and block > min(grid):
            raise ValueError(f"hiding.block={block} does not fit into {grid[0]} x {grid[1]} patches")


class SparseAutoencoder(nn.Module):
    """A convolutional encoder, a decoder and the loss over hidden patches.

    Args:
        config: the shape and the target.
    """

    def __init__(self, config: SparseCnnConfig) -> None:
        super().__init__()
        self.config = config
        encoder = build_cnn(CnnConfig(name=config.encoder.name, channels=config.encoder.channels))
        assert isinstance(encoder, EfficientNetLite0)
        self.encoder = encoder
        self.decoder = SparseDecoder(config.decoder, STAGE_DIMS, config.encoder.channels)
        self.projector = build_projector(STAGE_DIMS[-1], config.agreement, norm_eps=PROJECTOR_EPS)

    def forward(
        self, images: Float[Tensor, "b c h w"], hiding: Hiding, context: Context | None = None
    ) -> MaeOutput:
        """Hide, encode, predict, score.

        Args:
            images: standardised as the run's `InputSpec` says, of any size in multiples of 32 px.
            hiding: which patches the encoder may not see.
            context: nothing; there for those that call other autoencoders too.
        """
        assert context is None, "a convolutional network has no attention that could look at another frame"
        encoder = self.config.encoder
        places = VisiblePlaces(hiding.visible, encoder.grid_of((images.shape[2], images.shape[3])))
        levels = self.encode(images, places)
        whole = self.decoder(levels, places)
        target, prediction = (
            channels_last(take_rows(patchify(each, encoder.patch_px), hiding.hidden), encoder.channels)
            for each in (images, whole)
        )
        loss = hidden_patch_loss(
            prediction, target, normalised=self.config.normalised_pixels, scored=hiding.scored
        )
        projected = None
        if self.projector is not None:
            last = levels[-1].reshape(*hiding.visible.shape, -1)  # one place is one patch
            projected = self.projector(last.mean(dim=1))
        return MaeOutput(loss=loss, prediction=prediction, projected=projected)

    def encode(self, images: Float[Tensor, "b c h w"], places: VisiblePlaces) -> list[Float[Tensor, "_ _"]]:
        """Rows of the visible places at strides of 4, 8, 16 and 32 px; hidden pixels have no part in them."""
        shown = torch.empty_like(images, memory_format=torch.channels_last)
        hidden = ~places.mask(self.config.encoder.patch_px)[:, None]
        shown.copy_(images.masked_fill(hidden, 0))  # not a product: hidden pixels may be anything
        with seeing_only(self.encoder, places):
            return list(self.encoder.stages(shown))

    @torch.no_grad()
    def reconstruct(self, images: Float[Tensor, "b c h w"], hiding: Hiding) -> Float[Tensor, "b c h w"]:
        """The images with hidden patches replaced by what the network predicts for them.

        A network that predicts normalised pixels gets each patch's true mean and variance back, since it
        was never asked for them.
        """
        output: MaeOutput = self(images, hiding)
        return with_predictions(
            images,
            hiding,
            output.prediction,
            patch_px=self.config.encoder.patch_px,
            normalised=self.config.normalised_pixels,
        )


def with_predictions(
    images: Float[Tensor, "b c height width"],
    hiding: Hiding,
    prediction: Float[Tensor, "b h d"],
    *,
    patch_px: int,
    normalised: bool,
) -> Float[Tensor, "b c height width"]:
    """Images whose hidden patches are those predicted.

    Args:
        images: standardised.
        hiding: which patches.
        prediction: of the hidden ones, as in `MaeOutput`.
        patch_px: side of a patch in pixels.
        normalised: each patch was predicted standardised, and gets its true mean and deviation.
    """
    channels, (height, width) = images.shape[1], images.shape[2:]
    prediction, patches = prediction.float(), patchify(images, patch_px)
    if normalised:
        mean, std = patch_moments(channels_last(take_rows(patches, hiding.hidden), channels))
        prediction = prediction * std + mean
    prediction = channels_first(prediction, channels).to(patches.dtype)
    rows = hiding.hidden[:, :, None].expand(-1, -1, patches.shape[2])
    return unpatchify(
        patches.scatter(1, rows, prediction), grid=(height // patch_px, width // patch_px), patch_px=patch_px
    )
