"""Where beams run and where pixels lie: linear and convex scan geometry, and scan conversion.

Positions are (down, across) in millimetres from the middle of the transducer's face; down is depth below the
topmost point of the skin. A grid of beams has samples along each line; the image has square pixels.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float

from usfmae.images.simulate.device import Device


@dataclass(frozen=True, eq=False)
class BeamGrid:
    """The samples of all scan lines of one sweep."""

    depth_mm: Float[np.ndarray, "sample"]
    """Distance from the transducer's face along the line."""

    down_mm: Float[np.ndarray, "sample line"]
    across_mm: Float[np.ndarray, "sample line"]

    line_mm: Float[np.ndarray, "sample"]
    """Distance between neighbouring lines; grows with depth if convex."""

    @property
    def sample_mm(self) -> float:
        """Distance between neighbouring samples."""
        return float(self.depth_mm[1] - self.depth_mm[0])


@dataclass(frozen=True, eq=False)
class ImageGrid:
    """The pixels of the picture on the screen."""

    sample: Float[np.ndarray, "height width"]
    line: Float[np.ndarray, "height width"]
    """Where each pixel lies in the beam grid."""

    down_mm: Float[np.ndarray, "height width"]
    across_mm: Float[np.ndarray, "height width"]

    inside: Bool[np.ndarray, "height width"]
    """True where the scanner looks; False in margins and beside a sector."""

    pixel_mm: float
    """Side of a pixel."""


@lru_cache(maxsize=32)
def beam_grid(device: Device) -> BeamGrid:
    """The beams of a device.

    A sample per 1.25 standard deviations of the pulse keeps all but the last 5 % of its spectrum's height.
    """
    num_samples = int(np.ceil(device.imaging_depth_mm / (1.25 * device.pulse_sigma_mm))) + 1
    depth = np.linspace(0, device.imaging_depth_mm, num_samples, dtype=np.float32)
    place = np.linspace(-0.5, 0.5, device.num_lines, dtype=np.float32) * device.footprint_mm
    pitch = device.footprint_mm / (device.num_lines - 1)
    if device.radius_mm is None:
        down, across = np.meshgrid(depth, place, indexing="ij")
        line = np.full_like(depth, pitch)
    else:
        angle = place / device.radius_mm
        reach = (device.radius_mm + depth)[:, None]
        down, across = reach * np.cos(angle) - device.radius_mm, reach * np.sin(angle)
        line = pitch * (device.radius_mm + depth) / device.radius_mm
    return BeamGrid(
        depth_mm=_frozen(depth), down_mm=_frozen(down), across_mm=_frozen(across), line_mm=_frozen(line)
    )


@lru_cache(maxsize=32)
def image_grid(device: Device) -> ImageGrid:
    """The pixels of a device's picture: square, as large as the longest side allows, margins around."""
    top, right, bottom, left = device.margin_px
    highest, lowest, half_width = _extent(device)
    room_down, room_across = device.longest_px - top - bottom, device.longest_px - left - right
    pixel = max((lowest - highest) / room_down, 2 * half_width / room_across)
    height = top + bottom + round((lowest - highest) / pixel)
    width = left + right + round(2 * half_width / pixel)
    down = highest + (np.arange(height, dtype=np.float32) - top + 0.5) * np.float32(pixel)
    across = (np.arange(width, dtype=np.float32) - (left + (width - left - right) / 2) + 0.5) * np.float32(
        pixel
    )
    down, across = np.meshgrid(down, across, indexing="ij")
    if device.radius_mm is None:
        depth, place = down, across
    else:
        depth = np.hypot(down + device.radius_mm, across) - device.radius_mm
        place = np.arctan2(across, down + device.radius_mm) * device.radius_mm
    grid = beam_grid(device)
    sample = depth / grid.sample_mm
    line = (place / device.footprint_mm + 0.5) * (device.num_lines - 1)
    inside = (sample >= 0) & (sample <= len(grid.depth_mm) - 1) & (line >= 0) & (line <= device.num_lines - 1)
    return ImageGrid(
        sample=_frozen(sample.astype(np.float32)),
        line=_frozen(line.astype(np.float32)),
        down_mm=_frozen(down),
        across_mm=_frozen(across),
        inside=_frozen(inside),
        pixel_mm=float(pixel),
    )


def scan_convert(
    beams: Float[np.ndarray, "sample line"], device: Device, *, outside: float = 0.0
) -> Float[np.ndarray, "height width"]:
    """Samples along beams to pixels, bilinear as scanners do it after log compression.

    Args:
        beams: one value per sample of `beam_grid(device)`.
        device: whose geometry.
        outside: the value where no beam goes.
    """
    grid = image_grid(device)
    pixels = cv2.remap(beams.astype(np.float32), grid.line, grid.sample, cv2.INTER_LINEAR)
    return np.where(grid.inside, pixels, np.float32(outside))


def _extent(device: Device) -> tuple[float, float, float]:
    """Highest and lowest point and half the width of the field, in mm."""
    if device.radius_mm is None:
        return 0.0, device.imaging_depth_mm, device.footprint_mm / 2
    angle = device.footprint_mm / 2 / device.radius_mm
    reach = device.radius_mm + device.imaging_depth_mm
    return (
        device.radius_mm * (np.cos(angle) - 1),
        device.imaging_depth_mm,
        reach * np.sin(min(angle, np.pi / 2)),
    )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
