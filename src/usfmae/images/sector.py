"""Where on the screen the echoes are: the fan or rectangle of a scanner's B-mode, without everything around.

Margins, rulers, grey bars, panels, banners and text lie outside. DICOM files say where their 2-D regions
are; elsewhere, and to tighten those, the picture is analysed (`echo_region.py`, `fan.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

from usfmae.images.echo_region import EchoRegion, find_echo, text_px
from usfmae.images.fan import Fan, fit_fan
from usfmae.images.frame import Box, Frame, Grey
from usfmae.images.prepare import to_grey

WORK_PX = 256
"""Longer side of the picture that is analysed; larger ones are shrunk to it, so an edge is good to 0.4 %."""

STRAIGHT_RATIO, TOP_RATIO = 0.38, 0.5
"""A side is a straight edge where so many of its rows (or columns) begin within 2 px of one place; more at
the top, where the hollow of a convex transducer is nearly flat in the middle."""

MAX_OUTSIDE_RATIO = 0.2
"""More rows than that begin outside an edge only if it is none, but something upright in the tissue."""

RAGGED_SHARPNESS = 0.35
"""A side along which less of the outline is sharp is no edge: echo fades there."""

STRONG_LEVELS = 10
"""Echo so far above the darkest of the picture is no compression noise beside the sector."""

FUZZ_PX = 6
"""Compression noise reaches no further."""

FULL_RATIO = 0.95
"""A region that fills so much of its box is a rectangle."""

STILL_LEVELS = 12
"""A pixel of a clip moves if it changes by more; compression makes still ones flicker by less."""

MIN_MOVING_RATIO = 0.05
"""A clip of which less moves is taken for a frozen one, and motion is not asked."""

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
    found = _analyse(greys, told or whole)
    if told is None:
        return found
    if found is None or overlap(found.box, told) < 0.6:
        return of_box(told, frame)
    return found


def crop_to_sector(frame: Frame, sector: Sector) -> Frame:
    """The part of a frame inside the sector's box; pitch and source are kept, regions move along.

    Raises:
        ValueError: the sector belongs to a picture of another size.
    """
    if sector.mask.shape != (frame.height, frame.width):
        raise ValueError(f"the sector is of a {sector.mask.shape} picture, the frame is {frame.pixels.shape[:2]}")
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


def _analyse(greys: Sequence[Grey], window: Box) -> Sector | None:
    """The sector inside a window of equally large pictures."""
    size = greys[0].shape
    top, left, height, width = window
    factor = max(1.0, max(height, width) / WORK_PX)
    small = (max(1, round(height / factor)), max(1, round(width / factor)))
    shrunk = [_shrink(grey[top : top + height, left : left + width], small) for grey in greys]
    brightest = np.maximum.reduce(shrunk)
    region = find_echo(brightest, moving=_moving(shrunk))
    if region is None:
        return None
    fan = fit_fan(region) if _filled(region.hull, _bounds(region.hull)) < FULL_RATIO else None
    edges = _edges(region, brightest, is_fan=fan is not None)
    hull = _within(region.hull, edges)
    if fan is not None:
        hull = _completed(hull, region, fan)
        edges = _bounds(hull)
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


Edges = tuple[int, int, int, int]
"""First and last row (after the end), first and last column (after the end)."""


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


def _bounds(mask: UInt8[np.ndarray, "height width"]) -> Edges:
    left, top, width, height = cv2.boundingRect(mask)
    return top, top + height, left, left + width


def _filled(hull: UInt8[np.ndarray, "height width"], edges: Edges) -> float:
    """Share of a box that the outline fills."""
    return float(hull[edges[0] : edges[1], edges[2] : edges[3]].mean())


def _within(hull: UInt8[np.ndarray, "height width"], edges: Edges) -> UInt8[np.ndarray, "height width"]:
    """The outline cut to the edges, and drawn out to those that lie beyond it."""
    found = _bounds(hull)
    cut = hull.copy()
    if edges[1] > found[1]:
        cut[found[1] :, edges[2] : edges[3]] = 1
    if edges[2] < found[2]:
        cut[edges[0] : edges[1], : found[2]] = 1
    if edges[3] > found[3]:
        cut[edges[0] : edges[1], found[3] :] = 1
    cut[: edges[0]] = cut[edges[1] :] = 0
    cut[:, : edges[2]] = cut[:, edges[3] :] = 0
    return _convex(cut)


def _convex(mask: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """The convex hull of a 0-or-1 mask; the mask itself where it is empty."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if contours:
        cv2.fillConvexPoly(mask, cv2.convexHull(np.concatenate(contours)), 1)
    return mask


def _edges(region: EchoRegion, grey: Grey, *, is_fan: bool) -> Edges:
    """Where each side of the region is.

    A straight side is where most of its rows begin, whatever text sticks out of it. Where echo fades towards a
    side (no straight edge, no sharp outline) of a picture that echo fills on two other sides, the picture was
    cropped to the sector, and the side is the picture's border.
    """
    height, width = region.echo.shape
    strong = region.echo & (grey > int(grey.min()) + STRONG_LEVELS).astype(np.uint8)
    places, faded = [], []
    for axis, backwards in ((0, False), (0, True), (1, False), (1, True)):
        masks = [mask if axis == 1 else mask.T for mask in (region.echo, strong, region.hull)]
        if backwards:
            masks = [mask[:, ::-1] for mask in masks]
        agreeing = TOP_RATIO if axis == 0 and not backwards else STRAIGHT_RATIO
        masks = [np.ascontiguousarray(mask) for mask in masks]
        place, is_edge = _side(*masks, agreeing_ratio=agreeing)
        if not is_fan:
            place = _beyond_text(masks[1], place)
        places.append(place)
        faded.append(not is_edge)
    if not is_fan:
        at_border = [place == 0 for place in places]
        nowhere_sharp = any(at_border) and all(a or b for a, b in zip(at_border, faded, strict=True))
        for side in range(4):
            others = sum(at_border) - at_border[side]
            if faded[side] and (nowhere_sharp or (others >= 2 and side > 0)):  # at the top the skin is bright
                places[side] = 0
    return places[0], height - places[1], places[2], width - places[3]


