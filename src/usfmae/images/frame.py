"""One still picture and where it came from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

Grey = UInt8[np.ndarray, "height width"]
Colour = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class FrameSource:
    """The place of a frame: which file, and which of its frames."""

    path: str
    """The file as the caller named it."""

    frame_index: int
    """Position in the clip, from 0."""

    num_frames: int
    """Frames in the whole file; 1 for a still."""


@dataclass(frozen=True)
class Frame:
    """One ultrasound image, as stored: nothing is cropped, cleaned or resized yet."""

    pixels: Grey | Colour
    """Grey, or red-green-blue; 0 is black, 255 is white."""

    spacing_mm: tuple[float, float] | None
    """Pixel pitch (down, across) in millimetres; None when the file does not say."""

    source: FrameSource
    """Where it came from."""

    @property
    def height(self) -> int:
        """Rows in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns in pixels."""
        return int(self.pixels.shape[1])
