"""The geometry of a fan: where its lines meet, between which angles and depths it looks."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from usfmae.images.echo_region import EchoRegion

MIN_SIDE_RATIO = 0.12
"""A side of a fan is a straight piece of outline at least so long, against the height of the region."""

MAX_SLANT, MIN_SLANT = 5.0, 0.04
"""Pixels across per pixel down of a side line: 157 degrees between them at most, and 5 at least."""

ARC_TOLERANCE_RATIO = 0.012
MIN_ARC_RATIO = 0.4
"""An arc is seen where so much of the outline lies within the tolerance, a share of the radius."""


@dataclass(frozen=True)
class Fan:
    """A convex or phased sector. Angles are against straight down, positive to the right."""

    apex_px: tuple[float, float]
    """Where the outer scan lines meet, (down, across); often above the picture."""

    left_deg: float
    right_deg: float
    """Directions of the outer scan lines."""

    near_px: float | None
    """Distance from the apex to the transducer's face; None where the picture does not show it."""

    far_px: float | None
    """Distance from the apex to the deepest echo; None where the picture does not show it."""

    def inside(self, height: int, width: int) -> Bool[np.ndarray, "height width"]:
        """True at the pixels of a picture that the fan covers; an unknown radius does not limit it."""
        down = np.arange(height, dtype=np.float32)[:, None] - np.float32(self.apex_px[0])
        across = np.arange(width, dtype=np.float32)[None, :] - np.float32(self.apex_px[1])
        distance, angle = np.hypot(down, across), np.degrees(np.arctan2(across, down))
        covered = (angle >= self.left_deg) & (angle <= self.right_deg)
        if self.near_px is not None:
            covered &= distance >= self.near_px
        if self.far_px is not None:
            covered &= distance <= self.far_px
        return np.asarray(covered)

    def scaled(self, factor: float, *, top_px: float = 0.0, left_px: float = 0.0) -> "Fan":
        """The same fan in a picture enlarged by `factor` and then moved down and right."""
        down, across = self.apex_px
        return Fan(
            ((down + 0.5) * factor - 0.5 + top_px, (across + 0.5) * factor - 0.5 + left_px),
            self.left_deg,
            self.right_deg,
            None if self.near_px is None else self.near_px * factor,
            None if self.far_px is None else self.far_px * factor,
        )


def fit_fan(region: EchoRegion) -> Fan | None:
    """Fit a fan that looks downwards; None where the outline has no two straight, converging sides.

    The sides are the longest straight pieces of the convex outline on the left and on the right, fitted
    by least squares to the echo's edge beside them. They meet in the apex. The radii are the distances
    from it that most of the lower and of the upper outline agree on, and unknown where they do not agree.
    """
    height, width = region.echo.shape
    sides = [_side(region, leaning) for leaning in (-1, 1)]
    if sides[0] is None or sides[1] is None:
        return None
    (left_slant, left_at), (right_slant, right_at) = sides[0], sides[1]  # across = at + slant * down
    if right_slant - left_slant < 0.1:
        return None
    apex_down = (left_at - right_at) / (right_slant - left_slant)
    apex = (apex_down, left_at + left_slant * apex_down)
    rows = np.flatnonzero(region.hull.any(axis=1))
    if apex_down > rows[0] + 0.5 * (rows[-1] - rows[0]):
        return None
    angles = (math.degrees(math.atan(left_slant)), math.degrees(math.atan(right_slant)))
    columns = np.flatnonzero(region.hull.any(axis=0))
    upper = region.echo[:, columns].argmax(axis=0)
    lower = height - 1 - region.hull[::-1, columns].argmax(axis=0)
    near = _radius(apex, angles, upper, columns, (height, width))
    far = _radius(apex, angles, lower, columns, (height, width))
    if near is not None and far is not None and near >= far:
        return None
    return Fan(apex, angles[0], angles[1], near, far)


