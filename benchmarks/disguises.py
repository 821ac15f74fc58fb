"""The disguises that benchmarks/duplicates.py and benchmarks/audit.py plant copies in."""

from collections.abc import Callable

import cv2
import numpy as np

Disguise = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def resize(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half to double the size, evenly in its logarithm."""
    factor = 2 ** rng.uniform(-1, 1)
    size = max(8, round(grey.shape[1] * factor)), max(8, round(grey.shape[0] * factor))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def jpeg(grey: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """JPEG of quality 30."""
    return cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_GRAYSCALE)


def brightness(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """20 % darker or brighter, cut off at white."""
    return np.clip(np.rint(grey * rng.choice([0.8, 1.2])), 0, 255).astype(np.uint8)


def border(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """5 % of the sides added all around, in black, grey or white."""
    down, across = (max(1, round(0.05 * side)) for side in grey.shape)
    value = int(rng.choice([0, 128, 255]))
    return cv2.copyMakeBorder(grey, down, down, across, across, cv2.BORDER_CONSTANT, value=value)


def crop(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """90 % of both sides, anywhere."""
    height, width = (round(0.9 * side) for side in grey.shape)
    top = rng.integers(0, grey.shape[0] - height + 1)
    left = rng.integers(0, grey.shape[1] - width + 1)
    return grey[top : top + height, left : left + width]


def flip(grey: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Left and right change places."""
    return grey[:, ::-1]


DISGUISES: dict[str, tuple[Disguise, ...]] = {
    "resize": (resize,),
    "jpeg": (jpeg,),
    "brightness": (brightness,),
    "border": (border,),
    "crop": (crop,),
    "flip": (flip,),
    "resize jpeg brightness": (resize, jpeg, brightness),
    "flip resize jpeg": (flip, resize, jpeg),
    "crop flip": (crop, flip),
    "crop border": (crop, border),
    "crop flip jpeg brightness": (crop, flip, jpeg, brightness),
    "all six": (crop, flip, brightness, border, resize, jpeg),
}


def disguised(grey: np.ndarray, name: str, rng: np.random.Generator) -> np.ndarray:
    """A copy of a grey picture in one of `DISGUISES`."""
    for change in DISGUISES[name]:
        grey = np.ascontiguousarray(change(grey, rng))
    return grey
