"""DenseNet-121 (Huang et al. 2017, "Densely connected convolutional networks"), torchvision names."""

import re
from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.encoder import ConvolutionalEncoder

BLOCKS = (6, 12, 24, 16)
"""Dense layers of each block."""

GROWTH = 32
"""Channels that a dense layer adds."""


class DenseLayer(nn.Module):
    """Norm, 1x1 to four times the growth, norm, 3x3; the result is put behind the input."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * GROWTH)
        self.conv2 = nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], dim=1)


class Transition(nn.Module):
    """Norm, 1x1 to half the channels, mean over 2x2."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, in_channels // 2, 1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2, ceil_mode=True)


class DenseNet121(ConvolutionalEncoder):
    """The feature map after the last norm, 1,024 wide, at a stride of 32 px."""

    embed_dim = 1024

    pixels_together = True
    """A training step on a CPU, where maps are joined again and again, is 1.3 times as fast so."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv0"] = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
        parts["norm0"] = nn.BatchNorm2d(64)
        parts["relu0"] = nn.ReLU()
        parts["pool0"] = nn.MaxPool2d(3, 2, padding=1)
        width = 64
        for number, num_layers in enumerate(BLOCKS, start=1):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(1, num_layers + 1):
                layers[f"denselayer{index}"] = DenseLayer(width)
                width += GROWTH
            parts[f"denseblock{number}"] = nn.Sequential(layers)
            if number < len(BLOCKS):
                parts[f"transition{number}"] = Transition(width)
                width //= 2
        parts["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.Sequential(parts)

    def last_map(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """The output of the last norm, rectified."""
        return F.relu(self.features(images))

    def layer_of(self, name: str) -> int | None:
        """A dense block and the transition behind it are one layer: of 58 the first would learn nothing."""
        block = re.match(r"features\.(?:denseblock|transition)(\d)\.", name)
        return int(block[1]) if block else None if name.startswith("features.norm5") else 0
