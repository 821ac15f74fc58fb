"""ConvNeXt-T (Liu et al. 2022, "A ConvNet for the 2020s", table 9), torchvision's names."""

import re

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.encoder import ConvolutionalEncoder, skip_whole_branch

STAGES = ((96, 3), (192, 3), (384, 9), (768, 3))
"""Width and number of blocks of each stage."""

NORM_EPS = 1e-6
LAYER_SCALE = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a picture."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    """Between channels in front and channels last; without parameters, it holds a place in the names."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Float[Tensor, "b ..."]) -> Tensor:
        return x.permute(0, *self.order)


class Block(nn.Module):
    """7x7 of each channel alone, norm, two linear maps with a GELU between, scaled by channel."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, 7, padding=3, groups=dim),
            ChannelsLast(2, 3, 1),
            nn.LayerNorm(dim, eps=NORM_EPS),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Linear(4 * dim, dim),
            ChannelsLast(3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.full((dim, 1, 1), LAYER_SCALE))
        self.drop_path = drop_path

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        branch = self.layer_scale * self.block(x)
        return x + skip_whole_branch(branch, ratio=self.drop_path, training=self.training)


class ConvNeXtTiny(ConvolutionalEncoder):
    """The feature map after the last stage, 768 wide, at a stride of 32 px.

    The published classifier norms the pooled vector; that norm is kept and applied to each place.

    Args:
        channels: of the input.
        drop_path: chance to skip the last block; falls linearly to 0 at the first.
    """

    embed_dim = 768

    def __init__(self, channels: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        num_blocks = sum(count for _, count in STAGES)
        rates = iter(drop_path * index / (num_blocks - 1) for index in range(num_blocks))
        first = STAGES[0][0]
        parts: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(channels, first, 4, 4), ChannelNorm(first, eps=NORM_EPS))
        ]
        for number, (dim, count) in enumerate(STAGES):
            if number:
                before = STAGES[number - 1][0]
                parts.append(nn.Sequential(ChannelNorm(before, eps=NORM_EPS), nn.Conv2d(before, dim, 2, 2)))
            parts.append(nn.Sequential(*[Block(dim, next(rates)) for _ in range(count)]))
        self.features = nn.Sequential(*parts)
        self.norm = ChannelNorm(self.embed_dim, eps=NORM_EPS)

    def last_map(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """The output of the last stage, normed."""
        down, across = (-side % self.stride_px for side in images.shape[2:])
        out: Tensor = self.norm(self.features(F.pad(images, (0, across, 0, down))))
        return out

    def layer_of(self, name: str) -> int | None:
        """Blocks are counted through all stages; what halves the picture belongs to the block behind it."""
        part = re.match(r"features\.(\d)\.(\d+)\.", name)
        if not part:
            return None
        number, inside = int(part[1]), int(part[2])
        if number == 0:
            return 0
        before = sum(count for _, count in STAGES[: number // 2])
        return 1 + before + (inside if number % 2 else 0)
