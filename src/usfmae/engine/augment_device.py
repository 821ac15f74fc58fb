"""The views of `augment.py` as batched operations of torch, for a GPU: same numbers, same views.

A crop without rotation is separable, so resizing is two batched matrix products with weights made on the
device: exact averaging when it shrinks, which `grid_sample` cannot do, and no index arithmetic per pixel.
Nothing here reads a number back from the device.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from usfmae.engine.look import depth_basis, shadow_factor, speckle_tiles, tile_side, toned
from usfmae.engine.views import COLUMNS, AugmentConfig


def apply_views_on_device(
    images: UInt8[Tensor, "b s s"],
    numbers: Float32[Tensor, "b number"],
    *,
    size_px: tuple[int, int],
    config: AugmentConfig,
) -> UInt8[Tensor, "b h w"]:
    """Make views where the images are.

    Differs from `augment.apply_views` by at most 1 of 255 where the look is not changed, and by 2 where a
    mild grey map stretches that. Turned by other than quarter turns it is a little more, since OpenCV
    rounds places to 1/32 pixel.

    Args:
        images: whole images on any device.
        numbers: `Views.numbers()` of the same rows, on the same device.
        size_px: height and width of the views.
        config: the settings by which they were drawn; decides which operations run.
    """
    drawn = dict(zip(COLUMNS, torch.split(numbers, list(COLUMNS.values()), dim=1), strict=True))
    with torch.autocast(images.device.type, enabled=False):  # bf16 has too few digits for a byte
        grey = images.float()
        if config.rotate_deg != (0.0, 0.0):
            grey = _rotated(grey, drawn["angle_deg"], nearest=config.interpolation == "nearest")
        views = _crops(grey, drawn, size_px=size_px, config=config)
        if config.changes_look:
            views = _looked(views, drawn, config)
        views = _flipped_where(drawn["flip_across"], views, axis=2)
        views = _flipped_where(drawn["flip_down"], views, axis=1)
        return views.to(torch.uint8)


def _crops(
    grey: Float32[Tensor, "b s s"],
    drawn: dict[str, Tensor],
    *,
    size_px: tuple[int, int],
    config: AugmentConfig,
) -> Float32[Tensor, "b h w"]:
    """Crop and resize; whole grey levels, as bytes would be."""
    side = grey.shape[-1]
    shrinks = (drawn["height"] >= size_px[0]) & (drawn["width"] >= size_px[1])
    down, across = (
        _resize_weights(drawn[start], drawn[length], side=side, pixels=pixels, config=config, shrinks=shrinks)
        for start, length, pixels in (("top", "height", size_px[0]), ("left", "width", size_px[1]))
    )
    return (down @ grey @ across.mT).round().clamp(0, 255)


def _resize_weights(
    start: Float32[Tensor, "b 1"],
    length: Float32[Tensor, "b 1"],
    *,
    side: int,
    pixels: int,
    config: AugmentConfig,
    shrinks: Bool[Tensor, "b 1"],
) -> Float32[Tensor, "b p s"]:
    """What each of `pixels` takes from each of `side`, along one axis; rows add up to 1."""
    source = torch.arange(side, device=start.device) - start[:, :, None]  # within the crop, "b 1 s"
    place = torch.arange(pixels, device=start.device)[:, None]
    scale = (length / pixels)[:, :, None]
    last = (length - 1)[:, :, None]
    if config.interpolation == "nearest":
        # OpenCV's own rounding, which decides on borders; torch would make number / tensor a reciprocal.
        step = 1 / (torch.full_like(length, pixels, dtype=torch.float64) / length)
        return (source == (place * step[:, :, None]).floor().minimum(last)).float()
    centre = ((place + 0.5) * scale - 0.5).clamp_min(0).minimum(last)
    linear = (1 - (source - centre).abs()).clamp_min(0)
    if config.interpolation == "linear":
        return linear
    overlap = (source + 1).minimum((place + 1) * scale) - source.maximum(place * scale)
    return torch.where(shrinks[:, :, None], overlap.clamp_min(0) / scale, linear)


def _rotated(
    grey: Float32[Tensor, "b s s"], angle_deg: Float32[Tensor, "b 1"], *, nearest: bool
) -> Float32[Tensor, "b s s"]:
    """Each image about its centre, counter-clockwise, black where it came from outside."""
    angle = angle_deg[:, 0] * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).reshape(-1, 2, 3)
    grid = affine_grid(turn, [len(grey), 1, *grey.shape[1:]], align_corners=False)
    mode = "nearest" if nearest else "bilinear"
    return grid_sample(grey[:, None], grid, mode=mode, padding_mode="zeros", align_corners=False)[
        :, 0
    ].round()


def _looked(
    views: Float32[Tensor, "b h w"], drawn: dict[str, Tensor], config: AugmentConfig
) -> Float32[Tensor, "b h w"]:
    height, width = views.shape[1:]
    device = views.device
    if config.changes_tone:
        gain, contrast, gamma = (drawn[name][:, :, None] for name in ("gain", "contrast", "gamma"))
        views = 255 * toned(views / 255, gain, contrast, gamma)
    if config.time_gain != (1.0, 1.0):
        basis = _depth_basis_on(device, height)
        views = views * (drawn["log_time_gain"] @ basis.mT).exp()[:, :, None]
    if config.shadow:
        depth = (torch.arange(height, device=device)[:, None] + 0.5) / height
        across = (torch.arange(width, device=device) + 0.5) / width
        views = views * shadow_factor(depth, across, drawn["shadow"])
    if config.speckle[1]:
        side = tile_side((height, width))
        tile, down, across = drawn["tile"].long().unbind(dim=1)
        rows = (down[:, None] + torch.arange(height, device=device)) % side
        columns = (across[:, None] + torch.arange(width, device=device)) % side
        tiles = _speckle_tiles_on(device, side, config.speckle_px)
        noise = tiles[tile[:, None, None], rows[:, :, None], columns[:, None, :]]
        views = views * (noise * drawn["speckle"][:, :, None] + 1)
    return views.round().clamp(0, 255)


def _flipped_where(
    chosen: Float32[Tensor, "b 1"], views: Float32[Tensor, "b h w"], *, axis: int
) -> Float32[Tensor, "b h w"]:
    return torch.where(chosen[:, :, None] > 0, views.flip(axis), views)


@lru_cache(maxsize=4)
def _depth_basis_on(device: torch.device, height: int) -> Float32[Tensor, "height depth"]:
    """Sent once: each copy from ordinary memory would make the host wait for the device."""
    return torch.tensor(depth_basis(height), device=device)


@lru_cache(maxsize=2)
def _speckle_tiles_on(
    device: torch.device, side: int, correlation_px: tuple[float, float]
) -> Float32[Tensor, "tile side side"]:
    return torch.tensor(speckle_tiles(side, correlation_px), device=device)
