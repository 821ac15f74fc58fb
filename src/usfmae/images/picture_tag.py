"""A picture inside an HTML page, as data."""

from base64 import b64encode
from html import escape

import cv2
import numpy as np
from jaxtyping import UInt8


def picture(
    pixels: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"],
    *,
    said: str,
    jpeg_quality: int | None = None,
) -> str:
    """An image inside the page, grey or red-green-blue.

    Args:
        pixels: as they are shown, one pixel each.
        said: what it is, for those who cannot see it.
        jpeg_quality: 0 to 100, for pages of many pictures; None keeps every pixel (PNG).
    """
    height, width = pixels.shape[:2]
    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[:, :, ::-1])  # OpenCV's order
    if jpeg_quality is None:
        kind, (done, code) = "png", cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 9))
    else:
        kind, (done, code) = "jpeg", cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, jpeg_quality))
    assert done
    data = b64encode(code.tobytes()).decode()
    return (
        f'<img src="data:image/{kind};base64,{data}" alt="{escape(said)}" width="{width}" height="{height}">'
    )
