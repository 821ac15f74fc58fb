"""A picture inside an HTML page, as data."""

from base64 import b64encode
from html import escape

import cv2
import numpy as np
from jaxtyping import UInt8


def picture(pixels: UInt8[np.ndarray, "height width"], *, said: str) -> str:
    """A grey image inside the page, as PNG."""
    done, code = cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 9))
    assert done
    data = b64encode(code.tobytes()).decode()
    height, width = pixels.shape
    return f'<img src="data:image/png;base64,{data}" alt="{escape(said)}" width="{width}" height="{height}">'
