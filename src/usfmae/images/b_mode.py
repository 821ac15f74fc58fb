"""What is no B-mode image, and why: blank frames, report pages, text screens, spectra and M-mode strips.

Only what can be told surely is refused: text is thin and stands in lines on a flat ground; paper is
white; a spectrum fades upwards from its base line, where tissue never begins. An M-mode strip looks like
layered tissue; it is known by DICOM's regions only.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from usfmae.images.frame import Frame, Grey
from usfmae.images.grey import to_grey
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
"""A trace, and ink, differ from their ground by more."""

MIN_GROUND_RATIO, MIN_TEXT_LINES = 0.4, 4
"""A screen of text is one exact level in so much of it, and has at least so many lines."""

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
    box = (slice(top, top + height), slice(left, left + width))
    if sector.fan is None and _is_spectrum(_probe(to_grey(frame.pixels[box]))):
        return "is a Doppler spectrum without a 2-D image"
    if sector.kind != "whole" and _is_text(to_grey(frame.pixels[box])):
        return "is a screen of text"
    return None


def _probe(grey: Grey) -> UInt8[np.ndarray, "small_height small_width"]:
    factor = PROBE_PX / max(grey.shape)
    if factor >= 1:
        return np.ascontiguousarray(grey)
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _is_text(echo: Grey) -> bool:
    """Whether a region is flat ground with thin strokes on it, in lines parted by empty rows."""
    ground = int(np.bincount(echo.ravel(), minlength=256).argmax())
    off = cv2.absdiff(echo, np.full_like(echo, ground))
    if float((off <= 3).mean()) < MIN_GROUND_RATIO:
        return False
    ink = (off > INK_LEVELS).astype(np.uint8)
    thick = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    empty = (off <= INK_LEVELS).mean(axis=1) > 0.99
    num_lines = int(np.count_nonzero(np.diff(empty.astype(np.int8)) == -1))
    return num_lines >= MIN_TEXT_LINES and float(thick.sum()) < 0.02 * float(ink.sum())


def _is_spectrum(echo: Grey) -> bool:
    """Whether a low, wide region is full at its lower edge and nearly empty at its upper one.

    That is a spectrum's envelope over its base line. Tissue is brightest at the skin; a spectrum below
    its line looks like fading tissue and is not told.
    """
    height, width = echo.shape
    if width < 1.6 * height or height < 16:
        return False
    filled: Float[np.ndarray, row] = (echo > int(echo.min()) + INK_LEVELS).mean(axis=1)
    upper, lower = filled[: height // 4], filled[-height // 4 :]
    return (
        float(lower.mean()) > 0.5 and float(upper.mean()) < 0.25 and float(filled[: height // 8].max()) < 0.3
    )
