"""What is no B-mode image, and why: blank frames, report pages, text screens, spectra and M-mode strips.

Only what can be told surely is refused. Echo is grey, dense and speckled, in a sector that is not a
low strip; text is two-valued and thin, paper is white, a spectrum hangs on one straight line.
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
"""Grey levels; the flattest real frame in 5,900 of 15 sources has more."""

MIN_SECTOR_RATIO = 0.03
"""Smallest part of the picture that a sector fills."""

PAPER_LEVEL, MAX_PAPER_RATIO = 240, 0.6
"""A picture of which so much is paper white is a page."""

MAX_TWO_VALUED_RATIO = 0.94
"""Text screens consist of one ground and one ink; even saturated echo has more between."""

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
    if sector is None or sector.mask.mean() < MIN_SECTOR_RATIO:
        return "shows no region of echoes, only margin, text or thin things"
    top, left, height, width = sector.box
    echo = _probe(to_grey(frame.pixels[top : top + height, left : left + width]))
    if (echo >= PAPER_LEVEL).mean() > MAX_PAPER_RATIO:
        return "is a white page (a report or a photograph of one)"
    if _is_text(echo):
        return "is a screen of text"
    if _is_spectrum(echo):
        return "is a Doppler spectrum or an M-mode strip without a 2-D image"
    return None


def _probe(grey: Grey) -> UInt8[np.ndarray, "small_height small_width"]:
    factor = PROBE_PX / max(grey.shape)
    if factor >= 1:
        return np.ascontiguousarray(grey)
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _is_text(echo: Grey) -> bool:
    """Whether nearly all of a region is one flat ground, and the rest has sharp edges everywhere."""
    ground = int(np.bincount(echo.ravel(), minlength=256).argmax())
    off = cv2.absdiff(echo, np.full_like(echo, ground))
    flat = cv2.dilate(off, np.ones((3, 3), np.uint8)) <= 3
    ink = off > 60
    if not 0.005 < ink.mean() < 0.35:
        return False
    # Text lines are parted by rows of pure ground; echo and its shadows have no such comb.
    empty = (off <= 12).mean(axis=1) > 0.97
    lines = int(np.count_nonzero(np.diff(empty.astype(np.int8)) == -1))
    return lines >= 4 and float(flat.mean()) > 0.4 and float(empty.mean()) > 0.2


def _is_spectrum(echo: Grey) -> bool:
    """Whether a region is columns of noise that stand on one line, dark on the other side of it.

    A spectrum changes quickly along time and little along velocity: neighbouring columns differ like strangers
    in their height while each is filled from the base line up.
    """
    height, width = echo.shape
    if width < 1.6 * height or height < 16:
        return False
    bright: UInt8[np.ndarray, "height width"] = (echo > max(30, int(np.percentile(echo, 60)))).astype(np.uint8)
    filled: Float[np.ndarray, "row"] = bright.mean(axis=1)
    base = int(filled.argmax())
    above, below = echo[: max(base - 2, 1)], echo[min(base + 3, height - 1) :]
    dark_side = min(float((side > 30).mean()) for side in (above, below) if side.shape[0] > 0.1 * height) if (
        min(above.shape[0], below.shape[0]) > 0.1 * height
    ) else 1.0
    return dark_side < 0.03 and 0.1 < float(bright.mean()) < 0.5
