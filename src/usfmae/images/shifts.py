"""Prepared pictures as another setting or device would have shown them: gain, contrast, blur and crop.

B-mode is log-compressed: grey values are decibels, from black at the lower end of the display range to
white at 0 dB (Szabo 2014, "Diagnostic Ultrasound Imaging: Inside Out", 2nd ed., ch. 10). So gain adds grey
values and the display range stretches them, each in dB. What a file shows is taken to span `RANGE_DB`, since
files do not say. A pixel that is 0 was below the display range, or outside of the picture, and stays 0:
nothing is known of it. Text and calipers are changed with the picture, which a scanner would not do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

RANGE_DB = 60.0
"""Display range that is assumed: black to white in dB; 50 to 70 are usual for small parts."""

MAX_GREY = 255


def gain(images: UInt8[np.ndarray, "n s s"], amount_db: float) -> UInt8[np.ndarray, "n s s"]:
    """Overall gain turned up or down: every grey value moves by `255 * amount_db / RANGE_DB`, clipped.

    Args:
        images: prepared grey pictures.
        amount_db: 6 dB are 25.5 grey values; 0 changes nothing.
    """
    return _through(images, _GREY + MAX_GREY * amount_db / RANGE_DB)


def contrast(images: UInt8[np.ndarray, "n s s"], range_db: float) -> UInt8[np.ndarray, "n s s"]:
    """Another display range: white stays white, and black lies `range_db` below it.

    Args:
        images: prepared grey pictures.
        range_db: fewer dB show more contrast and lose weak echoes; `RANGE_DB` changes nothing.

    Raises:
        ValueError: the range is not above 0.
    """
    if range_db <= 0:
        raise ValueError(f"a display range is more than 0 dB, got {range_db}")
    return _through(images, MAX_GREY - (MAX_GREY - _GREY) * RANGE_DB / range_db)


def blur(images: UInt8[np.ndarray, "n s s"], sigma_px: float) -> UInt8[np.ndarray, "n s s"]:
    """A Gaussian over each picture, mirrored at its edges: poorer resolution, or a picture that was enlarged.

    Args:
        images: prepared grey pictures.
        sigma_px: standard deviation in pixels of the prepared picture; 0 changes nothing.

    Raises:
        ValueError: a negative deviation.
    """
    if sigma_px < 0:
        raise ValueError(f"a Gaussian's deviation is not negative, got {sigma_px}")
    if sigma_px == 0:
        return images.copy()
    out = np.empty_like(images)
    for image, blurred in zip(images, out, strict=True):
        blurred[:] = cv2.GaussianBlur(image, (0, 0), sigma_px)
    return out


def crop(images: UInt8[np.ndarray, "n s s"], side_ratio: float) -> UInt8[np.ndarray, "n s s"]:
    """The central part of each picture at the size of the whole: less imaging depth, or a tighter cut.

    Args:
        images: prepared grey pictures.
        side_ratio: side of the part by that of the picture, cut at whole pixels. Below 1 it is enlarged
            (linearly), above 1 the picture is shrunk (by area) on black; 1 changes nothing.

    Raises:
        ValueError: the ratio is not above 0.
    """
    if side_ratio <= 0:
        raise ValueError(f"a part has a side, got a ratio of {side_ratio}")
    side = images.shape[1]
    wanted = max(1, round(side * min(side_ratio, 1 / side_ratio)))
    if wanted == side:
        return images.copy()
    first = (side - wanted) // 2
    middle = slice(first, first + wanted)
    out = np.zeros_like(images)
    for image, shown in zip(images, out, strict=True):
        if side_ratio > 1:
            shown[middle, middle] = cv2.resize(image, (wanted, wanted), interpolation=cv2.INTER_AREA)
        else:
            part = np.ascontiguousarray(image[middle, middle])
            shown[:] = cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR_EXACT)
    return out


@dataclass(frozen=True)
class Shift:
    """One way in which pictures change, with its unit and the amounts that are usual."""

    title: str
    """For people."""

    apply: Callable[[UInt8[np.ndarray, "n s s"], float], UInt8[np.ndarray, "n s s"]]
    """Changes pictures by an amount."""

    unit: str
    """Of the amount; empty for a ratio."""

    amounts: tuple[float, ...]
    """What is tried by default, without the neutral amount."""

    neutral: float
    """The amount that changes nothing."""

    limits: tuple[float, float]
    """Smallest and largest amount that makes sense."""

    means: str
    """What an amount is, in a sentence."""

    def words(self, amount: float) -> str:
        """An amount as people read it: "+6 dB", "0.5 px", "0.9"."""
        sign = "+" if self.limits[0] < 0 < amount else ""
        return f"{sign}{amount:g}{' ' if self.unit else ''}{self.unit}".replace("-", "\N{MINUS SIGN}")


SHIFTS: dict[str, Shift] = {
    "gain": Shift(
        title="Gain",
        apply=gain,
        unit="dB",
        amounts=(-12.0, -6.0, -3.0, 3.0, 6.0, 12.0),
        neutral=0.0,
        limits=(-60.0, 60.0),
        means=f"Overall gain in dB, where black to white spans {RANGE_DB:g} dB: 6 dB are 25.5 of 255 grey "
        "values.",
    ),
    "contrast": Shift(
        title="Contrast",
        apply=contrast,
        unit="dB",
        amounts=(40.0, 50.0, 70.0, 80.0),
        neutral=RANGE_DB,
        limits=(10.0, 200.0),
        means=f"Display range in dB; what is stored is taken for {RANGE_DB:g} dB. Fewer dB are harder, more "
        "are softer.",
    ),
    "blur": Shift(
        title="Blur",
        apply=blur,
        unit="px",
        amounts=(0.5, 1.0, 2.0, 4.0),
        neutral=0.0,
        limits=(0.0, 64.0),
        means="Standard deviation of a Gaussian, in pixels of the prepared picture.",
    ),
    "crop": Shift(
        title="Crop",
        apply=crop,
        unit="",
        amounts=(0.6, 0.7, 0.8, 0.9),
        neutral=1.0,
        limits=(0.1, 10.0),
        means="Side of the central part that is shown at the size of the whole picture, by the whole side.",
    ),
}
"""The shifts by name."""

_GREY: Float64[np.ndarray, " 256"] = np.arange(MAX_GREY + 1, dtype=np.float64)


def _through(
    images: UInt8[np.ndarray, "n s s"], wanted: Float64[np.ndarray, " 256"]
) -> UInt8[np.ndarray, "n s s"]:
    """Each grey value replaced by the wanted one, halves rounded up so that order is kept; 0 by 0."""
    table = np.clip(np.floor(wanted + 0.5), 0, MAX_GREY).astype(np.uint8)
    table[0] = 0
    changed: UInt8[np.ndarray, "n s s"] = table[images]
    return changed
