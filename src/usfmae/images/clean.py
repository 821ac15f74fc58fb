"""The one way to clean a frame of burned-in marks: find them, fill them, say what was done.

Three modes: "none", "ours" (`marks` and `fill`), and "paper" (`paper_cleaning`), which is what USF-MAE did.
Cleaning is its own step before `prepare`; a frame that would lose too much of its echo is left as it is.
"""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from pydantic import Field

from usfmae.base.config import Config
from usfmae.images.fill import Fill, fill, grown
from usfmae.images.flow import coloured_ink
from usfmae.images.frame import Colour, Frame, Grey
from usfmae.images.marks import LONGEST_PX, find_marks
from usfmae.images.paper_cleaning import GROW_PX, PAPER_FILL, paper_mask
from usfmae.images.words import may_identify

TINT, TINT_REACH_PX = 10, 3
"""Coloured at least so much, and so near to a mark, a pixel is filled with it."""

Flag = Literal["too_much_marked", "may_identify"]


class CleanConfig(Config):
    """How burned-in marks are dealt with."""

    mode: Literal["none", "ours", "paper"] = "ours"
    """"paper" needs the text reader (extra `clean`)."""

    max_filled_ratio: float = Field(default=0.08, ge=0, le=1)
    """A frame of which more than this share of the sector would be filled is left unfilled and flagged."""

    grow_px: int = Field(default=0, ge=0, le=8)
    """Pixels that a found mark is grown by; per 416 pixels of the longest side in larger frames. The network
    marks the anti-aliased rim itself."""

    least_change: int = Field(default=10, ge=0, le=255)
    """Pixels of the doubtful rim of a mark that filling would change by fewer grey levels are left as they
    are. Not used by "paper"."""

    fill: Fill = "smooth"
    """How marked pixels get their new values; `benchmarks/marks.py` compares them."""

    read_words: bool = False
    """Read the text of frames that are left unfilled, to tell names from words like "LIVER" (extra `clean`).
    Without it, any text that is left may identify a person."""


@dataclass(frozen=True)
class Cleaned:
    """A frame after cleaning, and what happened to it."""

    frame: Frame
    """The frame; its pixels are new where `mask` is True and old elsewhere."""

    mask: Bool[np.ndarray, "height width"]
    """Pixels that were filled; with the flag "too_much_marked", those that would have been."""

    flags: tuple[Flag, ...]
    """"too_much_marked": nothing was filled, since it would have been too much of the sector.
    "may_identify": text stands in the frame that may name a person; drop it."""


def clean_frame(
    frame: Frame,
    *,
    config: CleanConfig,
    sector: Bool[np.ndarray, "_ _"] | None = None,
    static: Bool[np.ndarray, "_ _"] | None = None,
) -> Cleaned:
    """Take burned-in marks out of a frame.

    Marks outside the sector are filled as well, but only those inside count towards `max_filled_ratio`.

    Args:
        frame: any size, grey or colour; a colour frame stays one.
        config: mode and limits.
        sector: where the echo is; None for the whole frame.
        static: for a frame of a clip, what `marks.static_marks` found in it. Not used by "paper".

    Raises:
        ValueError: a mask is not of the frame's size.
        MissingExtraError: the mode is "paper" or `read_words` is set, and the text reader is not installed.
    """
    nothing = np.zeros((frame.height, frame.width), bool)
    if sector is not None and sector.shape != nothing.shape:
        raise ValueError(f"sector must be {frame.height} x {frame.width} like the frame, not {sector.shape}")
    if config.mode == "none":
        return Cleaned(frame, nothing, ())
    if config.mode == "paper":
        mask = grown(paper_mask(frame.pixels), GROW_PX)
        filled = fill(frame.pixels, mask, how=PAPER_FILL)
    else:
        marks = find_marks(frame.pixels, sector=sector, static=static)
        scale = max(1.0, max(frame.height, frame.width) / LONGEST_PX)
        mask = grown(marks.all, round(config.grow_px * scale))
        if frame.pixels.ndim == 3:  # JPEG spreads the colour of ink further than its brightness
            tint = coloured_ink(frame.pixels, marks.flow, least_difference=TINT)
            mask |= tint & grown(marks.all, round(TINT_REACH_PX * scale))
        mask &= ~marks.flow
        filled = fill(frame.pixels, mask, how=config.fill)
        wanted = marks.certain | (_change(frame.pixels, filled) >= config.least_change)
        mask &= wanted | tint if frame.pixels.ndim == 3 else wanted
        filled[~mask] = frame.pixels[~mask]
    share = float(mask.mean() if sector is None else (mask & sector).sum() / max(1, sector.sum()))
    if share <= config.max_filled_ratio:
        return Cleaned(replace(frame, pixels=filled), mask, ())
    if config.mode == "paper":
        marks = find_marks(frame.pixels, sector=sector)
    if may_identify(frame.pixels, marks.boxes, read_words=config.read_words):
        return Cleaned(frame, mask, ("too_much_marked", "may_identify"))
    return Cleaned(frame, mask, ("too_much_marked",))


def _change(pixels: Grey | Colour, filled: Grey | Colour) -> UInt8[np.ndarray, "height width"]:
    """Grey levels between two frames, of the channel that differs most."""
    change = cv2.absdiff(pixels, filled)
    return np.asarray(change if change.ndim == 2 else change.max(axis=2))
