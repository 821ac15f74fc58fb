"""One still picture and where it came from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

Grey = UInt8[np.ndarray, "height width"]
Colour = UInt8[np.ndarray, "height width 3"]

Box = tuple[int, int, int, int]
"""(top, left, height, width) in pixels."""


@dataclass(frozen=True)
class FrameSource:
    """The place of a frame: which file, and which of its frames."""

    path: str
    """The file as the caller named it."""

    frame_index: int
    """Position in the clip, from 0."""

    num_frames: int
    """Frames in the whole file; 1 for a still."""

    is_dicom: bool = False
    """Whether the file is DICOM, and the picture thus straight from a scanner or an archive of patients."""


@dataclass(frozen=True)
class FrameRegion:
    """A part of the screen that the file describes: DICOM's ultrasound regions (PS3.3 C.8.5.5)."""

    box: Box
    """Its place, cut to the picture."""

    spatial_format: int
    """DICOM's code: 1 is 2-D, 2 M-mode, 3 spectral, 4 a wave form, 5 graphics; 0 where none is given."""

    data_type: int
    """DICOM's code: 1 is tissue, 2 colour flow, 3 to 9 other Doppler and curves, 10 ECG; 0 where none is
    given."""

    @property
    def is_tissue_2d(self) -> bool:
        """Whether B-mode echoes are shown there."""
        return (self.spatial_format, self.data_type) == (1, 1)


@dataclass(frozen=True)
class Frame:
    """One ultrasound image, as stored: nothing is cropped, cleaned or resized yet."""

    pixels: Grey | Colour
    """Grey, or red-green-blue; 0 is black, 255 is white."""

    spacing_mm: tuple[float, float] | None
    """Pixel pitch (down, across) in millimetres; None when the file does not say."""

    source: FrameSource
    """Where it came from."""

    regions: tuple[FrameRegion, ...] = ()
    """Parts of the screen that the file describes; empty where it does not."""

    @property
    def height(self) -> int:
        """Rows in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns in pixels."""
        return int(self.pixels.shape[1])
