"""What is no B-mode image, and why: blank frames, report pages, text screens, spectra and M-mode strips.

Only what can be told surely is refused: text is thin, so no sector is found on it; paper is white; a spectrum
stands on one straight line with nothing on the other side. An M-mode strip looks like layered tissue; it is
known by DICOM's regions only.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from usfmae.images.frame import Frame, Grey
from usfmae.images.prepare import to_grey
from usfmae.images.sector import Sector

PROBE_PX = 192
"""Longer side of the shrunk picture that is judged."""

MIN_DEVIATION = 4.0
"""Grey levels; the flattest of 500 real frames of 15 sources has 14."""

MIN_SECTOR_RATIO = 0.03
"""Smallest part of the picture that a sector fills."""

PAPER_LEVEL, MAX_PAPER_RATIO = 240, 0.6
"""A picture of which so much is paper white is a page."""

INK_LEVELS = 40
"""A trace is brighter than its ground by more."""

TRACE_FORMATS = {2: "an M-mode strip", 3: "a Doppler spectrum", 4: "a wave form"}
"""DICOM's region formats that are no 2-D image."""


def why_no_b_mode(frame: Frame, sector: Sector | None) -> str | None:
    """The reason why a frame cannot be used as B-mode; None where it can.

    Args:
        frame: the whole picture.
        sector: what `images.sector.find_sector` found in it.
    """
    formats = {region.spatial_format for region in frame.regions}
    if formats & set(TRACE_FORMATS) and 1 not in formats:
        return f"holds only {TRACE_FORMATS[min(formats & set(TRACE_FORMATS))]}, says the file"
    grey = _probe(to_grey(frame.pixels))
    if float(grey.std()) < MIN_DEVIATION:
        return "is blank or nearly uniform"
    if (grey >= PAPER_LEVEL).mean() > MAX_PAPER_RATIO:
        return "is a white page (a report or a photograph of one)"
    if sector is None or sector.mask.mean() < MIN_SECTOR_RATIO:
        return "shows no region of echoes, only margin, text or thin things"
    top, left, height, width = sector.box
    echo = _probe(to_grey(frame.pixels[top : top + height, left : left + width]))
    if _is_spectrum(echo):
        return "is a Doppler spectrum without a 2-D image"
    return None


def _probe(grey: Grey) -> UInt8[np.ndarray, "small_height small_width"]:
    factor = PROBE_PX / max(grey.shape)
    if factor >= 1:
        return np.ascontiguousarray(grey)
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _is_spectrum(echo: Grey) -> bool:
    """Whether a low, wide region stands on one straight line, with nothing at all on the line's other side."""
    height, width = echo.shape
    if width < 1.6 * height or height < 16:
        return False
    bright = echo > int(echo.min()) + INK_LEVELS
    filled: Float[np.ndarray, "row"] = bright.mean(axis=1)
    for rows in (filled, filled[::-1]):
        base = int(np.flatnonzero(rows > 0.5)[0]) if (rows > 0.5).any() else 0
        # From the line on, ever fewer columns reach further: a spectrum's envelope.
        beyond = rows[base:]
        falls = len(beyond) > 8 and float(beyond[: len(beyond) // 4].mean()) > 2 * float(beyond[-len(beyond) // 4 :].mean())
        if base > 0.1 * height and rows[: base - 2].max(initial=0.0) < 0.02 and falls:
            return True
    return False
