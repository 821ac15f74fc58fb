"""The only way from pixels to model input: the same for pretraining, evaluation and the clinic.

Grey, resized with antialiasing to fit a square: centred on black with its aspect ratio kept ("pad"), or
filling the square ("stretch", what the paper does); before, the box around the echo data may be cut out.
Lossy on purpose in nothing else: no contrast change, no cleaning. Everything is integer or fixed-order
arithmetic in OpenCV, so equal pixels give equal bytes. `back_onto_picture` is the way back, for what a
network says of each pixel.
"""

import cv2
import numpy as np
from jaxtyping import Float32, Integer, UInt8

from usfmae.base.input_spec import Crop, Fit
from usfmae.images.frame import Box, Frame
from usfmae.images.grey import to_grey
from usfmae.images.sector import find_sector


def content_box(height: int, width: int, size_px: int, *, fit: Fit = "pad") -> tuple[int, int, int, int]:
    """Where a picture lies in its prepared square.

    Args:
        height: rows of the picture in pixels, at least 1.
        width: columns of the picture in pixels, at least 1.
        size_px: side of the square in pixels.
        fit: whether the aspect ratio is kept.

    Returns:
        (top, left, height, width) in pixels of the square; the rest is black.

    Raises:
        ValueError: a length is below 1.
    """
    if min(height, width, size_px) < 1:
        raise ValueError(f"lengths must be positive, not {height} x {width} into {size_px}")
    if fit == "stretch":
        return 0, 0, size_px, size_px
    longest = max(height, width)
    new_height = max(1, round(height * size_px / longest))
    new_width = max(1, round(width * size_px / longest))
    return (size_px - new_height) // 2, (size_px - new_width) // 2, new_height, new_width


def shown_box(frame: Frame, *, crop: Crop) -> Box:
    """What of a picture is shown, as (top, left, height, width) in its pixels.

    Args:
        frame: any size, grey or colour.
        crop: "none" for all of it, "sector" for the box around its echo data, if any are found.
    """
    sector = find_sector(frame) if crop == "sector" else None
    return (0, 0, frame.height, frame.width) if sector is None else sector.box


def prepare(
    frame: Frame, *, size_px: int, fit: Fit = "pad", crop: Crop = "none"
) -> UInt8[np.ndarray, "size size"]:
    """A frame as the network's square grey picture.

    Shrinking averages over the area of each new pixel (no aliasing of speckle); enlarging is bilinear in
    fixed-point arithmetic, equal to the last bit on every machine.

    Args:
        frame: any size, grey or colour.
        size_px: side of the square in pixels.
        fit: whether the aspect ratio is kept; that of the network's `InputSpec`.
        crop: what of the picture is shown; that of the `InputSpec` too. A picture without a sector is shown
            whole, of a dual view the box around both.

    Returns:
        uint8 pixels, black around the content box.

    Raises:
        ValueError: `size_px` is below 1.
    """
    top, left, height, width = shown_box(frame, crop=crop)
    grey = to_grey(np.ascontiguousarray(frame.pixels[top : top + height, left : left + width]))
    return _onto_square(
        grey,
        size_px=size_px,
        fit=fit,
        interpolation=cv2.INTER_AREA if max(grey.shape) > size_px else cv2.INTER_LINEAR_EXACT,
    )


def prepare_mask(
    label_map: Integer[np.ndarray, "height width"],
    *,
    size_px: int,
    fit: Fit = "pad",
    shown: Box | None = None,
) -> UInt8[np.ndarray, "size size"]:
    """A label map laid out as `prepare` lays out its picture; nearest neighbour, so no label is invented.

    Args:
        label_map: class per pixel, 0..255; 0 is background and fills the padding.
        size_px: side of the square in pixels.
        fit: that of the picture.
        shown: the part of the picture that is shown (`shown_box`); None for all of it.

    Raises:
        ValueError: a label is outside 0..255, or `size_px` is below 1.
    """
    if shown is not None:
        top, left, height, width = shown
        label_map = label_map[top : top + height, left : left + width]
    if label_map.size and (label_map.min() < 0 or label_map.max() > 255):
        raise ValueError(f"labels must be 0..255, not {label_map.min()}..{label_map.max()}")
    return _onto_square(
        label_map.astype(np.uint8), size_px=size_px, fit=fit, interpolation=cv2.INTER_NEAREST_EXACT
    )


def back_onto_picture(
    square: Float32[np.ndarray, "size size"],
    *,
    size: tuple[int, int],
    fit: Fit = "pad",
    shown: Box | None = None,
    outside: float = 0.0,
) -> Float32[np.ndarray, "height width"]:
    """The way back: what a network says of a prepared square, pixel by pixel, laid over the stored picture.

    Args:
        square: one number per pixel of the square.
        size: (height, width) of the stored picture in pixels.
        fit: how the square was made.
        shown: the part of the picture that was shown; None for all of it.
        outside: what the rest of the picture gets.
    """
    top, left, height, width = shown or (0, 0, *size)
    above, beside, tall, wide = content_box(height, width, len(square), fit=fit)
    content = np.ascontiguousarray(square[above : above + tall, beside : beside + wide])
    if (tall, wide) != (height, width):
        larger = height >= tall and width >= wide
        flag = cv2.INTER_LINEAR if larger else cv2.INTER_AREA
        content = np.asarray(cv2.resize(content, (width, height), interpolation=flag))
    picture = np.full(size, outside, dtype=np.float32)
    picture[top : top + height, left : left + width] = content
    return picture


def _onto_square(
    picture: UInt8[np.ndarray, "height width"], *, size_px: int, fit: Fit, interpolation: int
) -> UInt8[np.ndarray, "size size"]:
    top, left, height, width = content_box(picture.shape[0], picture.shape[1], size_px, fit=fit)
    square = np.zeros((size_px, size_px), np.uint8)
    if (height, width) != picture.shape:
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=interpolation))
    square[top : top + height, left : left + width] = picture
    return square
