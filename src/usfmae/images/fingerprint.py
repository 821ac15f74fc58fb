"""Two fingerprints of a picture: one for "the same bytes", one for "looks the same"."""

import hashlib

import cv2
import numpy as np
from jaxtyping import UInt8

from usfmae.images.frame import Colour, Grey
from usfmae.images.prepare import to_grey

HASHED_SIDE_PX = 32
NUM_BITS = 64


def content_hash(prepared: UInt8[np.ndarray, "size size"]) -> str:
    """SHA-256 of a prepared picture's size and pixels, as 64 hex digits.

    Equal exactly when the decoded, prepared pixels are equal, whatever the file was called and however it was
    compressed without loss. Two files compare only if they were prepared to the same size.
    """
    digest = hashlib.sha256(f"{prepared.shape[0]}x{prepared.shape[1]}:".encode())
    digest.update(np.ascontiguousarray(prepared).data)
    return digest.hexdigest()


def perceptual_hash(pixels: Grey | Colour) -> int:
    """A 64-bit hash that changes in few bits under re-compression, resizing and brightness.

    The picture is shrunk to 32 x 32, transformed by a 2-D DCT, and the 64 lowest frequencies but the
    constant one are compared with their median (pHash; Zauner 2010, "Implementation and Benchmarking of
    Perceptual Image Hash Functions", sec. 3.1). Copies differ in 0 to 6 bits, unrelated pictures in about 32.

    Args:
        pixels: grey or colour, any size.

    Returns:
        An integer in [0, 2**64); the lowest frequency is the lowest bit. A flat picture gives 0.
    """
    side = HASHED_SIDE_PX
    small = cv2.resize(to_grey(pixels), (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    spectrum = np.asarray(cv2.dct(small - small.mean(dtype=np.float32)))
    lowest = spectrum[LOW_FREQUENCIES]
    bits = lowest > np.median(lowest) + 1e-3
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def _low_frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Places (down, across) of the 64 lowest frequencies after the constant, by their sum, then by row."""
    places = sorted(
        ((down, across) for down in range(HASHED_SIDE_PX) for across in range(HASHED_SIDE_PX)),
        key=lambda place: (sum(place), place),
    )[1 : NUM_BITS + 1]
    return np.array([down for down, _ in places]), np.array([across for _, across in places])


LOW_FREQUENCIES = _low_frequencies()
