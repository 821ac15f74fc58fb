"""What a network wants to see; it travels with weights, corpora, runs and bundles."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from usfmae.base.config import Config

GREY_MEAN = 0.19
GREY_STD = 0.21
"""Mean and deviation of prepared B-mode pixels in [0, 1], over 6,202 stills of seven sources (.187 and .211);
fixed, so that weights from
different corpora stay comparable."""


Fit = Literal["pad", "stretch"]
"""How a picture of any shape becomes square: "pad" keeps its aspect ratio and adds black, "stretch" fills the
square and loses the ratio. A picture of 3:4 leaves a quarter of a padded square black."""


Crop = Literal["none", "sector"]
"""What of a picture is shown: all of it, or the box around its echo data (`images.sector`), without rulers,
texts and margins."""


Side = Annotated[int, Field(ge=8, le=4096)]


class InputSpec(Config):
    """Size, channels and standardisation of a network's input.

    Prepared images are square uint8 grey; they are resized to the input, divided by 255, repeated over
    `channels`, then `(x - mean) / std` per channel.
    """

    image_px: Side | tuple[Side, Side] = 224
    """Input side, or (height, width) of a rectangle into which the square is stretched, in pixels."""

    channels: int = Field(default=1, ge=1, le=16)
    """Input channels of the network; grey is repeated over them on the device."""

    fit: Fit = "pad"
    """How pictures are made square."""

    crop: Crop = "none"
    """What of a picture is shown."""

    mean: tuple[float, ...] = (GREY_MEAN,)
    """Per channel, of pixels in [0, 1]."""

    std: tuple[float, ...] = (GREY_STD,)
    """Per channel, of pixels in [0, 1]; positive."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Input (height, width) in pixels."""
        return height_width(self.image_px)

    @field_validator("std")
    @classmethod
    def _positive(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if not std or min(std) <= 0:
            raise ValueError("std must be positive")
        return std

    def model_post_init(self, _context: object) -> None:
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(f"{name} needs 1 or {self.channels} values")


def height_width(image_px: int | tuple[int, int]) -> tuple[int, int]:
    """A side, or (height, width), as the latter."""
    return (image_px, image_px) if isinstance(image_px, int) else image_px


IMAGENET_INPUT = InputSpec(image_px=224, channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What encoders started from ImageNet weights (and the published USF-MAE) expect."""
