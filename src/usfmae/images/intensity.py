"""From whatever numbers a file stores to 8 bits, by a rule that does not depend on the neighbours."""

from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

CONTAINER_BITS = (8, 10, 12, 14, 16, 32)
"""Depths that scanners and frame grabbers write into 16-bit and 32-bit files."""


def to_8_bits(
    values: Shaped[np.ndarray, "*shape"], *, stored_bits: int | None = None
) -> UInt8[np.ndarray, "*shape"]:
    """Scale grey or colour values of any number type to 0..255.

    - uint8 and bool: kept (True is 255).
    - Other integers without negatives: `value * 255 / (2**bits - 1)`, rounded; `bits` is `stored_bits`, or
      the smallest of 8, 10, 12, 14, 16 and 32 that holds the largest value, since 12-bit data usually sits
      in 16-bit files and would otherwise be almost black. So 8-bit values in a 16-bit file stay as they are.
    - Integers with negatives (radio-frequency data, signed DICOM): smallest to largest becomes 0..255.
    - Floats: values within [0, 1] are multiplied by 255; anything else goes smallest to largest. Values
      that are not finite become 0.

    Args:
        values: pixels of one frame, any shape.
        stored_bits: how many bits the file says it uses; None when it does not say.

    Raises:
        ValueError: the number type is neither integer, float nor bool.
    """
    if values.dtype == np.uint8 and stored_bits in (None, 8):
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(values.dtype, np.integer):
        low, high = float(values.min(initial=0)), float(values.max(initial=0))
        if low < 0:
            return _stretched(values, low, high)
        bits = stored_bits if stored_bits and high < 2**stored_bits else _holding(high)
        return values.astype(np.uint8) if bits == 8 else _stretched(values, 0.0, 2.0**bits - 1)
    if np.issubdtype(values.dtype, np.floating):
        finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
        low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
        return _stretched(finite, 0.0, 1.0) if low >= 0 and high <= 1 else _stretched(finite, low, high)
    raise ValueError(f"cannot read pixels of type {values.dtype}")


def _holding(high: float) -> int:
    return next((bits for bits in CONTAINER_BITS if high < 2**bits), 64)


def _stretched(values: Any, low: float, high: float) -> UInt8[np.ndarray, "..."]:
    scale = 255.0 / max(high - low, np.finfo(np.float64).tiny)
    scaled: np.ndarray[Any, np.dtype[np.uint8]] = np.rint((values.astype(np.float64) - low) * scale).astype(
        np.uint8
    )
    return scaled
