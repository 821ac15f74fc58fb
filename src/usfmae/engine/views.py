"""The random numbers behind augmented views: drawn for a whole batch at once, applied row by row.

A process that makes only some rows of a batch draws all of its numbers and makes the same views.
`augment.py` makes them on a CPU and `augment_device.py` on a GPU, from the same numbers.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from pydantic import Field

from usfmae.base.config import Config
from usfmae.engine.look import NUM_DEPTHS, NUM_TILES, tile_side

Range = tuple[float, float]

MOST = 100
"""Of any factor on brightness or size: far beyond what leaves a picture, and far from what overflows."""


class AugmentConfig(Config):
    """Random views of a training image.

    The defaults are what ultrasound allows: depth stays down, lateral stays across. The paper's own
    (vertical flips, rotations, nearest neighbour, scale above 1) are settings. What changes brightness is
    off by default.
    """

    scale: Range = (0.4, 1.0)
    """Area of the crop as a fraction of the image; a crop that does not fit is drawn again."""

    aspect: Range = (0.75, 4 / 3)
    """Width over height of the crop, before it is resized to the input."""

    flip_across: float = Field(default=0.5, ge=0, le=1)
    """Chance to mirror left and right."""

    flip_down: float = Field(default=0.0, ge=0, le=1)
    """Chance to turn upside down; unphysical, since depth runs down. The paper uses .5."""

    rotate_deg: Range = (0.0, 0.0)
    """Range of rotation in degrees; unphysical beyond a few. The paper uses (0, 90)."""

    interpolation: Literal["area", "linear", "nearest"] = "area"
    """How crops are resampled; "area" averages when it shrinks, so speckle does not alias."""

    gain: Range = (1.0, 1.0)
    """Range of a factor on brightness; (0.8, 1.25) is mild."""

    contrast: Range = (1.0, 1.0)
    """Range of the grey map's slope at mid grey, black and white fixed; (0.8, 1.25) is mild."""

    gamma: Range = (1.0, 1.0)
    """Range of the grey map's exponent; (0.8, 1.25) is mild."""

    time_gain: Range = (1.0, 1.0)
    """Range of a factor on brightness at five depths, smooth between them: the time-gain sliders."""

    speckle: Range = (0.0, 0.0)
    """Range of the deviation of multiplicative speckle; at most .25, and 0.05 is visible."""

    speckle_px: Range = (0.7, 1.4)
    """Correlation of that speckle in pixels of the view (down, across); finer along the beam."""

    shadow: float = Field(default=0.0, ge=0, le=1)
    """Chance of an acoustic shadow: a soft dark band along the beams, from some depth downwards."""

    shadow_strength: Range = (0.3, 0.9)
    """Range of the share of brightness that a shadow takes."""

    shadow_width: Range = (0.05, 0.3)
    """Range of a shadow's width, as a fraction of the view's."""

    def model_post_init(self, _context: object) -> None:
        for name in ("scale", "aspect", "gain", "contrast", "gamma", "time_gain", "shadow_width"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two positive numbers in ascending order")
            if high > MOST:
                raise ValueError(f"{name} must be at most {MOST}")
        low, high = self.rotate_deg
        if not -360 <= low <= high <= 360:
            raise ValueError("rotate_deg must be two numbers from -360 to 360 in ascending order")
        for name, most in (("speckle", 0.25), ("shadow_strength", 1.0)):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= most:
                raise ValueError(f"{name} must be two numbers from 0 to {most} in ascending order")
        if not all(0 <= pixels <= 16 for pixels in self.speckle_px):
            raise ValueError("speckle_px must be two numbers from 0 to 16")

    @property
    def changes_tone(self) -> bool:
        """Whether gain, contrast or gamma ever differ from 1."""
        return {self.gain, self.contrast, self.gamma} != {(1.0, 1.0)}

    @property
    def changes_look(self) -> bool:
        """Whether anything but the geometry changes."""
        shaded = self.time_gain != (1.0, 1.0) or self.shadow > 0 or self.speckle[1] > 0
        return self.changes_tone or shaded


PAPER_VIEWS = AugmentConfig(
    scale=(0.5, 2.0), flip_across=0.5, flip_down=0.5, rotate_deg=(0.0, 90.0), interpolation="nearest"
)
"""The views of USF-MAE's notebook: flips both ways, any quarter turn, crops that are often the whole image.
Unphysical, and on small pools the better teacher all the same (docs/results/pretraining.md)."""


@dataclass(frozen=True, eq=False)
class Views:
    """All random numbers of a batch of views, one row each."""

    size_px: tuple[int, int]
    """Height and width of every view."""

    config: AugmentConfig
    """Ranges and chances that they were drawn by."""

    top: Int[np.ndarray, " b"]
    left: Int[np.ndarray, " b"]
    height: Int[np.ndarray, " b"]
    width: Int[np.ndarray, " b"]
    """The crop, in pixels of the image."""

    flip_across: Bool[np.ndarray, " b"]
    flip_down: Bool[np.ndarray, " b"]

    angle_deg: Float[np.ndarray, " b"]
    """Rotation of the image about its centre, before the crop."""

    gain: Float[np.ndarray, " b"]
    contrast: Float[np.ndarray, " b"]
    gamma: Float[np.ndarray, " b"]

    log_time_gain: Float[np.ndarray, "b depth"]
    """Natural logarithm of the factor at each of the depths."""

    speckle: Float[np.ndarray, " b"]
    """Deviation."""

    tile: Int[np.ndarray, "b 3"]
    """Which tile of speckle, and where in it the view begins (down, across)."""

    shadow: Float[np.ndarray, "b 5"]
    """Strength (0: none), centre, half width, start and spread, as `look.shadow_factor` takes them."""

    def __len__(self) -> int:
        return len(self.top)

    def numbers(self) -> Float32[np.ndarray, "b number"]:
        """Everything drawn as one table, to send to a device; columns as in `COLUMNS`."""
        drawn = [getattr(self, name).reshape(len(self), -1).astype(np.float32) for name in COLUMNS]
        return np.concatenate(drawn, axis=1)


_WIDE = {"log_time_gain": NUM_DEPTHS, "tile": 3, "shadow": 5}
COLUMNS = {field.name: _WIDE.get(field.name, 1) for field in fields(Views)[2:]}
"""Fields of `Views` with a row per image, and how many numbers each has."""


def draw_views(
    batch: int, side: int, config: AugmentConfig, rng: np.random.Generator, *, size_px: tuple[int, int]
) -> Views:
    """The numbers of one view of each image of a batch, a function of `rng` alone.

    Everything is drawn in one order whatever is switched on, so a setting changes nothing but its own
    effect. What is new is drawn last: views of earlier versions stay as they were.

    Args:
        batch: number of images.
        side: of the square images that views will be cut from.
        config: ranges and chances.
        rng: source of randomness of this batch.
        size_px: height and width of the views.
    """
    heights, widths = _crop_sizes(batch, side, config, rng)
    down, across = rng.random(batch), rng.random(batch)
    flip_across = rng.random(batch) < config.flip_across
    flip_down = rng.random(batch) < config.flip_down
    angles = rng.uniform(config.rotate_deg[0], config.rotate_deg[1], batch)
    log_gain, log_contrast, log_gamma = (
        rng.uniform(*_log(limits), batch) for limits in (config.gain, config.contrast, config.gamma)
    )
    log_time_gain = rng.uniform(*_log(config.time_gain), (batch, NUM_DEPTHS))
    speckle = rng.uniform(*config.speckle, batch)
    rolled = tile_side(size_px)
    tile = (rng.random((batch, 3)) * (NUM_TILES, rolled, rolled)).astype(int)
    shadowed = rng.random(batch) < config.shadow
    strength = np.where(shadowed, rng.uniform(*config.shadow_strength, batch), 0)
    centre = rng.random(batch)
    half_width = rng.uniform(*config.shadow_width, batch) / 2
    start, spread = rng.uniform(*(0.1, 0.7), batch), rng.uniform(*(0.0, 1.0), batch)
    return Views(
        size_px=size_px,
        config=config,
        top=(down * (side - heights)).round().astype(int),
        left=(across * (side - widths)).round().astype(int),
        height=heights,
        width=widths,
        flip_across=flip_across,
        flip_down=flip_down,
        angle_deg=angles,
        gain=np.exp(log_gain),
        contrast=np.exp(log_contrast),
        gamma=np.exp(log_gamma),
        log_time_gain=log_time_gain,
        speckle=speckle,
        tile=tile,
        shadow=np.stack([strength, centre, half_width, start, spread], axis=1),
    )


_ATTEMPTS = 10


def _crop_sizes(
    b: int, side: int, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Heights and widths: the first of ten draws that fits into the image, else the whole image.

    That is torchvision's rule, by which the paper's scale of (0.5, 2.0) means crops of half to all. A view
    that is not square stretches its crop, as evaluation stretches the whole square.
    """
    area = rng.uniform(config.scale[0], config.scale[1], (_ATTEMPTS, b)) * side * side
    ratio = np.exp(rng.uniform(math.log(config.aspect[0]), math.log(config.aspect[1]), (_ATTEMPTS, b)))
    heights = np.sqrt(area / ratio).round().astype(int)
    widths = np.sqrt(area * ratio).round().astype(int)
    fits = (heights <= side) & (widths <= side) & (heights > 0) & (widths > 0)
    first = fits.argmax(axis=0), np.arange(b)
    any_fits = fits[first]
    return np.where(any_fits, heights[first], side), np.where(any_fits, widths[first], side)


def _log(limits: Range) -> Range:
    """So that halving is as likely as doubling."""
    return math.log(limits[0]), math.log(limits[1])
