"""Two fingerprints of a picture: one for "the same pixels", one for "looks the same"."""

import hashlib

import cv2
import numpy as np
from jaxtyping import UInt8

from usfmae.images.frame import Colour, Grey
from usfmae.images.grey import to_grey

CELLS = 22
"""Cells of a fingerprint down and across. A border of 5 % of a side takes 0.05 / 1.1 = 1/22 of the new side:
exactly the outermost ring of cells, so that what lies within reads the same with and without the border."""

Fingerprint = UInt8[np.ndarray, "22 22"]


def content_hash(prepared: UInt8[np.ndarray, "size size"]) -> str:
    """SHA-256 of a prepared picture's size and pixels, as 64 hex digits.

    Equal exactly when the decoded, prepared pixels are equal, whatever the file was called and however it was
    compressed without loss. Two files compare only if they were prepared to the same size.
    """
    digest = hashlib.sha256(f"{prepared.shape[0]}x{prepared.shape[1]}:".encode())
    digest.update(np.ascontiguousarray(prepared).data)
    return digest.hexdigest()


def fingerprint(pixels: Grey | Colour) -> Fingerprint:
    """What a picture looks like, in 484 bytes: the mean grey level of 22 x 22 equal cells.

    Size, aspect ratio, compression and colour coding leave it almost as it is. `datasets.duplicates` compares
    fingerprints, and accounts for mirroring, crops, borders and brightness there, so that they cost nothing
    here: 0.2 ms for a 256 px still on one core.

    Args:
        pixels: grey or colour, any size; as the file has them, not padded to a square.
    """
    grey = to_grey(pixels)
    if min(grey.shape) < CELLS:  # area averaging cannot enlarge
        height, width = (max(CELLS, side) for side in grey.shape)
        grey = np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR_EXACT))
    return np.asarray(cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA))
