"""Frames that a scanner wrote a person's name into: nothing outside of the echo stays, and no text inside.

Scanners burn names, numbers and dates into the picture, most of all into the banner above the echo. Finding
every letter is not certain; what lies outside the sector is no echo, so it goes without being looked at.
Inside, text is filled, looked for again, and a frame that keeps any is not to be used.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from usfmae.images.clean import CleanConfig, Cleaned, clean_frame
from usfmae.images.frame import Frame
from usfmae.images.marks import LONGEST_PX, MarkBox, find_marks
from usfmae.images.sector import Sector

ROUNDS = 2
"""How often text is looked for and filled before a frame is given up."""

LEGIBLE_PX = (5, 8)
"""Text that is less tall or less wide, in a frame of at most `marks.LONGEST_PX`, cannot be read."""


def without_identity(
    frame: Frame, *, config: CleanConfig, sector: Sector | None, static: np.ndarray | None = None
) -> Cleaned:
    """Blacken what is no echo, fill text in what is, and say whether any is left.

    Args:
        frame: any size.
        config: limits of filling; its mode is taken for "ours" where it is "none".
        sector: where the echo is; None where nobody found any: then only text is taken out.
        static: as for `clean_frame`.

    Returns:
        The frame, the pixels that were filled (not those blackened), and the flag "may_identify" where text
        that can be read is left. With "too_much_marked" nothing was filled inside, as in `clean_frame`.

    Raises:
        MissingExtraError: `config` asks for a mode that needs the text reader.
    """
    if config.mode == "none":
        config = config.model_copy(update={"mode": "ours"})
    inside = None if sector is None else sector.mask
    echo = None if sector is None or sector.kind == "whole" else sector.mask
    seen = _blackened_but(frame, echo)
    filled = np.zeros((frame.height, frame.width), bool)
    for _ in range(ROUNDS):
        cleaned = clean_frame(seen, config=config, sector=inside, static=static)
        marked = cleaned.mask if echo is None else cleaned.mask & echo
        if cleaned.flags:
            return Cleaned(seen, filled | marked, cleaned.flags)
        # What is filled on the border of the echo may reach a pixel beyond it.
        seen, filled = _blackened_but(cleaned.frame, echo), filled | marked
        if not any(_can_be_read(box, frame) for box in find_marks(seen.pixels, sector=inside).boxes):
            return Cleaned(seen, filled, ())
    return Cleaned(seen, filled, ("may_identify",))


def _blackened_but(frame: Frame, echo: Bool[np.ndarray, "h w"] | None) -> Frame:
    """Black where no echo is; as it is where nobody knows."""
    if echo is None:
        return frame
    pixels = frame.pixels.copy()
    pixels[~echo] = 0
    return replace(frame, pixels=pixels)


def _can_be_read(box: MarkBox, frame: Frame) -> bool:
    scale = max(1.0, max(frame.height, frame.width) / LONGEST_PX)
    return box.kind == "text" and box.height >= LEGIBLE_PX[0] * scale and box.width >= LEGIBLE_PX[1] * scale
