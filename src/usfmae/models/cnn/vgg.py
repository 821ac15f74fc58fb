"""VGG-19 (Simonyan and Zisserman 2015, configuration E), with or without batch norm, torchvision's names.

Only the convolutions: the published head (two maps of 4,096, 119 of 144 million numbers) fixes the input to
224 px and belongs to ImageNet. What follows here is global average pooling, as in the other networks.
"""

from jaxtyping import Float
from torch import Tensor, nn

from usfmae.models.encoder import ConvolutionalEncoder

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Width and number of convolutions, each stage ended by a maximum over 2x2."""


class Vgg19(ConvolutionalEncoder):
    """The feature map after the last maximum, 512 wide, at a stride of 32 px.

    Args:
        channels: of the input.
        batch_norm: normalise after each convolution; without it a random start hardly learns.
    """

    embed_dim = 512

    def __init__(self, channels: int, *, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = channels
        self._depth: dict[int, int] = {}
        for out, num_convolutions in STAGES:
            for _ in range(num_convolutions):
                first = len(layers)
                layers.append(nn.Conv2d(width, out, 3, padding=1))
                layers += [nn.BatchNorm2d(out)] if batch_norm else []
                layers.append(nn.ReLU())
                depth = max(self._depth.values(), default=-1) + 1
                self._depth |= dict.fromkeys(range(first, len(layers)), depth)
                width = out
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)

    def last_map(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """The output of the last stage."""
        out: Tensor = self.features(images)
        return out

    def layer_of(self, name: str) -> int | None:
        """Each convolution is a layer."""
        return self._depth[int(name.split(".")[1])]
