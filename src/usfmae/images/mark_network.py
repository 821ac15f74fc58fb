"""A network of 105,000 weights that says which pixels are burned-in marks, run by ONNX Runtime on one core.

Fitted by `benchmarks/marks_fit.py` on marks planted in development frames (`simulate.burn_in`). A
rule on grey levels cannot do it: many marks are no brighter than the speckle around them; shape tells.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from usfmae.images.frame import Colour, Grey

STRIDE_PX = 8
"""The network halves its input three times."""


def mark_logits(
    pixels: Grey | Colour,
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "5 half_height half_width"]]:
    """How much each pixel looks like a mark, and of which kind.

    Deterministic on one machine; another processor may round the last bits differently.

    Args:
        pixels: grey, or red-green-blue; best between 200 and 500 pixels wide, as the network was fitted.

    Returns:
        Log odds that a pixel is a mark, and scores of text, caliper, line, logo and other at half size
        (of the height and width rounded up to a multiple of 8).
    """
    out = np.asarray(_network().run(None, {"planes": planes(pixels)})[0])[0]
    _, rows, columns = out.shape
    shuffled = out[:4].reshape(2, 2, rows, columns).transpose(2, 0, 3, 1).reshape(2 * rows, 2 * columns)
    return np.ascontiguousarray(shuffled[: pixels.shape[0], : pixels.shape[1]]), out[4:]


def planes(pixels: Grey | Colour) -> Float[np.ndarray, "1 3 rows columns"]:
    """What the network sees: luma in [-0.5, 0.5] and the two colour differences in [-1, 1].

    Sides are padded with black to a multiple of 8.
    """
    height, width = pixels.shape[:2]
    rows, columns = (-(-length // STRIDE_PX) * STRIDE_PX for length in (height, width))
    out = np.zeros((1, 3, rows, columns), np.float32)
    out[:, 0] = -0.5
    if pixels.ndim == 2:
        out[0, 0, :height, :width] = pixels * np.float32(1 / 255) - np.float32(0.5)
        return out
    luma, red, blue = cv2.split(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2YCrCb))
    out[0, 0, :height, :width] = luma * np.float32(1 / 255) - np.float32(0.5)
    out[0, 1, :height, :width] = red * np.float32(1 / 128) - np.float32(1)
    out[0, 2, :height, :width] = blue * np.float32(1 / 128) - np.float32(1)
    return out


@cache
def _network() -> Any:
    import onnxruntime  # takes a sixth of a second, and most programs never need it

    stored = files("usfmae.images").joinpath("marks.onnx").read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # files are shared out over processes
    return onnxruntime.InferenceSession(stored, options, providers=["CPUExecutionProvider"])
