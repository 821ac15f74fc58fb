"""Which pixels of a screen hold echoes: what is neither margin, nor panel, nor a small thing such as text.

Margins are found from the outside. Black that hangs together with the border is margin; so are flat grey
or white panels there. How dark "black" is depends on the picture: some scanners draw their weakest echoes
one grey level above the margin, and JPEG puts noise of several levels round everything. So several
thresholds are tried and the one is taken whose region has the sharpest outline: echo ends at the edge of
the sector like cut with a knife, but fades out raggedly inside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

from usfmae.images.frame import Grey

BLACK_TOLERANCES = (0, 2, 6)
"""Levels above the darkest of the border that still count as black, in the order in which they are tried."""

MAX_BLACK = 20
"""A margin that is brighter is a panel, and must be flat to count."""

MAX_PANELS = 4
MIN_PANEL_RATIO = 0.02
MIN_PANEL_BORDER_RATIO = 0.10
"""A panel fills so much of the picture, and so much of the picture's border."""

TEXT_RATIO = 0.035
"""Things narrower than this part of the longer side are text, rulers and bars."""

NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class EchoRegion:
    """Echo pixels of one picture and their convex outline."""

    echo: UInt8[np.ndarray, "height width"]
    """1 where a pixel belongs to a large thing that is not margin; holes may be echo-free tissue."""

    foreground: UInt8[np.ndarray, "height width"]
    """1 where a pixel is not margin: echo, text, rulers."""

    hull: UInt8[np.ndarray, "height width"]
    """1 inside the convex outline."""

    outline: Int[np.ndarray, "point 2"]
    """Corners of the outline in pixels, (down, across)."""

    sharpness: float
    """Share of the outline, away from the picture's border, along which there is echo right up to it."""


def find_echo(
    grey: Grey,
    *,
    moving: Bool[np.ndarray, "height width"] | None = None,
    vivid: Bool[np.ndarray, "height width"] | None = None,
) -> EchoRegion | None:
    """The echo region of a grey picture of moderate size; None where all is margin.

    Args:
        grey: at most about 400 px a side, so that thresholds in pixels mean what they should.
        moving: False where a clip stands still. What is still counts as margin if that makes the outline
            sharper: text does not move, but neither do the dimmest echoes.
        vivid: True where the picture has a colour of Doppler; that is no panel, however flat.
    """
    best, best_score = None, -1.0
    margins = list(_margins(grey, vivid))
    if moving is not None:
        margins += [margin | ~moving for margin in margins]
    for margin in margins:
        foreground = (~margin).astype(np.uint8)
        large = _large_things(foreground)
        if large is None:
            continue
        region = _with_outline(large, foreground)
        echo = region.echo
        covered, full = float(region.hull.sum()), float(foreground.sum())
        score = (
            region.sharpness
            + float(echo.sum()) / covered  # not riddled: dark tissue was not taken for margin
            + float((foreground & region.hull).sum()) / full  # and nothing large was left out
            + 0.3 * covered / grey.size
        )
        if score > best_score + 1e-9:
            best, best_score = region, score
    return best


def text_px(height: int, width: int) -> int:
    """Width below which a thing in a picture of this size is taken for text; at least 5."""
    return max(5, round(TEXT_RATIO * max(height, width)))


