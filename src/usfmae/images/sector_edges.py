"""Where the sides of an echo region are, and what of it lies beyond what is seen.

Called by `images.sector` only. Pixels are those of the shrunk picture that is analysed.
"""

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from usfmae.images.echo_region import EchoRegion, text_px
from usfmae.images.fan import Fan
from usfmae.images.frame import Grey

STRAIGHT_RATIO, TOP_RATIO = 0.38, 0.5
"""A side is a straight edge where so many of its rows (or columns) begin within 2 px of one place; more at
the top, where the hollow of a convex transducer is nearly flat in the middle."""

MAX_OUTSIDE_RATIO = 0.2
"""More rows than that begin outside an edge only if it is none, but something upright in the tissue."""

STEP_RATIO = 0.2
"""Where what begins outside is no deeper than text, fewer rows need to agree than on an edge."""

MAX_LABEL_RATIO, MIN_LABEL_GROUND, LABEL_LEVELS, INK_LEVELS = 0.45, 0.4, 8, 40
"""A box of text spoils so much of a side at most, and so much of it is ground: one level, give or take a few.
Ink differs by more."""

RAGGED_SHARPNESS = 0.35
"""A side along which less of the outline is sharp is no edge: echo fades there."""

STRONG_LEVELS = 10
"""Echo so far above the darkest of the picture is no compression noise beside the sector."""

FUZZ_PX = 6
"""Compression noise reaches no further."""


Edges = tuple[int, int, int, int]
"""First and last row (after the end), first and last column (after the end)."""

Begun = tuple[Int[np.ndarray, "occupied"], Int[np.ndarray, "occupied"]]
"""Rows with something in them, and the column at which each begins."""


def bounds(mask: UInt8[np.ndarray, "height width"]) -> Edges:
    """The edges of what is set in a 0-or-1 mask."""
    left, top, width, height = cv2.boundingRect(mask)
    return top, top + height, left, left + width


def within_edges(hull: UInt8[np.ndarray, "height width"], edges: Edges) -> UInt8[np.ndarray, "height width"]:
    """The outline cut to the edges, and drawn out to those that lie beyond it."""
    found = bounds(hull)
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


def find_edges(region: EchoRegion, grey: Grey, *, is_fan: bool) -> Edges:
    """Where each side of the region is.

    A straight side is where most of its rows begin, whatever text sticks out of it. Where echo fades
    towards a side (no straight edge, no sharp outline) of a picture that echo fills on two other sides,
    the picture was cropped to the sector, and the side is the picture's border.
    """
    height, width = region.echo.shape
    strong = region.echo & (grey > int(grey.min()) + STRONG_LEVELS).astype(np.uint8)
    places, faded, stepped = [], [], []
    for axis, backwards in ((0, False), (0, True), (1, False), (1, True)):
        masks = [mask if axis == 1 else mask.T for mask in (region.echo, strong, region.hull, grey)]
        if backwards:
            masks = [mask[:, ::-1] for mask in masks]
        agreeing = TOP_RATIO if axis == 0 and not backwards else STRAIGHT_RATIO
        masks[:3] = [np.ascontiguousarray(mask) for mask in masks[:3]]
        place, is_edge, begun = _side(*masks[:3], agreeing_ratio=agreeing, is_fan=is_fan)
        if not is_fan:
            place = _beyond_text(masks[1], begun[0], place)
            place = _beyond_label(*begun, masks[3], place)
            stepped.append(place if is_edge else _shallow_step(begun[1], place, text_px(height, width)))
        places.append(place)
        faded.append(not is_edge)
    if not is_fan:
        at_border = [place == 0 for place in places]
        nowhere_sharp = any(at_border) and all(a or b for a, b in zip(at_border, faded, strict=True))
        for side in range(4):
            others = sum(at_border) - at_border[side]
            if faded[side] and (nowhere_sharp or (others >= 2 and side > 0)):  # at the top the skin is bright
                places[side] = 0
            elif (
                sum(at_border) <= 1 and side > 0
            ):  # a screen with margin round it, where marks hang on to echo
                places[side] = stepped[side]
    return places[0], height - places[1], places[2], width - places[3]


