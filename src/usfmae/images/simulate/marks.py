"""What scanners burn into pictures: calipers at the lesion, words, a grey bar, a depth scale."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from usfmae.images.simulate.device import Device
from usfmae.images.simulate.scan import image_grid

WORDS = ("L 2H", "R 10H", "MAMA D", "MAMA E", "QSE", "QIE", "SAG", "TRV", "LT BREAST", "RT BREAST", "AXILLA")


def draw_marks(
    pixels: UInt8[np.ndarray, "height width"],
    lesion_mask: Bool[np.ndarray, "height width"],
    *,
    device: Device,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "height width"]:
    """A copy with marks on it; which ones does not depend on the kind of lesion.

    Args:
        pixels: the picture.
        lesion_mask: calipers go to its ends.
        device: gives the depth scale.
        rng: draws which marks, words and places.
    """
    marked, bright = pixels.copy(), int(rng.integers(170, 256))
    height, width = pixels.shape
    if rng.random() < 0.6:
        place = (int(rng.uniform(0.02, 0.6) * width), int(rng.uniform(0.75, 0.97) * height))
        words = str(rng.choice(WORDS))
        cv2.putText(marked, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, bright, 1, cv2.LINE_AA)
    if rng.random() < 0.5:
        _depth_scale(marked, device, bright)
    if rng.random() < 0.3:
        _grey_bar(marked)
    if rng.random() < 0.5 and lesion_mask.any():
        _calipers(marked, lesion_mask, bright, down=bool(rng.random() < 0.6))
    return marked


def _depth_scale(pixels: UInt8[np.ndarray, "height width"], device: Device, bright: int) -> None:
    """A tick per centimetre at the left edge."""
    for row in np.arange(0, device.imaging_depth_mm, 10) / image_grid(device).pixel_mm + device.margin_px[0]:
        cv2.line(pixels, (1, round(row)), (4, round(row)), bright, 1)


def _grey_bar(pixels: UInt8[np.ndarray, "height width"]) -> None:
    height, width = pixels.shape
    top, length = height // 20, height // 4
    pixels[top : top + length, width - 7 : width - 3] = np.linspace(255, 0, length).astype(np.uint8)[:, None]


def _calipers(
    pixels: UInt8[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    bright: int,
    *,
    down: bool,
) -> None:
    """Crosses at the left and right end of the mask, and at its top and bottom if `down`."""
    rows, columns = np.nonzero(mask)
    ends = [int(columns.argmin()), int(columns.argmax())]
    if down:
        ends += [int(rows.argmin()), int(rows.argmax())]
    for end in ends:
        place = (int(columns[end]), int(rows[end]))
        cv2.drawMarker(pixels, place, bright, cv2.MARKER_CROSS, 7, 1)
