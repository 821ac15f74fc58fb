"""How much two fingerprints look alike, once one is laid over the other as well as can be.

A region of a fingerprint is described by its cosine spectrum: the lowest frequencies without the constant,
each weighted with its frequency, which evens out the fall of natural spectra so that what all pictures of a
scanner share (bright top, dark bottom, the sector) does not decide. The likeness of two regions is the cosine
of the angle between their spectra: brightness and contrast leave it as it is, and mirroring only changes the
sign of the odd frequencies across.

Where one picture is a crop of the other its exact place is unknown. The spectrum moves along four tangents
when the four edges of the region move (tangent distance; Simard et al. 1993, "Efficient Pattern Recognition
Using a New Transformation Distance"), so the place is found by Gauss-Newton steps.

Edges are counted in units of 1/440 of a side, 20 to a cell.
"""

from functools import cache

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from usfmae.images.fingerprint import CELLS

UNITS = 20 * CELLS
REACH = 76
"""Edges lie at most this many units (17 % of the side) inside the picture."""

WHOLE = (0, UNITS, 0, UNITS)
"""Edges of a region: top, bottom, left, right."""

WITHOUT_BORDER = (20, UNITS - 20, 20, UNITS - 20)
"""All but the outermost ring of cells: what lies within a border of 5 % of the sides."""

WELL_INSIDE = (30, UNITS - 30, 30, UNITS - 30)
"""Half a cell further in, where a border that was resized or compressed does not shine through."""

CROP_STEP = 22
CROPS = tuple(
    (top, top + 396, left, left + 396) for top in range(0, 45, CROP_STEP) for left in range(0, 45, CROP_STEP)
)
"""Nine crops of 90 % of the sides; any other lies within 2.5 % of one of them."""

COARSE, FINE = 8, 11
"""Highest frequency, in half-waves per region, of the spectra to search and to decide with."""

SLACK = 20
"""Edges move at most this many units (4.5 % of the side) from where they were expected."""

TANGENT = 2
"""Units by which an edge is moved to see how the spectrum follows."""

Thumbs = UInt8[np.ndarray, "n 22 22"]
Boxes = Int64[np.ndarray, "n 4"]
Spectra = Float32[np.ndarray, "n frequency"]


def frequencies(highest: int) -> tuple[Int64[np.ndarray, " f"], Int64[np.ndarray, " f"]]:
    """The frequencies (down, across) of a spectrum, in half-waves per region, without the constant."""
    number = np.arange(highest + 1)
    square = number[:, None] ** 2 + number[None, :] ** 2
    down, across = np.nonzero((square > 0) & (square <= highest**2))
    return down, across


def mirror_signs(highest: int) -> Float32[np.ndarray, " f"]:
    """What a spectrum is multiplied with to become that of the mirrored region."""
    return np.where(frequencies(highest)[1] % 2, -1, 1).astype(np.float32)


def spectra(thumbs: Thumbs, boxes: Boxes, *, highest: int) -> Spectra:
    """The weighted spectra, not yet of length one, of one region of each fingerprint."""
    down, across = _waves(highest, boxes[:, 0], boxes[:, 1]), _waves(highest, boxes[:, 2], boxes[:, 3])
    return _spectra(down @ thumbs.astype(np.float32), down, across, highest)


def spectrum_matrix(box: tuple[int, int, int, int], *, highest: int) -> Float32[np.ndarray, "f cell"]:
    """The same for one region as a matrix that acts on the 484 cells of a fingerprint."""
    cells = np.eye(CELLS * CELLS, dtype=np.float32).reshape(-1, CELLS, CELLS)
    down = _waves(highest, np.array([box[0]]), np.array([box[1]]))
    across = _waves(highest, np.array([box[2]]), np.array([box[3]]))
    return np.ascontiguousarray(_spectra(down @ cells, down, across, highest).T)


def aligned_likeness(
    one: Thumbs,
    one_boxes: Boxes,
    other: Thumbs,
    other_boxes: Boxes,
    mirrored: Bool[np.ndarray, " n"],
    *,
    least: float,
) -> Float32[np.ndarray, " n"]:
    """The likeness of pairs of fingerprints, after the region of the second was moved to fit the first.

    Args:
        one: the first of each pair.
        one_boxes: its region, which stays.
        other: the second.
        other_boxes: where its region is expected, within `SLACK`.
        mirrored: whether the first is to be mirrored.
        least: pairs that are clearly below (by 0.08) after a step are not looked at further.

    Returns:
        1 for pictures that are the same but for brightness and contrast, about 0 for unrelated ones; what it
        was when the pair was given up.
    """  # fmt: skip
    fitted = other_boxes.copy()
    likeness = np.zeros(len(one), dtype=np.float32)
    active = np.arange(len(one))
    for highest in (COARSE, FINE, FINE):
        target = spectra(one[active], one_boxes[active], highest=highest)
        target = np.where(mirrored[active, None], target * mirror_signs(highest), target)
        fitted[active] = _moved(target, other[active], fitted[active], other_boxes[active], highest)
        likeness[active] = _cosine(target, spectra(other[active], fitted[active], highest=highest))
        active = active[likeness[active] >= least - 0.08]
    return likeness


