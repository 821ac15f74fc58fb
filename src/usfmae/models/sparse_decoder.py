"""From the visible places of a convolutional network's maps to pixels: the part that is thrown away.

SparK's decoder (Tian et al. 2023, sec. 3.2): at each scale hidden places are filled with a mask token, and a
light UNet goes from the coarsest map to the finest. Three things are smaller than there: a step up is a copy
of each place to four and a convolution, not a transposed one; the last two steps, whose maps are as large as
the image, are one linear map from a place to its 4 x 4 pixels; and norms are those of one image (Wu and He
2018, "Group normalization"), so that of all the network only the encoder's depend on the batch.
"""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.base.config import Config
from usfmae.models.visible_places import VisiblePlaces

FINEST_PX = 4
"""Pixels between two places of the finest map."""

_GROUP = 8
"""Channels that share a norm."""


class SparseDecoderConfig(Config):
    """Shape of the decoder that is thrown away after pretraining."""

    dim: int = Field(default=128, ge=64, multiple_of=64)
    """Width at the coarsest scale, halved at each step up; 512 in the paper, whose networks are larger."""

    @property
    def predict_ratio(self) -> float:
        """Share of the hidden patches that is predicted: all, since maps are whole."""
        return 1.0


class Densify(nn.Module):
    """One scale of the encoder as a whole map of the decoder's width.

    The norm is one of each place by itself, where the paper takes another batch norm.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_dim)
        self.proj = nn.Linear(in_dim, out_dim)
        self.mask_token = nn.Parameter(torch.zeros(out_dim))

    def forward(self, rows: Float[Tensor, "n c"], places: VisiblePlaces) -> Float[Tensor, "b d h w"]:
        return places.to_maps(self.proj(self.norm(rows)), self.mask_token)


class Refine(nn.Module):
    """Two 3x3 convolutions, the second to another width."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, in_dim, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(in_dim // _GROUP, in_dim)
        self.conv2 = nn.Conv2d(in_dim, out_dim, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(out_dim // _GROUP, out_dim)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        out: Tensor = self.norm2(self.conv2(F.relu6(self.norm1(self.conv1(x)))))
        return out


class SparseDecoder(nn.Module):
    """Visible places at strides of 4, 8, 16 ... to the pixels of the whole image.

    Args:
        config: its width.
        dims: of the encoder's maps, the finest first; each scale is half as fine as the one before.
        channels: of the image.
    """

    def __init__(self, config: SparseDecoderConfig, dims: Sequence[int], channels: int) -> None:
        super().__init__()
        widths = [config.dim // 2**step for step in range(len(dims))]
        self.densify = nn.ModuleList(
            Densify(dim, width) for dim, width in zip(reversed(dims), widths, strict=True)
        )
        self.steps = nn.ModuleList(Refine(w, n) for w, n in itertools.pairwise(widths))
        self.last = Refine(widths[-1], widths[-1])
        self.pred = nn.Conv2d(widths[-1], channels * FINEST_PX**2, 1)

    def forward(
        self, stages: Sequence[Float[Tensor, "_ _"]], places: VisiblePlaces
    ) -> Float[Tensor, "b c h w"]:
        """Predict every pixel; those of visible patches are of no use.

        Args:
            stages: rows of visible places, the finest map first.
            places: where they lie.
        """
        coarse_first = [fill(rows, places) for fill, rows in zip(self.densify, reversed(stages), strict=True)]
        x = coarse_first[0]
        for step, finer in zip(self.steps, coarse_first[1:], strict=True):
            x = step(F.interpolate(x, scale_factor=2, mode="nearest")) + finer
        return F.pixel_shuffle(self.pred(F.relu6(self.last(x))), FINEST_PX)


def start_decoder(decoder: SparseDecoder, generator: Generator) -> None:
    """A random start drawn from `generator` in module order: normal with variance 2 / fan out for
    convolutions (He et al. 2015), 0.02 for linear maps, the last one and mask tokens (as in SparK's code),
    zero biases, unit norms."""
    for module in decoder.modules():
        if isinstance(module, nn.Linear) or module is decoder.pred:
            nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, Densify):
            nn.init.trunc_normal_(module.mask_token, std=0.02, generator=generator)
