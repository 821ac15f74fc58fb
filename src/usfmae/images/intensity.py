"""From whatever numbers a file stores to 8 bits, by a rule that does not depend on the neighbours."""

from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

CONTAINER_BITS = (8, 10, 12, 14, 16, 32)
"""Depths that scanners and frame grabbers write into 16-bit and 32-bit files."""

SIGNED_CONTAINER_BITS = (8, 10, 12, 14, 15, 31)
"""The same in signed integers, where one bit is the sign."""


def to_8_bits(
    values: Shaped[np.ndarray, "*shape"],
    *,
    stored_bits: int | None = None,
    span: tuple[float, float] | None = None,
) -> UInt8[np.ndarray, "*shape"]:
    """Scale grey or colour values of any number type to 0..255.

    - uint8 and bool: kept (True is 255).
    - Other integers without negatives: `value * 255 / (2**bits - 1)`, rounded; `bits` is `stored_bits`, or
      the smallest of 8, 10, 12, 14, 16 and 32 that holds the largest value, since 12-bit data usually sits
      in 16-bit files and would otherwise be almost black. So 8-bit values in a 16-bit file stay as they are.
      Signed types have a bit less: 15 and 31 instead of 16 and 32.
    - Integers with negatives (radio-frequency data, signed DICOM): smallest to largest becomes 0..255.
    - Floats: values within [0, 1] are multiplied by 255; anything else goes smallest to largest. Values
      that are not finite become 0.

    Args:
        values: pixels of one frame, any shape.
        stored_bits: how many bits the file says it uses; None when it does not say.
        span: smallest and largest value to scale by, as `span_of` gives them, where these values are one
            slice of many that keep their brightness relative to each other; values outside are clipped.
            None for the values' own.

    Raises:
        ValueError: the number type is neither integer, float nor bool.
    """
    if values.dtype == np.uint8 and stored_bits in (None, 8):
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(values.dtype, np.integer):
        low, high = span or span_of(values)
        if low < 0:
            return _stretched(values, low, high)
        signed = np.issubdtype(values.dtype, np.signedinteger)
        bits = stored_bits if stored_bits and high < 2**stored_bits else _holding(high, signed=signed)
        return (
            np.clip(values, 0, 255).astype(np.uint8) if bits == 8 else _stretched(values, 0.0, 2.0**bits - 1)
        )
    if np.issubdtype(values.dtype, np.floating):
        finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
        low, high = span or span_of(finite)
        return _stretched(finite, 0.0, 1.0) if low >= 0 and high <= 1 else _stretched(finite, low, high)
    raise ValueError(f"cannot read pixels of type {values.dtype}")


def span_of(values: Shaped[np.ndarray, "*shape"]) -> tuple[float, float]:
    """Smallest and largest finite value, with 0 always inside; (0, 0) where there is none."""
    if np.issubdtype(values.dtype, np.floating):
        values = np.where(np.isfinite(values), values, 0)
    return float(values.min(initial=0)), float(values.max(initial=0))


def _holding(high: float, *, signed: bool) -> int:
    depths = SIGNED_CONTAINER_BITS if signed else CONTAINER_BITS
    return next((bits for bits in depths if high < 2**bits), 64)


def _stretched(values: Any, low: float, high: float) -> UInt8[np.ndarray, "..."]:
    scale = 255.0 / max(high - low, np.finfo(np.float64).tiny)
    scaled = np.rint((values.astype(np.float64) - low) * scale)
    eight: np.ndarray[Any, np.dtype[np.uint8]] = np.clip(scaled, 0, 255).astype(np.uint8)
    return eight
