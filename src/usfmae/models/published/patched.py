"""What published transformers have in common: patches on a grid, and layers counted from the pixels up."""

import re

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from usfmae.base.config import Config
from usfmae.base.input_spec import height_width
from usfmae.models.encoder import Encoder


class PatchedConfig(Config):
    """Shape that is read off a file's tensors, and the input side."""

    dim: int = Field(ge=1)
    """Width of a token."""

    num_layers: int = Field(ge=1)
    """Blocks."""

    num_heads: int = Field(ge=1)
    """Attention heads."""

    patch_px: int = Field(default=16, ge=1)
    """Side of a patch in pixels."""

    image_px: int | tuple[int, int] = 224
    """Input side, or (height, width), in pixels; a multiple of `patch_px`."""

    channels: int = Field(default=3, ge=1)
    """Input channels."""

    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Chance to skip the last block; falls linearly to 0 at the first."""

    def model_post_init(self, _context: object) -> None:
        if any(side % self.patch_px or side < self.patch_px for side in height_width(self.image_px)):
            raise ValueError(f"image_px={self.image_px} is not a multiple of patch_px={self.patch_px}")
        if self.dim % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide dim={self.dim}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (down, across)."""
        height, width = height_width(self.image_px)
        return height // self.patch_px, width // self.patch_px

    def drop_path_of(self, layer: int) -> float:
        """Chance to skip a block."""
        return self.drop_path * layer / max(self.num_layers - 1, 1)


class PatchedEncoder(Encoder):
    """An encoder of square patches with learned positions, so of one input size.

    Args:
        config: the shape.
    """

    config: PatchedConfig

    def check_images(self, images: Tensor) -> None:
        """Raise a ValueError for images of another size or number of channels than the network takes."""
        wanted = (self.config.channels, *height_width(self.config.image_px))
        if tuple(images.shape[1:]) != wanted:
            raise ValueError(f"images are {tuple(images.shape[1:])}, the network takes {wanted}")

    def grid_of(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Patches (down, across) of an image of (height, width)."""
        return size_px[0] // self.config.patch_px, size_px[1] // self.config.patch_px

    def layer_of(self, name: str) -> int | None:
        """i + 1 for block i, None for what comes after them, 0 for all that comes before or is shared."""
        block = re.match(r"blocks\.(\d+)\.", name)
        if block:
            return int(block[1]) + 1
        return None if name.startswith(("norm.", "neck.")) else 0


class Patches(nn.Module):
    """A linear map of each patch, under timm's name.

    Args:
        config: patch side, channels and width.
        bias: whether it has one.
    """

    def __init__(self, config: PatchedConfig, *, bias: bool = True) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.channels, config.dim, config.patch_px, stride=config.patch_px, bias=bias)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b rows columns d"]:
        out: Tensor = self.proj(images).permute(0, 2, 3, 1)
        return out


def num_blocks(tensors: dict[str, Tensor]) -> int:
    """Blocks that a state dict under our names has tensors of."""
    return len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