def _side(
    echo: UInt8[np.ndarray, "row column"],
    strong: UInt8[np.ndarray, "row column"],
    hull: UInt8[np.ndarray, "row column"],
    *,
    agreeing_ratio: float,
) -> tuple[int, bool]:
    """How many columns lie left of the region, and whether it ends there with an edge."""
    rows, first, place = _straight(echo, agreeing_ratio)
    outermost = int(np.partition(first, 2)[2]) if len(first) > 2 else int(first.min())
    strong_rows, strong_first, strong_place = _straight(strong, agreeing_ratio)
    if place is None and strong_place is None and len(strong_rows) > 2:
        within = int(np.partition(strong_first, 2)[2])
        outermost = within if within - outermost <= FUZZ_PX - 2 else outermost
    if strong_place is not None and 0 <= strong_place - (outermost if place is None else place) <= FUZZ_PX:
        place = strong_place
    if place is not None:
        return (0 if place <= 1 else place), True
    place = outermost
    outline = hull[rows].argmax(axis=1)
    inner = outline > 1
    sharp = float((first - outline <= 1)[inner].mean()) if inner.any() else 1.0
    return (0 if place <= 1 else place), sharp >= RAGGED_SHARPNESS


def _beyond_text(strong: UInt8[np.ndarray, "row column"], place: int) -> int:
    """A side moved inwards past a line of text that hangs on to the region by compression noise.

    Text leaves gaps, so it fills less of its columns than skin or tissue do, and an emptier strip parts it
    from the echo.
    """
    size = text_px(*strong.shape)
    rows = np.flatnonzero(strong.any(axis=1))
    filled = strong[rows, place : place + 3 * size].mean(axis=0) if len(rows) else np.zeros(0)
    empty = np.flatnonzero(filled[: 2 * size] < 0.12)
    if not len(empty) or len(filled) < 3 * size:
        return place
    gap = int(empty[-1])
    is_text = 0.2 < filled[:gap].max(initial=0.0) < 0.8
    return place + gap + 1 if is_text and filled[gap + 1 : gap + size].mean() > 0.5 else place


def _straight(
    mask: UInt8[np.ndarray, "row column"], agreeing_ratio: float
) -> tuple[Int[np.ndarray, "occupied"], Int[np.ndarray, "occupied"], int | None]:
    """The rows with something in them, where each begins, and where most of them do, if most agree."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    if not len(rows):
        return rows, first, None
    counts = np.convolve(np.bincount(first, minlength=5), np.ones(5, np.int64), "same")
    agreed = int(counts.argmax())
    if counts[agreed] < agreeing_ratio * len(first) or (first < agreed - 2).mean() > MAX_OUTSIDE_RATIO:
        return rows, first, None
    return rows, first, int(np.median(first[np.abs(first - agreed) <= 2]))


def _completed(
    hull: UInt8[np.ndarray, "height width"], region: EchoRegion, fan: Fan
) -> UInt8[np.ndarray, "height width"]:
    """The outline, completed by a fan of known depth where echo fades before the fan ends."""
    if fan.far_px is None:
        return hull
    ideal = fan.inside(*hull.shape).astype(np.uint8)
    ideal[: _bounds(hull)[0]] = 0
    ideal = _convex(ideal)
    size = text_px(*hull.shape)
    roomy = cv2.dilate(ideal, np.ones((size, size), np.uint8))
    if (hull & roomy).sum() < 0.97 * hull.sum() or (hull & ideal).sum() < 0.75 * ideal.sum():
        return hull
    # The pointed ends of a fan are as thin as text: what is seen of them inside the fan belongs to it.
    reach = cv2.dilate(hull, np.ones((4 * size + 1,) * 2, np.uint8))
    hull = _convex(hull | (region.foreground & ideal & reach))
    ideal[_bounds(hull)[1] :] = 0
    deep = cv2.erode(ideal, np.ones((size, size), np.uint8), borderValue=1)
    outline = hull - cv2.erode(hull, np.ones((3, 3), np.uint8), borderValue=1)
    reached = cv2.dilate(region.echo, np.ones((3, 3), np.uint8))
    middle = min(max(round(fan.apex_px[1]), 0), hull.shape[1])
    for half in (slice(0, middle), slice(middle, hull.shape[1])):
        inner = (outline[:, half] & deep[:, half]) > 0
        if inner.sum() >= size and reached[:, half][inner].mean() < RAGGED_SHARPNESS:
            hull[:, half] |= ideal[:, half]
    return _convex(hull)


def _snapped(edges: Edges, small: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box of the shrunk picture in pixels of the large one."""
    down, across = size[0] / small[0], size[1] / small[1]
    top, left = round(edges[0] * down), round(edges[2] * across)
    return top, left, round(edges[1] * down) - top, round(edges[3] * across) - left
