"""Where on the screen the echoes are: the fan or rectangle of a scanner's B-mode, without everything around.

Margins, rulers, grey bars, panels, banners and text lie outside. DICOM files say where their 2-D regions
are; elsewhere, and to tighten those, the picture is analysed (`echo_region.py`, `fan.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from usfmae.images.echo_region import find_echo, text_px
from usfmae.images.fan import Fan, fit_fan
from usfmae.images.fan_symmetry import mirrored_fan
from usfmae.images.frame import Box, Frame, Grey
from usfmae.images.grey import to_grey
from usfmae.images.not_echo import is_strip, is_text, strip_rows
from usfmae.images.sector_edges import Edges, bounds, completed_fan, find_edges, within_edges

WORK_PX = 256
"""Longer side of the picture that is analysed; larger ones are shrunk to it, so an edge is good to 0.4 %."""

FULL_RATIO = 0.95
"""A region that fills so much of its box is a rectangle."""

STILL_LEVELS = 12
"""A pixel of a clip moves if it changes by more; compression makes still ones flicker by less."""

MIN_MOVING_RATIO = 0.05
"""A clip of which less moves is taken for a frozen one, and motion is not asked."""

MIN_BESIDE_RATIO = 0.05
"""A sector beside a strip fills so much of the picture; less is text."""

VIVID_LEVELS, MIN_VIVID_RATIO = 200, 0.3
"""Between the strongest and the weakest channel of a colour that only Doppler paints, and how much of a
picture it fills before it is asked for: a Doppler box may be as flat as a panel."""

Kind = Literal["fan", "rectangle", "whole"]


@dataclass(frozen=True, eq=False)
class Sector:
    """The region of echo data in one picture."""

    kind: Kind
    """`whole` where the picture was already cropped to echo."""

    box: Box
    """The smallest (top, left, height, width) around it, in pixels of the picture."""

    mask: Bool[np.ndarray, "height width"]
    """True inside its convex outline; as large as the picture."""

    fan: Fan | None = None
    """Geometry of a fan, in pixels of the picture; None where it could not be fitted."""


def find_sector(frame: Frame, *, clip: Sequence[Frame] = ()) -> Sector | None:
    """Find the region of echo data.

    Args:
        frame: a still, or one frame of a clip.
        clip: other frames of the same clip, best spread over it; what never changes in them is no echo, and
            what is dark in one may be bright in another. Frames of another size are left out.

    Returns:
        The sector; for a dual view, one that spans both (`dual_view.split_views` tells them apart). None
        where nothing but margin, text and thin things was found.
    """
    size = (frame.height, frame.width)
    greys = [to_grey(other.pixels) for other in (frame, *clip) if (other.height, other.width) == size]
    whole = (0, 0, *size)
    told = _union([region.box for region in frame.regions if region.is_tissue_2d])
    if told is not None and told[2] * told[3] >= 0.95 * frame.height * frame.width:
        told = None  # some writers name the whole screen
    found = _analyse(greys, told or whole, vivid=_vivid(frame))
    if told is None:
        return None if found is None else _without_strip(greys, found)
    if found is None or overlap(found.box, told) < 0.6:
        return of_box(told, frame)
    return found


def crop_to_sector(frame: Frame, sector: Sector) -> Frame:
    """The part of a frame inside the sector's box; pitch and source are kept, regions move along.

    Raises:
        ValueError: the sector belongs to a picture of another size.
    """
    if sector.mask.shape != (frame.height, frame.width):
        raise ValueError(
            f"the sector is of a {sector.mask.shape} picture, the frame is {frame.pixels.shape[:2]}"
        )
    top, left, height, width = sector.box
    regions = []
    for region in frame.regions:
        above, beside, tall, wide = region.box
        first, start = max(above, top), max(beside, left)
        tall, wide = min(above + tall, top + height) - first, min(beside + wide, left + width) - start
        if tall > 0 and wide > 0:
            regions.append(replace(region, box=(first - top, start - left, tall, wide)))
    pixels = np.ascontiguousarray(frame.pixels[top : top + height, left : left + width])
    return replace(frame, pixels=pixels, regions=tuple(regions))


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    rows = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    columns = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(rows, 0) * max(columns, 0)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def of_box(box: Box, frame: Frame) -> Sector:
    """A rectangular sector."""
    mask = np.zeros((frame.height, frame.width), bool)
    mask[box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = True
    return Sector("whole" if bool(mask.all()) else "rectangle", box, mask)


def _union(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    top, left = min(box[0] for box in boxes), min(box[1] for box in boxes)
    bottom, right = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    return top, left, bottom - top, right - left


def _analyse(
    greys: Sequence[Grey], window: Box, *, vivid: Bool[np.ndarray, "height width"] | None = None
) -> Sector | None:
    """The sector inside a window of equally large pictures."""
    size = greys[0].shape
    top, left, height, width = window
    factor = max(1.0, max(height, width) / WORK_PX)
    small = (max(1, round(height / factor)), max(1, round(width / factor)))
    shrunk = [_shrink(grey[top : top + height, left : left + width], small) for grey in greys]
    brightest = np.maximum.reduce(shrunk)
    if vivid is not None:
        part = vivid[top : top + height, left : left + width].astype(np.uint8)
        vivid = cv2.resize(part, small[::-1], interpolation=cv2.INTER_NEAREST) > 0
    region = find_echo(brightest, moving=_moving(shrunk), vivid=vivid)
    if region is None:
        return None
    fan = fit_fan(region) if _filled(region.hull, bounds(region.hull)) < FULL_RATIO else None
    mirrored = mirrored_fan(region, fan) if fan is not None else None
    fan, faded_side = mirrored if mirrored is not None else (fan, 0)
    edges = find_edges(region, brightest, is_fan=fan is not None)
    hull = within_edges(region.hull, edges)
    if fan is not None:
        hull = completed_fan(hull, region, fan, faded_side=faded_side)
        edges = bounds(hull)
    filled = _filled(hull, edges)
    if filled >= FULL_RATIO:
        fan = None
    kind: Kind = "fan" if fan is not None or filled < 0.85 else "rectangle"
    if kind == "rectangle":
        hull[edges[0] : edges[1], edges[2] : edges[3]] = 1
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = _grown(hull, (height, width))
    box = _snapped(edges, small, (height, width))
    box = (top + box[0], left + box[1], box[2], box[3])
    if kind == "rectangle" and box == (0, 0, *size):
        kind = "whole"
    if kind != "fan":
        mask[box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = True
    placed = fan.scaled(factor, top_px=top, left_px=left) if fan is not None else None
    return Sector(kind, box, mask, placed)


def _without_strip(greys: Sequence[Grey], found: Sector) -> Sector:
    """The sector beside a strip over time that was taken for it, or for part of it; itself where there is
    none."""
    if found.kind == "whole":
        return found
    top, left, height, width = found.box
    seen = greys[0][top : top + height, left : left + width]
    rows = strip_rows(seen, is_fan=found.fan is not None)
    if rows is None:
        return found
    others = [grey.copy() for grey in greys]
    for grey in others:
        grey[top + rows[0] : top + rows[1], left : left + width] = grey.min()
    other = _analyse(others, (0, 0, *greys[0].shape))
    if other is None or other.mask.mean() < MIN_BESIDE_RATIO:
        return found
    above, beside, tall, wide = other.box
    rest = others[0][above : above + tall, beside : beside + wide]
    is_part = max(abs(beside - left), abs(beside + wide - left - width)) <= 0.02 * width  # dark layers cut it
    if is_text(rest) or is_strip(rest, is_fan=other.fan is not None) or (is_part and is_strip(seen)):
        return found
    return other


def _shrink(grey: Grey, size: tuple[int, int]) -> UInt8[np.ndarray, "small_height small_width"]:
    if grey.shape == size:
        return np.ascontiguousarray(grey)
    return np.asarray(cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA))


def _grown(hull: UInt8[np.ndarray, "height width"], size: tuple[int, int]) -> Bool[np.ndarray, "tall wide"]:
    return np.asarray(cv2.resize(hull, size[::-1], interpolation=cv2.INTER_NEAREST) > 0)


def _moving(greys: Sequence[Grey]) -> Bool[np.ndarray, "height width"] | None:
    """Where a clip moves, and a little around; None for a still and for a clip that stands still."""
    if len(greys) < 2:
        return None
    moving = (np.maximum.reduce(greys) - np.minimum.reduce(greys)) > STILL_LEVELS
    if moving.mean() < MIN_MOVING_RATIO:
        return None
    size = text_px(*moving.shape)
    return np.asarray(cv2.dilate(moving.astype(np.uint8), np.ones((size, size), np.uint8)) > 0)


def _vivid(frame: Frame) -> Bool[np.ndarray, "height width"] | None:
    """Where a picture has a saturated colour; None where that is too little to be taken for a panel."""
    if frame.pixels.ndim == 2:
        return None
    sparse = frame.pixels[::8, ::8]
    if ((sparse.max(axis=2) - sparse.min(axis=2)) >= VIVID_LEVELS).mean() < MIN_VIVID_RATIO:
        return None
    return np.asarray(frame.pixels.max(axis=2) - frame.pixels.min(axis=2) >= VIVID_LEVELS)


def _filled(hull: UInt8[np.ndarray, "height width"], edges: Edges) -> float:
    """Share of a box that the outline fills."""
    return float(hull[edges[0] : edges[1], edges[2] : edges[3]].mean())


def _snapped(edges: Edges, small: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box of the shrunk picture in pixels of the large one."""
    down, across = size[0] / small[0], size[1] / small[1]
    top, left = round(edges[0] * down), round(edges[2] * across)
    return top, left, round(edges[1] * down) - top, round(edges[3] * across) - left