def _moved(target: Spectra, thumbs: Thumbs, boxes: Boxes, expected: Boxes, highest: int) -> Boxes:
    """One Gauss-Newton step of the four edges."""
    here, tangents = _with_tangents(thumbs, boxes, highest)
    basis = np.concatenate([here[:, None], tangents], axis=1).astype(np.float64)
    normal = basis @ basis.transpose(0, 2, 1)
    edges = np.arange(1, 5)
    normal[:, edges, edges] *= 1.02  # a picture without detail does not say where its edges are
    every = np.arange(5)
    normal[:, every, every] += 1e-3
    best = np.linalg.solve(normal, basis @ target[:, :, None].astype(np.float64))[:, :, 0]
    gain = np.where(np.abs(best[:, :1]) < 1e-6, 1e-6, best[:, :1])
    steps = np.rint(np.clip(best[:, 1:] / gain, -13, 13)).astype(np.int64)
    return _within_reach(np.clip(boxes + steps, expected - SLACK, expected + SLACK))


def _with_tangents(
    thumbs: Thumbs, boxes: Boxes, highest: int
) -> tuple[Spectra, Float32[np.ndarray, "n 4 frequency"]]:
    """Spectra, and how they change per unit when the top, bottom, left or right edge moves down or right."""
    cells = thumbs.astype(np.float32)
    top, bottom, left, right = boxes.T
    down, across = _waves(highest, top, bottom), _waves(highest, left, right)
    rows = down @ cells
    here = _spectra(rows, down, across, highest)
    moved = []
    for lower, upper in ((TANGENT, 0), (0, -TANGENT)):
        other = _waves(highest, top + lower, bottom + upper)
        moved.append(_spectra(other @ cells, other, across, highest))
    for lower, upper in ((TANGENT, 0), (0, -TANGENT)):
        other = _waves(highest, left + lower, right + upper)
        moved.append(_spectra(rows, down, other, highest))
    signs = np.array([1, -1, 1, -1], dtype=np.float32)[None, :, None] / TANGENT
    return here, (np.stack(moved, axis=1) - here[:, None]) * signs


def _within_reach(boxes: Boxes) -> Boxes:
    starts, ends = np.clip(boxes[:, [0, 2]], 0, REACH), np.clip(boxes[:, [1, 3]], UNITS - REACH, UNITS)
    return np.stack([starts[:, 0], ends[:, 0], starts[:, 1], ends[:, 1]], axis=1)


def _cosine(one: Spectra, other: Spectra) -> Float32[np.ndarray, " n"]:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine: Float32[np.ndarray, " n"] = np.sum(one * other, axis=1) / np.maximum(lengths, 1e-6)
    return cosine


def _spectra(
    rows: Float32[np.ndarray, "n k cell"],
    down: Float32[np.ndarray, "... k cell"],
    across: Float32[np.ndarray, "... k cell"],
    highest: int,
) -> Spectra:
    """Spectra from cells that were multiplied with the waves downwards already, without the region's mean."""
    full = rows @ across.swapaxes(1, 2)
    flat = down.sum(axis=2)[:, :, None] * across.sum(axis=2)[:, None, :]
    full = full - flat * (full[:, :1, :1] / flat[:, :1, :1])
    u, v = frequencies(highest)
    weighted: Spectra = full[:, u, v] * np.hypot(u, v).astype(np.float32)
    return weighted


def _waves(
    highest: int, start: Int64[np.ndarray, " n"], end: Int64[np.ndarray, " n"]
) -> Float32[np.ndarray, "n k cell"]:
    """Cosines along a side from one edge to another, at the middles of the cells."""
    return _wave_table()[start, end - (UNITS - REACH), : highest + 1]


@cache
def _wave_table() -> Float32[np.ndarray, "start end k cell"]:
    """Every pair of edges within reach: 5 MB."""
    start = np.arange(REACH + 1)[:, None, None, None]
    end = np.arange(UNITS - REACH, UNITS + 1)[None, :, None, None]
    cell = UNITS // CELLS * np.arange(CELLS)
    inside = np.clip(np.minimum(end, cell + 20) - np.maximum(start, cell), 0, None)
    place = np.clip((cell + 10 - start) / (end - start), 0, 1)
    waves: Float32[np.ndarray, "start end k cell"] = (
        np.cos(np.pi * np.arange(FINE + 1)[None, None, :, None] * place) * inside / (end - start)
    ).astype(np.float32)
    return waves