def _side(
    echo: UInt8[np.ndarray, "row column"],
    strong: UInt8[np.ndarray, "row column"],
    hull: UInt8[np.ndarray, "row column"],
    *,
    agreeing_ratio: float,
    is_fan: bool,
) -> tuple[int, bool, Begun]:
    """How many columns lie left of the region, whether it ends there with an edge, and where its strong echo
    begins."""
    rows, first = _begun(echo)
    strong_rows, strong_first = begun = _begun(strong)
    place = _straight(first, agreeing_ratio, is_fan=is_fan)
    outermost = int(np.partition(first, 2)[2]) if len(first) > 2 else int(first.min())
    strong_place = _straight(strong_first, agreeing_ratio, is_fan=is_fan)
    if place is None and strong_place is None and len(strong_rows) > 2:
        within = int(np.partition(strong_first, 2)[2])
        outermost = within if within - outermost <= FUZZ_PX - 2 else outermost
    if strong_place is not None and 0 <= strong_place - (outermost if place is None else place) <= FUZZ_PX:
        place = strong_place
    if place is not None:
        return (0 if place <= 1 else place), True, begun
    place = outermost
    outline = hull[rows].argmax(axis=1)
    inner = outline > 1
    sharp = float((first - outline <= 1)[inner].mean()) if inner.any() else 1.0
    return (0 if place <= 1 else place), sharp >= RAGGED_SHARPNESS, begun


def _beyond_text(
    strong: UInt8[np.ndarray, "row column"], rows: Int[np.ndarray, "occupied"], place: int
) -> int:
    """A side moved inwards past a line of text that hangs on to the region by compression noise.

    Text leaves gaps, so it fills less of its columns than skin or tissue do, and an emptier strip parts it
    from the echo.
    """
    size = text_px(*strong.shape)
    filled = strong[rows, place : place + 3 * size].mean(axis=0) if len(rows) else np.zeros(0)
    empty = np.flatnonzero(filled[: 2 * size] < 0.12)
    if not len(empty) or len(filled) < 3 * size:
        return place
    gap = int(empty[-1])
    is_text = 0.2 < filled[:gap].max(initial=0.0) < 0.8
    return place + gap + 1 if is_text and filled[gap + 1 : gap + size].mean() > 0.5 else place


def _begun(mask: UInt8[np.ndarray, "row column"]) -> Begun:
    """The rows with something in them, and where each begins."""
    first = mask.argmax(axis=1)
    rows = np.flatnonzero(mask[np.arange(len(mask)), first])
    return rows, first[rows]


