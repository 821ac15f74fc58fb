"""How a label map says what is where, and back: every meaning reads the published files and draws fakes.

A label map on disk is a grey picture, a coloured one, a volume, a closed outline or a list of corners
(`pixel_meanings.py`, `shape_meanings.py`). Here each becomes the same thing: whole numbers, 0 outside and
k + 1 for the k-th of `structures`.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from usfmae.base.config import Config

Labels = UInt8[np.ndarray, "..."]
Size = tuple[int, int]
"""(height, width) in pixels."""


class Meaning(Config):
    """What the values, colours or corners of a label map stand for."""

    @property
    @abstractmethod
    def structures(self) -> tuple[str, ...]:
        """What is marked; label k + 1 is the k-th."""

    @abstractmethod
    def read(self, path: Path, size: Size, frame: int | None = None) -> Labels:
        """The label map of a file.

        Args:
            path: the file.
            size: (height, width) of its image.
            frame: which of the label maps in a file of many; None where it holds one.

        Returns:
            "height width", or "slice height width" for a volume; 0 is outside.

        Raises:
            ImageError: the file cannot be read.
            DatasetError: it is of another size than its image, or holds a value, colour or name that means
                nothing.
        """

    @abstractmethod
    def stored(self, labels: Labels) -> np.ndarray | str:
        """Pixels, or a text, that `read` would read as `labels`; for fakes."""


def outlines(labels: Labels) -> Any:
    """The outer outlines of what is marked, as OpenCV gives them: "corner 1 2" (across, down) each."""
    return cv2.findContours((labels > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
