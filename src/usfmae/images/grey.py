"""Colour to grey, in one way everywhere."""

import cv2
import numpy as np

from usfmae.images.frame import Colour, Grey


def to_grey(pixels: Grey | Colour) -> Grey:
    """Luma of red-green-blue pixels by ITU-R BT.601 (0.299, 0.587, 0.114); grey pixels as they are.

    Colour whose three channels are equal gives exactly that value, so a grey PNG and the same picture
    saved in colour prepare to the same bytes.
    """
    if pixels.ndim == 2:
        return pixels
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY))