def _margins(
    grey: Grey, vivid: Bool[np.ndarray, "height width"] | None
) -> Iterator[Bool[np.ndarray, "height width"]]:
    """The margin under each tolerance; equal ones are given once."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    darkest = int(np.partition(border, len(border) // 50)[len(border) // 50])
    panels = _panels(grey, border)
    if vivid is not None:
        panels &= ~vivid
    last = -1
    for tolerance in BLACK_TOLERANCES:
        margin = panels
        if darkest <= MAX_BLACK:
            margin = panels | _touching_border((grey <= darkest + tolerance).astype(np.uint8))
        count = int(margin.sum())
        if count != last:
            yield margin
        last = count


def _panels(grey: Grey, border: UInt8[np.ndarray, "point"]) -> Bool[np.ndarray, "height width"]:
    """Flat areas of one level that begin at the border, or inside such an area that frames the picture."""
    spread = cv2.dilate(grey, NEIGHBOURS) - cv2.erode(grey, NEIGHBOURS)
    share = np.bincount(grey[spread <= 3], minlength=256) / grey.size
    near = np.convolve(share, np.ones(3), "same")
    around = np.convolve(share, np.ones(15), "same")
    on_border = np.convolve(np.bincount(border, minlength=256) / len(border), np.ones(5), "same")
    # Echo of one level (a saturated or thresholded background) spreads over its neighbours; paint does not.
    candidates = np.flatnonzero((near >= MIN_PANEL_RATIO) & (share >= 0.6 * around))
    candidates = candidates[candidates > MAX_BLACK]
    chosen: list[int] = []
    framed = False
    for level in sorted(candidates.tolist(), key=lambda level: (-on_border[level], -near[level])):
        if len(chosen) == MAX_PANELS or any(abs(level - other) <= 4 for other in chosen):
            continue
        if on_border[level] >= MIN_PANEL_BORDER_RATIO or (framed and near[level] >= 0.08):
            chosen.append(level)
            framed = framed or on_border[level] >= 0.9
    if not chosen:
        return np.zeros(grey.shape, bool)
    flat, loose = np.zeros(grey.shape, np.uint8), np.zeros(grey.shape, np.uint8)
    for level in chosen:
        distance = cv2.absdiff(grey, np.full_like(grey, level))
        flat |= ((distance <= 2) & (spread <= 6)).astype(np.uint8)
        loose |= (distance <= 16).astype(np.uint8)
    # Rulers and frames drawn on a panel cut it into parts: they belong together across a gap of text size.
    kernel = np.ones((text_px(*grey.shape),) * 2, np.uint8)
    # A second shade of the panel lies between its lines of text, so near what is surely panel.
    near_flat = cv2.dilate(flat, kernel, iterations=2) > 0
    smooth = ((loose > 0) & (spread <= 12) & near_flat).astype(np.uint8)
    closed = cv2.morphologyEx(flat | smooth, cv2.MORPH_CLOSE, kernel)
    panel = np.where(_touching_border(closed), flat | smooth, np.uint8(0))
    grown = (cv2.dilate(panel, kernel) > 0) & (loose > 0)
    return np.asarray((panel > 0) | grown)


def _touching_border(mask: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The parts of a 0-or-1 mask that hang together with the picture's border."""
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    return np.asarray(framed[1:-1, 1:-1] == 2)


def _large_things(inside: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"] | None:
    """The largest thing in a mask without what is thin, and others that continue it; None where there is
    none.

    A second thing continues the first if it lies beside it at the same height and is not much smaller (a dual
    view), or above or below it between the same columns (a sector that an anechoic body cuts in two).
    """
    size = text_px(*inside.shape)
    kernel = np.ones((size, size), np.uint8)
    opened = cv2.morphologyEx(inside, cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    contours, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    areas = [cv2.contourArea(contour) for contour in contours]
    boxes = [cv2.boundingRect(contour) for contour in contours]
    first = int(np.argmax(areas))
    kept = [
        contours[i]
        for i in range(len(contours))
        if i == first
        or _continues(boxes[i], boxes[first], areas[i] / max(areas[first], 1.0), inside.shape[0])
    ]
    large = np.zeros_like(inside)
    cv2.drawContours(large, kept, -1, 1, cv2.FILLED)
    return large


def _continues(other: Sequence[int], first: Sequence[int], area_ratio: float, height: int) -> bool:
    """Whether a thing continues another; both as (left, top, width, height)."""
    left, top, width, tall = other
    first_left, first_top, first_width, first_tall = first
    rows = min(top + tall, first_top + first_tall) - max(top, first_top)
    columns = min(left + width, first_left + first_width) - max(left, first_left)
    beside = rows >= 0.7 * max(tall, first_tall) and area_ratio >= 0.3
    stacked = columns >= 0.8 * max(width, first_width) and tall >= 0.1 * height
    return beside or stacked


def _with_outline(
    large: UInt8[np.ndarray, "height width"], foreground: UInt8[np.ndarray, "height width"]
) -> EchoRegion:
    """Grow large things back to their own edges, and draw the outline round them.

    Sharpness is judged before growing, so that marks at the edge do not count.
    """
    size = text_px(*large.shape)
    echo = cv2.dilate(large, np.ones((size, size), np.uint8)) & foreground
    corners = _convex_corners(echo)
    hull = np.zeros_like(echo)
    cv2.fillConvexPoly(hull, corners, 1)
    return EchoRegion(
        echo, foreground, hull, corners.reshape(-1, 2)[:, ::-1].astype(np.int64), _sharpness(large)
    )


def _convex_corners(mask: UInt8[np.ndarray, "height width"]) -> Int[np.ndarray, "point ..."]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray(cv2.convexHull(np.concatenate(contours)))


def _sharpness(large: UInt8[np.ndarray, "height width"]) -> float:
    """Share of the convex outline that large things reach; drawn towards a half where little of it is seen.

    Where the outline is the picture's border it says nothing.
    """
    height, width = large.shape
    line = np.zeros_like(large)
    cv2.polylines(line, [_convex_corners(large)], True, 1)
    points = cv2.findNonZero(line).reshape(-1, 2)
    across, down = points[:, 0], points[:, 1]
    away = (down > 1) & (down < height - 2) & (across > 1) & (across < width - 2)
    reached = float(cv2.dilate(large, NEIGHBOURS)[down[away], across[away]].sum())
    unseen = 0.25 * len(points)
    return (reached + 0.5 * unseen) / (float(away.sum()) + unseen)
