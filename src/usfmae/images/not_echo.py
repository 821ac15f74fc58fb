"""What looks like a region of echoes on a screen and is none: strips over time, and text.

An M-mode strip and a spectrum show the heart: the same picture again and again from left to right. Tissue
does not repeat (`MIN_BEATS`). A strip without a pulse (a lung in M-mode, a vein) is told only if it is a
spectrum that stands on its base line.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from usfmae.images.frame import Grey

PROBE_PX = 192
"""Longer side of the shrunk picture that is judged."""

INK_LEVELS = 40
"""A trace, and ink, differ from their ground by more."""

MIN_BEATS = 0.22
"""How alike a strip is to itself one and two beats later. Of 2,200 frames of B-mode of 15 sources the most
regular has 0.11, the spectrum of a real duplex frame 0.31."""

BEAT_RATIOS = (1 / 12, 1 / 2.4)
"""Shortest and longest beat, in widths of the strip: a longer one would not be seen twice."""

MIN_STRIP_PX = 64
"""Narrower regions are no strips over time."""

MIN_GROUND_RATIO, MIN_TEXT_LINES = 0.4, 4
"""A screen of text is one exact level in so much of it, and has at least so many lines."""

BLACK_LEVELS, EMPTY_RATIO = 10, 0.04
"""Rows between a 2-D image and a strip below it are brighter than black in less of their pixels."""

MIN_BAND_RATIO = 0.12
"""A strip is at least so high, against what it stands in."""


def is_strip(echo: Grey, *, is_fan: bool = False) -> bool:
    """Whether a region runs over time: an M-mode strip or a Doppler spectrum.

    Args:
        echo: the region, cut out of its frame.
        is_fan: it has the outline of a fan; then its beats alone count.
    """
    small = probe(echo)
    return (not is_fan and _is_spectrum(small)) or beats(small) >= MIN_BEATS


def strip_rows(echo: Grey, *, is_fan: bool = False) -> tuple[int, int] | None:
    """First row and the one after the last of a strip over time in a region; None where there is none.

    The strip stands below (or above) a 2-D image from which black rows part it, and is then told by its beats
    alone; or it is all of the region.

    Args:
        echo: the region, cut out of its frame.
        is_fan: it has the outline of a fan.
    """
    small = probe(echo)
    empty = (small > int(small.min()) + BLACK_LEVELS).mean(axis=1) < EMPTY_RATIO
    edges = np.flatnonzero(np.diff(np.concatenate([[True], empty, [True]]).astype(np.int8)))
    bands = edges.reshape(-1, 2)
    bands = bands[np.diff(bands, axis=1)[:, 0] >= MIN_BAND_RATIO * len(small)]
    scale = echo.shape[0] / len(small)
    for top, bottom in bands[::-1] if len(bands) > 1 else ():
        first, last = round(top * scale), round(bottom * scale)
        if beats(probe(echo[first:last])) >= MIN_BEATS:  # tissue below a shadow may look like a spectrum
            return first, last
    return (0, echo.shape[0]) if is_strip(echo, is_fan=is_fan) else None


def beats(small: UInt8[np.ndarray, "height width"]) -> float:
    """How periodic a picture is from left to right, at most 1; 0 where it is not.

    The autocorrelation along its rows, without their means, summed over rows: at each lag where it peaks, the
    smaller of that peak and the one at twice the lag.
    """
    width = small.shape[1]
    if width < MIN_STRIP_PX:
        return 0.0
    smooth = cv2.blur(small, (3, 3)).astype(np.float32)
    smooth -= smooth.mean(axis=1, keepdims=True)
    power = (np.abs(np.fft.rfft(smooth, 2 * width, axis=1)) ** 2).sum(axis=0)
    energy = np.concatenate([[0.0], np.cumsum((smooth**2).sum(axis=0))])
    lags = np.arange(width)
    both = energy[width - lags] * (energy[-1] - energy[lags])
    alike = np.fft.irfft(power, 2 * width)[:width] / np.sqrt(np.maximum(both, 1e-6))
    lowest = np.minimum.accumulate(alike)
    best = 0.0
    for lag in range(int(BEAT_RATIOS[0] * width), int(BEAT_RATIOS[1] * width)):
        is_peak = alike[lag] >= alike[lag - 1] and alike[lag] >= alike[lag + 1]
        if not is_peak or alike[lag] < max(lowest[lag], 0.0) + MIN_BEATS / 2:
            continue
        reach = max(2, lag // 6)
        again = alike[2 * lag - reach : min(2 * lag + reach + 1, int(0.9 * width))]
        best = max(best, min(float(alike[lag]), float(again.max(initial=0.0))))
    return best


def is_text(echo: Grey) -> bool:
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


def probe(grey: Grey) -> UInt8[np.ndarray, "small_height small_width"]:
    """A picture shrunk to the size at which it is judged; a smaller one as it is."""
    factor = PROBE_PX / max(grey.shape)
    if factor >= 1:
        return np.ascontiguousarray(grey)
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _is_spectrum(echo: UInt8[np.ndarray, "height width"]) -> bool:
    """Whether a low, wide region is full at its lower edge and nearly empty at its upper one.

    That is a spectrum's envelope over its base line. Tissue is brightest at the skin; a spectrum below
    its line looks like fading tissue and is told by its beats alone.
    """
    height, width = echo.shape
    if width < 1.6 * height or height < 16:
        return False
    filled: Float[np.ndarray, row] = (echo > int(echo.min()) + INK_LEVELS).mean(axis=1)
    upper, lower = filled[: height // 4], filled[-height // 4 :]
    return (
        float(lower.mean()) > 0.5 and float(upper.mean()) < 0.25 and float(filled[: height // 8].max()) < 0.3
    )
