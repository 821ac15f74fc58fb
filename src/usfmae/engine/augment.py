"""Random views of grey byte images with OpenCV, in place and row by row (`benchmarks/input.py` times it)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from usfmae.base.input_spec import height_width
from usfmae.engine.look import depth_basis, shadow_factor, speckle_tiles, tile_side, toned
from usfmae.engine.views import AugmentConfig, Views, draw_views

Interpolation = Literal["area", "linear", "nearest", "nearest-exact"]
_FLAGS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "nearest-exact": cv2.INTER_NEAREST_EXACT,
}
"""OpenCV's "nearest" takes the pixel at the upper left of a place, "nearest-exact" that at its centre."""


def augment_batch(
    images: UInt8[np.ndarray, "b s s"],
    *,
    image_px: int | tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "b h w"]:
    """One random view of each image (random resized crop of Szegedy et al. 2015, the look, flips).

    All numbers of the batch are drawn first and in one order, so the views depend on `rng` alone.

    Args:
        images: prepared square images.
        image_px: side of the views, or their height and width.
        config: ranges and chances.
        rng: source of randomness of this batch.
    """
    size_px = height_width(image_px)
    return apply_views(images, draw_views(len(images), images.shape[1], config, rng, size_px=size_px))


def apply_views(
    images: UInt8[np.ndarray, "n s s"], views: Views, rows: Sequence[int] | None = None
) -> UInt8[np.ndarray, "n h w"]:
    """Make views on the CPU: cut, resize, change the look, flip.

    Args:
        images: one per row, of the side that `views` was drawn for.
        views: numbers of a whole batch.
        rows: which rows of `views` the images are; None for all, in order.

    Raises:
        ValueError: not one row per image.
    """
    rows = range(len(views)) if rows is None else rows
    out = np.empty((len(images), *views.size_px), dtype=np.uint8)
    look = _Look(views) if views.config.changes_look else None
    for image, view, row in zip(images, out, rows, strict=True):
        _cut(image, views, row, views.config.interpolation, out=view)
        if look:
            look.change(view, row)
        _flip(view, views, row)
    return out


def apply_views_to_label_maps(
    label_maps: UInt8[np.ndarray, "n s s"], views: Views
) -> UInt8[np.ndarray, "n h w"]:
    """The same cuts, turns and flips as `apply_views`, by nearest neighbour and with the look left alone.

    Args:
        label_maps: one per row of `views`, of the side that it was drawn for.
        views: the numbers that the images were changed by.
    """
    out = np.empty((len(label_maps), *views.size_px), dtype=np.uint8)
    for row, (label_map, view) in enumerate(zip(label_maps, out, strict=True)):
        _cut(label_map, views, row, "nearest-exact", out=view)
        _flip(view, views, row)
    return out


def whole_batch(
    images: UInt8[np.ndarray, "b s s"], *, image_px: int | tuple[int, int]
) -> UInt8[np.ndarray, "b h w"]:
    """Each image whole, resized with antialiasing: what evaluation and serving see.

    A rectangle is filled by stretching, as the crops of training are on average. No images give none.
    """
    size_px = height_width(image_px)
    if images.shape[1:] == size_px:
        return images
    out = np.empty((len(images), *size_px), dtype=np.uint8)
    for image, whole in zip(images, out, strict=True):
        resized(image, size_px, "area", out=whole)
    return out


def resized(
    image: UInt8[np.ndarray, "rows columns"],
    image_px: int | tuple[int, int],
    interpolation: Interpolation,
    *,
    out: UInt8[np.ndarray, "h w"] | None = None,
) -> UInt8[np.ndarray, "h w"]:
    """Resize to a square or to (height, width); "area" falls back to linear where it would enlarge.

    Args:
        image: of any shape.
        image_px: side, or height and width.
        interpolation: "area" averages, without which fine texture aliases.
        out: filled and returned; None for a new array.
    """
    height, width = height_width(image_px)
    flag = _FLAGS[interpolation]
    if interpolation == "area" and (image.shape[0] < height or image.shape[1] < width):
        flag = cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), dst=out, interpolation=flag), dtype=np.uint8)