def _straight(first: Int[np.ndarray, "occupied"], agreeing_ratio: float, *, is_fan: bool) -> int | None:
    """Where most rows begin, if most agree."""
    if not len(first):
        return None
    counts = _alike(first, 2)
    agreed = int(counts.argmax())
    if counts[agreed] < agreeing_ratio * len(first) or (first < agreed - 2).mean() > MAX_OUTSIDE_RATIO:
        return None
    agreeing = first[np.abs(first - agreed) <= 2]
    if is_fan:
        return _middle(agreeing)
    # A ruler or grey bar beside the edge begins at a place of its own: the sharper of the two is the edge.
    counts = _alike(first, 1)
    sharpest = int(counts.argmax())
    if abs(sharpest - agreed) <= 2 and counts[sharpest] >= agreeing_ratio * len(first):
        agreeing = first[np.abs(first - sharpest) <= 1]
    # An edge that leans a little would be cut by the middle of all its rows: its outermost third counts.
    third = -(-len(agreeing) // 3)
    return min(_middle(agreeing[start : start + third]) for start in range(0, len(agreeing), third))


def _middle(values: Int[np.ndarray, "occupied"]) -> int:
    """The lower median."""
    half = (len(values) - 1) // 2
    return int(np.partition(values, half)[half])


def _alike(first: Int[np.ndarray, "occupied"], reach: int) -> Int[np.ndarray, "place"]:
    """How many rows begin within so many pixels of each place."""
    width = 2 * reach + 1
    return np.convolve(np.bincount(first, minlength=width), np.ones(width, np.int64), "same")


def _shallow_step(first: Int[np.ndarray, "occupied"], place: int, text: int) -> int:
    """A side moved inwards past a few rows that stick out no further than text does.

    Fewer rows need to agree than on an edge: echo that fades towards a side ends at many places, not in a
    step.
    """
    inner = _straight(first, STEP_RATIO, is_fan=False)
    return inner if inner is not None and 2 < inner - place <= text else place


def _beyond_label(
    rows: Int[np.ndarray, "occupied"],
    first: Int[np.ndarray, "occupied"],
    grey: UInt8[np.ndarray, "down across"],
    place: int,
) -> int:
    """A side moved inwards past a box of text in a corner of the picture.

    The box sticks out at one end of the side with a straight edge of its own, further than text is high,
    while most other rows begin together; and it is ink on an even, brighter ground, as tissue never is.
    """
    if not len(rows):
        return place
    agreed = int(_alike(first, 2).argmax())
    outside = np.flatnonzero(first < agreed - 2)
    if not 0.05 < len(outside) / len(first) <= MAX_LABEL_RATIO:
        return place
    at_end = outside[0] <= 2 or outside[-1] >= len(first) - 3
    edge = int(np.median(first[outside]))
    is_box = np.ptp(outside) < 1.1 * len(outside) and (np.abs(first[outside] - edge) <= 2).mean() >= 0.8
    others = np.abs(np.delete(first, outside) - agreed) <= 2
    if not at_end or not is_box or agreed - edge < text_px(*grey.shape) or others.mean() < 0.5:
        return place
    label = grey[rows[outside], edge + 1 : agreed - 1]
    levels = np.convolve(np.bincount(label.ravel(), minlength=256), np.ones(2 * LABEL_LEVELS + 1), "same")
    ground = int(levels.argmax())
    ink = (np.abs(label.astype(np.int16) - ground) > INK_LEVELS).mean()
    is_label = levels[ground] >= MIN_LABEL_GROUND * label.size and ground > STRONG_LEVELS and ink >= 0.05
    return _middle(first[np.abs(first - agreed) <= 2]) if is_label else place


def completed_fan(
    hull: UInt8[np.ndarray, "height width"], region: EchoRegion, fan: Fan, *, faded_side: int = 0
) -> UInt8[np.ndarray, "height width"]:
    """The outline, completed by a fan of known depth where echo fades before the fan ends.

    Args:
        hull: what is seen.
        region: where its echo is.
        fan: its geometry.
        faded_side: -1 or 1 where the left or right side is known to fade (`fan_symmetry.mirrored_fan`).
    """
    if fan.far_px is None:
        return hull
    ideal = fan.inside(*hull.shape).astype(np.uint8)
    ideal[: bounds(hull)[0]] = 0
    ideal = _convex(ideal)
    size = text_px(*hull.shape)
    roomy = cv2.dilate(ideal, np.ones((size, size), np.uint8))
    if (hull & roomy).sum() < 0.97 * hull.sum() or (hull & ideal).sum() < 0.75 * ideal.sum():
        return hull
    # The pointed ends of a fan are as thin as text: what is seen of them inside the fan belongs to it.
    reach = cv2.dilate(hull, np.ones((4 * size + 1,) * 2, np.uint8)) > 0
    tips = (region.foreground > 0) & (ideal > 0) & reach
    hull = _convex(((hull > 0) | tips).astype(np.uint8))
    ideal[bounds(hull)[1] :] = 0
    deep = cv2.erode(ideal, np.ones((size, size), np.uint8), borderValue=1) > 0
    outline = (hull > 0) & (cv2.erode(hull, np.ones((3, 3), np.uint8), borderValue=1) == 0)
    reached = cv2.dilate(region.echo, np.ones((3, 3), np.uint8))
    middle = min(max(round(fan.apex_px[1]), 0), hull.shape[1])
    halves = {-1: slice(0, middle), 1: slice(middle, hull.shape[1])}
    fades = {}
    for side, half in halves.items():
        inner = outline[:, half] & deep[:, half]
        ragged = inner.sum() >= size and reached[:, half][inner].mean() < RAGGED_SHARPNESS
        fades[side] = side == faded_side or ragged
    left, right = bounds(hull)[2:]
    for side, half in halves.items():
        if not fades[side]:
            continue
        # A fan that is cut upright on the side that is seen is cut so on the other.
        if not fades[-side] and left > 1 and right < hull.shape[1] - 1:
            cut = slice(max(0, 2 * middle - right), 2 * middle - left)
            half = slice(max(half.start, cut.start), min(half.stop, cut.stop))
        hull[:, half] |= ideal[:, half]
    return _convex(hull)
