"""What every encoder does, transformer or convolutional: images in, one token per place out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from usfmae.base.config import Config


class Encoder(nn.Module, ABC):
    """A network without its last classifier.

    Its `forward` gives tokens: first one for the whole image (a class token; for convolutional networks the
    mean over all places), then one per place, row by row. So a classifier, nearest neighbours or a segmenter
    need not know which network it is.
    """

    embed_dim: int
    """Width of a token."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b tokens d"]:
        """Standardised images to tokens."""

    def feature_map(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """The tokens of places as a picture; the grid has the images' aspect ratio."""
        tokens = self(images)[:, 1:]
        rows, columns = self.grid_of((images.shape[2], images.shape[3]))
        assert rows * columns == tokens.shape[1]
        places: Tensor = tokens.transpose(1, 2).unflatten(2, (rows, columns))
        return places

    @abstractmethod
    def grid_of(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Places (down, across) of an image of (height, width)."""

    @abstractmethod
    def layer_of(self, name: str) -> int | None:
        """How deep a parameter lies: 0 for what sees the pixels, 1 for the first block and so on.

        None for what comes after the last block. Layer-wise learning rates follow it.
        """


class ConvolutionalEncoder(Encoder):
    """A convolutional encoder: its last feature map, with the mean over all places in front.

    The mean is global average pooling, so `pool="mean"` is what these networks' own classifiers see.
    """

    config: Config
    """Its shape; set by `encoders.build_cnn`."""

    stride_px = 32
    """Pixels between two places of the last feature map."""

    pixels_together = False
    """Whether its maps lie in memory with the channels of a pixel side by side (torch's channels_last)."""

    @abstractmethod
    def last_map(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """The last feature map."""

    def levels(self, images: Float[Tensor, "b c h w"]) -> Iterator[tuple[int, Float[Tensor, "b _ _ _"]]]:
        """Stride in pixels and map of each level, from fine to coarse, ending with the last map.

        A level is computed when it is asked for. Networks that do not tell their levels give the last map
        alone.
        """
        yield self.stride_px, self.last_map(self.laid_out(images))

    def laid_out(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Images in the order of memory that the network wants."""
        if self.pixels_together:  # copied, since for one channel torch takes either order as it is
            images = torch.empty_like(images, memory_format=torch.channels_last).copy_(images)
        return images

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b tokens d"]:
        """The mean over all places, then the places row by row."""
        places = self.last_map(self.laid_out(images)).flatten(2).transpose(1, 2)
        return torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)

    def grid_of(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Each halving rounds up."""
        return math.ceil(size_px[0] / self.stride_px), math.ceil(size_px[1] / self.stride_px)


def skip_whole_branch(branch: Tensor, *, ratio: float, training: bool) -> Tensor:
    """Stochastic depth (Huang et al. 2016): while training, an image loses this branch with chance `ratio`.

    What stays is scaled up, so that its expectation is that of the whole branch.
    """
    if not training or ratio == 0:
        return branch
    keep = 1 - ratio
    drawn = torch.rand(branch.shape[0], *[1] * (branch.ndim - 1), device=branch.device) < keep
    return branch * (drawn / keep).to(branch.dtype)
