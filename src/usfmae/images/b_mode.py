"""What is no B-mode image, and why: blank frames, report pages, text screens, spectra and M-mode strips.

Only what can be told surely is refused: text is thin and stands in lines on a flat ground; paper is
white; spectra and M-mode strips show the same beat again and again (`not_echo.py`). An M-mode strip without
a beat looks like layered tissue; it is known by DICOM's regions only.
"""

from usfmae.images.frame import Frame
from usfmae.images.grey import to_grey
from usfmae.images.not_echo import is_strip, is_text, probe
from usfmae.images.sector import Sector

MIN_DEVIATION = 4.0
"""Grey levels; the flattest of 500 real frames of 15 sources has 14."""

MIN_SECTOR_RATIO = 0.03
"""Smallest part of the picture that a sector fills."""

PAPER_LEVEL, MAX_PAPER_RATIO = 240, 0.6
"""A picture of which so much is paper white is a page."""

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
    grey = probe(to_grey(frame.pixels))
    if float(grey.std()) < MIN_DEVIATION:
        return "is blank or nearly uniform"
    if (grey >= PAPER_LEVEL).mean() > MAX_PAPER_RATIO:
        return "is a white page (a report or a photograph of one)"
    if sector is None or sector.mask.mean() < MIN_SECTOR_RATIO:
        return "shows no region of echoes, only margin, text or thin things"
    top, left, height, width = sector.box
    box = (slice(top, top + height), slice(left, left + width))
    if is_strip(to_grey(frame.pixels[box]), is_fan=sector.fan is not None):
        return "is a Doppler spectrum or an M-mode strip without a 2-D image"
    if sector.kind != "whole" and is_text(to_grey(frame.pixels[box])):
        return "is a screen of text"
    return None
