"""A fan of which one side fades: its geometry from the other side and the arcs.

A convex or phased transducer looks equally far to both sides unless it is steered. Called by
`images.sector` only; pixels are those of the shrunk picture that is analysed.
"""

import math

import numpy as np
from jaxtyping import Float

from usfmae.images.echo_region import EchoRegion
from usfmae.images.fan import Fan

FADED_RATIO, SURE_RATIO, MIN_LEAD = 0.7, 0.7, 0.25
"""A side fades if less of its line is an edge, and the other has `MIN_LEAD` more. Where neither is sure, the
arcs decide between them."""

SEARCH_RATIO = 0.25
"""The apex is looked for so far up and down the trusted side, against the height of the region."""

FAR_SHARE, NEAR_SHARE = 0.6, 0.35
"""An arc is judged by the narrowest range of radii that holds so much of the outline: the rest may be text or
fading, and above the near arc also the side that fades."""

MAX_ARC_SPREAD = 0.03
"""Both arcs are seen where that range is no wider, as a share of the radius of the far one."""

EDGE_PX = 3
"""An edge may lie so far from the line, as JPEG and shrinking blur it."""


def mirrored_fan(region: EchoRegion, fan: Fan) -> tuple[Fan, int] | None:
    """The symmetric fan that the better side and the arcs tell of, where a side fades.

    The apex lies on the line of the side that is seen, where the far arc looks most circular from; the other
    side then has the same angle.

    Returns:
        The fan, and the side that faded: -1 left, 1 right, 0 both a little. None where both sides are seen,
        or where an arc is not.
    """
    seen = {side: side_seen(region, fan, side) for side in (-1, 1)}
    left, right = seen[-1], seen[1]
    if left is None or right is None:
        return None
    better = -1 if left >= right else 1
    if min(left, right) < FADED_RATIO and abs(left - right) >= MIN_LEAD:
        found = _mirrored(region, fan, better)
        return None if found is None else (found[1], -better)
    if max(left, right) < SURE_RATIO:
        both = [found for side in (-1, 1) if (found := _mirrored(region, fan, side)) is not None]
        return (min(both, key=lambda found: found[0])[1], 0) if both else None
    return None


def _mirrored(region: EchoRegion, fan: Fan, side: int) -> tuple[float, Fan] | None:
    """How wide a range of radii holds the far arc, and the symmetric fan with that side; None where
    an arc is not seen."""
    degrees = abs(fan.left_deg if side < 0 else fan.right_deg)
    rows = np.flatnonzero(region.hull.any(axis=1))
    reach = SEARCH_RATIO * float(rows[-1] - rows[0])
    slant = side * math.tan(math.radians(degrees))
    downs = np.linspace(-reach, reach, 33) + fan.apex_px[0]
    for _ in range(2):
        apexes = np.stack([downs, fan.apex_px[1] + slant * (downs - fan.apex_px[0])], 1)
        far, spread = _arcs(_lower(region), apexes, degrees, region.hull.shape, FAR_SHARE)
        chosen = int(spread.argmin())
        downs = downs[chosen] + np.linspace(-1, 1, 17) * (downs[1] - downs[0])
    apex, far_px = apexes[chosen], float(far[chosen])
    near, near_spread = _arcs(_upper(region), apex[None], degrees, region.hull.shape, NEAR_SHARE)
    limit_px = MAX_ARC_SPREAD * far_px
    if not (spread[chosen] <= limit_px and near_spread[0] <= limit_px and near[0] < far_px < np.inf):
        return None
    found = Fan((float(apex[0]), float(apex[1])), -degrees, degrees, float(near[0]), far_px)
    return float(spread[chosen]), found


def side_seen(region: EchoRegion, fan: Fan, side: int) -> float | None:
    """How much of the line of the left (-1) or right (1) side is an edge of echo.

    None where too little of the line lies inside the picture.
    """
    angle = math.radians(fan.left_deg if side < 0 else fan.right_deg)
    rows = np.flatnonzero(region.hull.any(axis=1))
    near = fan.near_px if fan.near_px is not None else (rows[0] - fan.apex_px[0]) / math.cos(angle)
    far = fan.far_px if fan.far_px is not None else rows[-1] - fan.apex_px[0]
    along = np.arange(max(near, 0.0), far)
    height, width = region.echo.shape
    down, across = fan.apex_px[0] + along * math.cos(angle), fan.apex_px[1] + along * math.sin(angle)
    steps = np.arange(-EDGE_PX - 2, EDGE_PX + 2)
    margin = EDGE_PX + 3
    inside = (down > margin) & (down < height - margin) & (across > margin) & (across < width - margin)
    down, across = down[inside], across[inside]
    if len(down) < 0.5 * len(along) or len(down) < 10:
        return None
    inward = abs(math.sin(angle)), -side * math.cos(angle)
    echo = region.echo[
        np.rint(down[:, None] + steps * inward[0]).astype(int),
        np.rint(across[:, None] + steps * inward[1]).astype(int),
    ]
    outside, within = echo[:, :2].any(axis=1), echo[:, 2:].any(axis=1)
    return float((within & ~outside).mean())


def _upper(region: EchoRegion) -> Float[np.ndarray, "point 2"]:
    columns = np.flatnonzero(region.echo.any(axis=0))
    return np.stack([region.echo[:, columns].argmax(axis=0), columns], 1).astype(np.float64)


def _lower(region: EchoRegion) -> Float[np.ndarray, "point 2"]:
    columns = np.flatnonzero(region.echo.any(axis=0))
    rows = region.echo.shape[0] - 1 - region.echo[::-1, columns].argmax(axis=0)
    return np.stack([rows, columns], 1).astype(np.float64)


def _arcs(
    points: Float[np.ndarray, "point 2"],
    apexes: Float[np.ndarray, "apex 2"],
    degrees: float,
    size: tuple[int, int],
    share: float,
) -> tuple[Float[np.ndarray, "apex"], Float[np.ndarray, "apex"]]:
    """For each apex: the radius at which a share of an outline lies, and how wide a range holds it.

    Only points between the sides and inside the picture count; without enough of them the range is infinite.
    """
    offset = points[None] - apexes[:, None]
    angle = np.degrees(np.arctan2(offset[..., 1], np.maximum(offset[..., 0], 1e-6)))
    counts = (np.abs(angle) < 0.9 * degrees) & (points > 1).all(1) & (points < np.array(size) - 2).all(1)
    distance = np.sort(np.where(counts, np.hypot(offset[..., 0], offset[..., 1]), np.inf), axis=1)
    radius, spread = np.full(len(apexes), np.inf), np.full(len(apexes), np.inf)
    for k, total in enumerate(counts.sum(axis=1)):
        held = round(share * total)
        if held < 8:
            continue
        ranges = distance[k, held - 1 : total] - distance[k, : total - held + 1]
        first = int(ranges.argmin())
        radius[k], spread[k] = distance[k, first + held // 2], ranges[first]
    return radius, spread
