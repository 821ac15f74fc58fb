"""ResNet-50 (He et al. 2016, "Deep residual learning for image recognition", table 1), torchvision names."""

import re

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.encoder import ConvolutionalEncoder

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Inner width and number of blocks of each stage."""


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride, as torchvision has it), 1x1 to four times the width."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = (
            nn.Sequential(nn.Conv2d(in_channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            if stride != 1 or in_channels != out
            else None
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(ConvolutionalEncoder):
    """The feature map before global pooling, 2,048 wide, at a stride of 32 px."""

    embed_dim = 2048

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        width = 64
        for number, (inner, num_blocks) in enumerate(STAGES, start=1):
            blocks = []
            for index in range(num_blocks):
                blocks.append(Bottleneck(width, inner, 2 if index == 0 and number > 1 else 1))
                width = 4 * inner
            setattr(self, f"layer{number}", nn.Sequential(*blocks))

    def last_map(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """The output of the last stage."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, 2, padding=1)
        for number in range(1, len(STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x

    def layer_of(self, name: str) -> int | None:
        """Blocks are counted through all stages."""
        block = re.match(r"layer(\d)\.(\d+)\.", name)
        if not block:
            return 0
        return 1 + sum(count for _, count in STAGES[: int(block[1]) - 1]) + int(block[2])