def _side(region: EchoRegion, leaning: int) -> tuple[float, float] | None:
    """Slant and offset of the left (-1) or right (1) side: across = offset + slant * down."""
    height, width = region.echo.shape
    corners = cv2.approxPolyDP(region.outline[:, ::-1].astype(np.int32)[:, None], 1.5, True).reshape(-1, 2)[
        :, ::-1
    ]
    middle = float(region.outline[:, 1].min() + region.outline[:, 1].max()) / 2
    tall = int(region.outline[:, 0].max() - region.outline[:, 0].min()) + 1
    best, longest = None, MIN_SIDE_RATIO * tall
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        upper, lower = (start, end) if start[0] < end[0] else (end, start)
        down, across = int(lower[0] - upper[0]), int(lower[1] - upper[1])
        slant = across / max(down, 1)
        if not MIN_SLANT < slant * leaning < MAX_SLANT or ((upper[1] + lower[1]) / 2 - middle) * leaning < 0:
            continue
        on_border = max(upper[1], lower[1]) <= 1 or min(upper[1], lower[1]) >= width - 2
        if on_border or min(upper[0], lower[0]) >= height - 2:
            continue
        # The upper side of a sector faces up: below it lies echo.
        length = math.hypot(down, across)
        if length > longest and _faces_up(region, (upper + lower) / 2):
            best, longest = (upper, lower), length
    return None if best is None else _fit_side(region, *best)


def _faces_up(region: EchoRegion, point: Float[np.ndarray, "2"]) -> bool:
    """Whether the region lies below a point of its outline."""
    down, across = round(float(point[0])), round(float(point[1]))
    below, above = min(down + 4, region.hull.shape[0] - 1), max(down - 4, 0)
    return bool(region.hull[below, across]) and not region.hull[above, across]


def _fit_side(
    region: EchoRegion, upper: Int[np.ndarray, "2"], lower: Int[np.ndarray, "2"]
) -> tuple[float, float]:
    """Least squares through the echo's edge along one piece of outline."""
    count = int(np.hypot(*(lower - upper))) + 1
    down = np.linspace(upper[0], lower[0], count)
    across = np.linspace(upper[1], lower[1], count)
    slant = (lower[1] - upper[1]) / max(1, lower[0] - upper[0])
    normal = np.array([abs(slant), -np.sign(slant)]) / math.hypot(slant, 1.0)  # into the region
    steps = np.arange(-1, 4)
    rows = np.clip(np.rint(down[:, None] + steps * normal[0]).astype(int), 0, region.echo.shape[0] - 1)
    columns = np.clip(np.rint(across[:, None] + steps * normal[1]).astype(int), 0, region.echo.shape[1] - 1)
    hits = region.echo[rows, columns] > 0
    first = hits.argmax(axis=1)
    seen = hits.any(axis=1)
    if seen.sum() >= 8:
        down = (down + steps[first] * normal[0])[seen]
        across = (across + steps[first] * normal[1])[seen]
    direction = cv2.fitLine(np.stack([across, down], 1).astype(np.float32), cv2.DIST_HUBER, 0, 0.01, 0.01)
    along_across, along_down, at_across, at_down = (float(value) for value in direction.ravel())
    if abs(along_down) < 1e-6:
        return float(slant), float(across[0] - slant * down[0])
    fitted = along_across / along_down
    return fitted, at_across - fitted * at_down


def _radius(
    apex: tuple[float, float],
    angles: tuple[float, float],
    rows: Int[np.ndarray, "column"],
    columns: Int[np.ndarray, "column"],
    size: tuple[int, int],
) -> float | None:
    """Distance from the apex that most columns of an outline, given by its row in each, agree on; else
    None."""
    down, across = rows - apex[0], columns - apex[1]
    angle = np.degrees(np.arctan2(across, np.maximum(down, 1e-6)))
    margin = 0.05 * (angles[1] - angles[0])
    seen = (angle > angles[0] + margin) & (angle < angles[1] - margin)
    seen &= (rows > 1) & (rows < size[0] - 2) & (columns > 1) & (columns < size[1] - 2)
    if seen.sum() < max(6, 0.1 * len(columns)):
        return None
    distance = np.sort(np.hypot(down[seen], across[seen]))
    tolerance = 2 * max(2.0, ARC_TOLERANCE_RATIO * float(distance[len(distance) // 2]))
    within = np.searchsorted(distance, distance + tolerance, side="right") - np.arange(len(distance))
    first = int(within.argmax())
    if within[first] < MIN_ARC_RATIO * len(distance):
        return None
    return float(np.median(distance[first : first + within[first]]))
