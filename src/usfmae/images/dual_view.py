"""Frames that show two sectors side by side, told apart."""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float

from usfmae.images.frame import Frame, Grey
from usfmae.images.grey import to_grey
from usfmae.images.sector import Sector, crop_to_sector, find_sector, of_box

MIN_VIEW_RATIO = 0.3
"""Each view takes up so much of the common width."""

GAP_RATIO = 0.9
"""Columns of a gap are dark in so many of their rows."""

MIN_SEAM_STEP = 3.0
"""Grey step across the seam of two abutting views, against the usual step between columns beside it."""

MIN_SEAM_ROWS = 0.75
"""Share of stretches of rows in which the seam is the sharpest step near by; tissue borders are not so
straight."""

MIN_LASTING_RATIO = 0.6
"""So much of the step is still there a few columns further."""

SEAM_REACH = 0.06
"""How far from the middle a seam is looked for, in widths: both views are equally wide."""

PROBE_PX = 256


def split_views(frame: Frame, sector: Sector) -> tuple[Sector, ...]:
    """The sectors of a dual view, left to right; the sector itself, alone, where there is one view.

    DICOM's regions decide where the file has two 2-D regions side by side. Elsewhere views are parted by
    a dark strip from top to bottom near the middle, or abut in a seam: one column, half way across, where
    the picture changes abruptly all the way down.

    Args:
        frame: the whole picture.
        sector: what `images.sector.find_sector` found in it.
    """
    told = sorted((region.box for region in frame.regions if region.is_tissue_2d), key=lambda box: box[1])
    if len(told) == 2 and told[0][1] + told[0][3] <= told[1][1] + 0.05 * told[1][3]:
        return tuple(of_box(box, frame) for box in told)
    top, left, height, width = sector.box
    grey = to_grey(frame.pixels[top : top + height, left : left + width])
    factor = max(1.0, max(height, width) / PROBE_PX)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA)) if factor > 1 else grey
    if min(small.shape) < 32:
        return (sector,)
    parting = _gap(small) or _seam(small)
    if parting is None:
        return (sector,)
    end, start = (round(column * width / small.shape[1]) for column in parting)
    views = [_view(frame, (top, left, height, end)), _view(frame, (top, left + start, height, width - start))]
    return tuple(views)


def _view(frame: Frame, box: tuple[int, int, int, int]) -> Sector:
    """The sector inside a box of a frame, as a sector of the whole frame."""
    part = of_box(box, frame)
    found = find_sector(replace(crop_to_sector(frame, part), regions=()))
    if found is None or found.box[2] * found.box[3] < 0.5 * box[2] * box[3]:
        return part
    mask = np.zeros((frame.height, frame.width), bool)
    mask[box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = found.mask
    place = (box[0] + found.box[0], box[1] + found.box[1], found.box[2], found.box[3])
    fan = found.fan.scaled(1.0, top_px=box[0], left_px=box[1]) if found.fan else None
    kind = "rectangle" if found.kind == "whole" else found.kind
    return Sector(kind, place, mask, fan)


def _gap(grey: Grey) -> tuple[int, int] | None:
    """First and last column (after the end) of a dark strip that parts the picture near its middle."""
    width = grey.shape[1]
    dark = (grey <= int(grey.min()) + 6).mean(axis=0) >= GAP_RATIO
    middle = np.flatnonzero(dark[int(MIN_VIEW_RATIO * width) : int((1 - MIN_VIEW_RATIO) * width)])
    if len(middle) < 2:
        return None
    start, end = (
        int(MIN_VIEW_RATIO * width) + int(middle[0]),
        int(MIN_VIEW_RATIO * width) + int(middle[-1]) + 1,
    )
    if not dark[start:end].all() or end - start > 0.2 * width:
        return None
    sides = [(grey[:, :start] > 20).mean(), (grey[:, end:] > 20).mean()]
    return (start, end) if min(sides) > 0.3 else None


def _seam(grey: Grey) -> tuple[int, int] | None:
    """The column at which two abutting views meet, twice; None where there is no seam."""
    width = grey.shape[1]
    smooth = cv2.blur(grey, (1, 5)).astype(np.float32)
    step: Float[np.ndarray, "row column"] = np.abs(np.diff(smooth, axis=1))
    reach = max(2, round(SEAM_REACH * width))
    middle = width // 2
    near = slice(middle - 1 - reach, middle + reach)
    mean_step = step.mean(axis=0)
    column = near.start + int(mean_step[near].argmax())
    around = np.median(mean_step[max(0, column - width // 6) : column + width // 6])
    if mean_step[column] < MIN_SEAM_STEP * max(float(around), 1.0):
        return None
    before, after = smooth[:, column - 3 : column], smooth[:, column + 2 : column + 5]
    lasting = np.abs(after.mean(axis=1) - before.mean(axis=1)).mean()
    if lasting < MIN_LASTING_RATIO * mean_step[column]:  # a bright line drawn down the picture
        return None
    bands = np.array_split(step[:, near], 12, axis=0)
    at_seam = [abs(int(band.mean(axis=0).argmax()) + near.start - column) <= 1 for band in bands]
    return (column + 1, column + 1) if np.mean(at_seam) >= MIN_SEAM_ROWS else None
