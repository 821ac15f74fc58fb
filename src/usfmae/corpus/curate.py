"""From the frames of one file to the pictures that a pool keeps: echo only, one view each, marks filled.

Everything here is asked for by a setting of `BuildConfig`; without any, a frame is kept as it is, unless it
comes from DICOM: those are always freed of names (`images.private`). Hashes and
fingerprints are taken of the frame as the file has it (`Kept.seen`), so a pool that was cleaned still knows
an evaluation image when it sees one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool

from usfmae.corpus.config import BuildConfig
from usfmae.images.b_mode import why_no_b_mode
from usfmae.images.clean import clean_frame
from usfmae.images.dual_view import split_views
from usfmae.images.frame import Frame
from usfmae.images.marks import static_marks
from usfmae.images.private import without_identity
from usfmae.images.sector import Sector, crop_to_sector, find_sector

CLIP_FRAMES = 5
"""Frames of a clip that are looked at for what never changes."""


@dataclass(frozen=True, eq=False)
class Kept:
    """One picture for the pool."""

    frame: Frame
    """What is stored: cropped and cleaned as the settings say."""

    seen: Frame
    """The whole frame as the file has it."""

    top_px: int
    left_px: int
    """Where `frame` lies in `seen`."""

    sector: str | None
    """Fan, rectangle or whole; None where nobody looked for it."""

    marks: Bool[np.ndarray, "height width"]
    """Pixels of `frame` that were filled."""

    flags: tuple[str, ...]
    """What cleaning said of it: too_much_marked."""


@dataclass(frozen=True)
class Dropped:
    """A frame that is not kept."""

    reason: Literal["no_b_mode", "may_identify"]
    why: str
    frame_index: int


def curate(frames: Sequence[Frame], config: BuildConfig) -> Iterator[Kept | Dropped]:
    """Look at the frames of one file together and say what is kept of each, in order.

    The sector of a clip is that of its first frame, found with the help of others: it does not move while a
    clip is recorded. Frames of another size than the first are looked at by themselves.

    Args:
        frames: of one file, in order.
        config: what is to be done.

    Raises:
        MissingExtraError: a mode of cleaning needs a library that is not installed.
    """
    if not frames:
        return
    private = config.private == "all" or (config.private == "dicom" and frames[0].source.is_dicom)
    looks = config.crop == "sector" or config.only_b_mode or config.clean.mode != "none"
    if not (looks or private):
        yield from (_whole(frame) for frame in frames)
        return
    first = frames[0]
    step = max(1, len(frames) // CLIP_FRAMES)
    alike = [frame for frame in frames if frame.pixels.shape == first.pixels.shape]
    spread = alike[::step][:CLIP_FRAMES]
    common = find_sector(first, clip=spread[1:])
    static = static_marks([frame.pixels for frame in spread]) if len(spread) > 2 else None
    for frame in frames:
        same = frame.pixels.shape == first.pixels.shape
        sector = common if same else find_sector(frame)
        yield from _pictures(frame, sector, static if same else None, config, private=private)


def _whole(frame: Frame) -> Kept:
    nothing = np.zeros((frame.height, frame.width), dtype=bool)
    return Kept(frame, frame, 0, 0, None, nothing, ())


def _pictures(
    frame: Frame,
    sector: Sector | None,
    static: Bool[np.ndarray, "height width"] | None,
    config: BuildConfig,
    *,
    private: bool,
) -> Iterator[Kept | Dropped]:
    why = why_no_b_mode(frame, sector) if config.only_b_mode else None
    if why is not None:
        yield Dropped("no_b_mode", why, frame.source.frame_index)
        return
    if private:
        cleaned = without_identity(frame, config=config.clean, sector=sector, static=static)
    else:
        mask = None if sector is None else sector.mask
        cleaned = clean_frame(frame, config=config.clean, sector=mask, static=static)
    if "may_identify" in cleaned.flags:
        yield Dropped("may_identify", "text that may name a person is left in it", frame.source.frame_index)
        return
    flags = tuple(str(flag) for flag in cleaned.flags)
    marks = cleaned.mask & ("too_much_marked" not in cleaned.flags)
    if sector is None or config.crop == "none":
        kind = None if sector is None else sector.kind
        yield Kept(cleaned.frame, frame, 0, 0, kind, marks, flags)
        return
    views = split_views(frame, sector) if config.split_views else (sector,)
    for part in views:  # left to right
        top, left, height, width = part.box
        yield Kept(
            frame=crop_to_sector(replace(cleaned.frame, regions=frame.regions), part),
            seen=frame,
            top_px=top,
            left_px=left,
            sector=part.kind,
            marks=marks[top : top + height, left : left + width],
            flags=flags,
        )