def _flip(view: UInt8[np.ndarray, "h w"], views: Views, row: int) -> None:
    across, down = views.flip_across[row], views.flip_down[row]
    if across or down:
        cv2.flip(view, -1 if across and down else int(across), dst=view)


def _cut(
    image: UInt8[np.ndarray, "s s"],
    views: Views,
    row: int,
    interpolation: Interpolation,
    *,
    out: UInt8[np.ndarray, "h w"],
) -> None:
    side = len(image)
    if angle := float(views.angle_deg[row]):
        turn = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), angle, 1.0)
        flag = cv2.INTER_NEAREST if interpolation.startswith("nearest") else cv2.INTER_LINEAR
        image = np.asarray(cv2.warpAffine(image, turn, (side, side), flags=flag), dtype=np.uint8)
    top, left = views.top[row], views.left[row]
    crop = image[top : top + views.height[row], left : left + views.width[row]]
    resized(crop, views.size_px, interpolation, out=out)


class _Look:
    """Changes of brightness by look-up tables and products, with room for one view that is used again."""

    def __init__(self, views: Views) -> None:
        config, size_px = views.config, views.size_px
        self.views = views
        grey = np.linspace(0, 1, 256, dtype=np.float32)
        tone = (views.gain, views.contrast, views.gamma)
        self.tables = 255 * toned(grey, *(values[:, None].astype(np.float32) for values in tone))
        self.only_tone = not (config.time_gain != (1.0, 1.0) or config.shadow or config.speckle[1])
        self.time_gain = None
        if config.time_gain != (1.0, 1.0):
            self.time_gain = np.exp(views.log_time_gain.astype(np.float32) @ depth_basis(size_px[0]).T)
        self.tiles = None
        if config.speckle[1]:
            self.tiles = _wrapped_tiles(tile_side(size_px), config.speckle_px)
        self.room, self.noise, self.ones = (np.ones(size_px, dtype=np.float32) for _ in range(3))

    def change(self, view: UInt8[np.ndarray, "h w"], row: int) -> None:
        """In place."""
        if self.only_tone:
            cv2.LUT(view, self.tables[row].round().astype(np.uint8), dst=view)
            return
        room = self.room
        cv2.LUT(view, self.tables[row], dst=room)
        if self.time_gain is not None:
            np.multiply(room, self.time_gain[row][:, None], out=room)
        if self.views.shadow[row, 0]:
            self._cast_shadow(row)
        if self.tiles is not None:
            tile, down, across = self.views.tile[row]
            height, width = room.shape
            speckle = self.tiles[tile, down : down + height, across : across + width]
            cv2.scaleAdd(speckle, float(self.views.speckle[row]), self.ones, dst=self.noise)
            cv2.multiply(room, self.noise, dst=room)
        cv2.convertScaleAbs(room, dst=view)  # rounds and saturates

    def _cast_shadow(self, row: int) -> None:
        """Multiply only the part of the view that the shadow can reach."""
        height, width = self.room.shape
        numbers = self.views.shadow[row].astype(np.float32)
        _, centre, half, start, spread = numbers.tolist()
        reach = [0.5 + (centre - 0.5 + side) * by for side in (-half, half) for by in (1, 1 + spread)]
        first, last = max(0, int(min(reach) * width)), min(width, int(max(reach) * width) + 1)
        upper = int(start * height)
        depth = (np.arange(upper, height, dtype=np.float32)[:, None] + 0.5) / height
        across = (np.arange(first, last, dtype=np.float32) + 0.5) / width
        self.room[upper:, first:last] *= shadow_factor(depth, across, numbers)


@lru_cache(maxsize=2)
def _wrapped_tiles(side: int, correlation_px: tuple[float, float]) -> Float32[np.ndarray, "tile twice twice"]:
    """Tiles beside themselves, so that a rolled view is a slice."""
    return np.tile(speckle_tiles(side, correlation_px), (1, 2, 2))
