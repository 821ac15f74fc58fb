"""What all volumes have in common: which axis is which, how large a pixel is, and where its numbers lie.

The last axis counts slices; a cine stored as a volume is read the same way. Three numbers per pixel are a
colour picture. An axis of length 3 is three slices, since nothing says that it is colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from usfmae.base.errors import ImageError
from usfmae.images.limits import check_size
from usfmae.images.stack import Stack

VOLUME_SUFFIXES = frozenset({".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"})
"""Names under which volumes usually travel; the `.raw` beside an `.mhd` or `.nhdr` is no image by itself."""

MIN_PITCH_MM, MAX_PITCH_MM = 0.001, 5.0
"""Finer than intravascular ultrasound, and coarser than any picture with something to see."""


@dataclass(frozen=True)
class VolumeHeader:
    """What a file says about its pixels before they are read."""

    sizes: tuple[int, ...]
    """Along each axis, the one that is stored fastest first."""

    dtype: np.dtype[Any]
    """Of the stored numbers."""

    pitches_mm: tuple[float, ...]
    """Along each axis; signs mean directions."""

    colour_axis: Literal["none", "first", "last"] = "none"
    """Where the three colours of a pixel are: there are none, they lie side by side ("first"), or each has a
    volume of its own ("last")."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the stored numbers, the axis that runs fastest first."""
        first = (3,) if self.colour_axis == "first" else ()
        last = (3,) if self.colour_axis == "last" else ()
        return (*first, *self.sizes, *last)

    @property
    def num_bytes(self) -> int:
        """Bytes of all numbers."""
        return prod(self.shape) * self.dtype.itemsize


def check_length(path: Path, present: int, header: VolumeHeader) -> None:
    """Refuse a file with fewer bytes of pixels than its header says.

    Raises:
        ImageError: it is cut short.
    """
    if present < header.num_bytes:
        present = max(0, present)
        raise ImageError(
            f"{path}: is cut short ({present:,} of {header.num_bytes:,} bytes of pixels are there)"
        )


def check_slices(path: Path, header: VolumeHeader) -> None:
    """Refuse, before anything is loaded, what gives no pictures.

    Raises:
        ImageError: the wrong number of axes, or slices of a size outside `images.limits`.
    """
    across, down, _ = slice_axes(path, header.sizes)
    check_size(path, header.sizes[down], header.sizes[across])


def volume_stack(path: Path, header: VolumeHeader, numbers: Any) -> Stack:
    """The slices of a volume.

    Args:
        path: the file.
        header: what it says about `numbers`.
        numbers: an array of shape `header.shape`, in memory or mapped.
    """
    across, down, along = slice_axes(path, header.sizes)
    in_colour = header.colour_axis != "none"
    scaled = not in_colour and (header.slope, header.intercept) != (1.0, 0.0)

    def read(index: int) -> Any:
        place: list[Any] = [0] * len(header.sizes)
        place[across] = place[down] = slice(None)
        if along is not None:
            place[along] = index
        if not in_colour:
            values = numbers[tuple(place)].T
            return values.astype(np.float32) * header.slope + header.intercept if scaled else values
        if header.colour_axis == "first":
            return numbers[(slice(None), *place)].transpose(2, 1, 0)
        return numbers[(*place, slice(None))].transpose(1, 0, 2)

    return Stack(
        path,
        key="",
        num_slices=1 if along is None else header.sizes[along],
        height=header.sizes[down],
        width=header.sizes[across],
        dtype=np.dtype(np.float32) if scaled and header.dtype.kind != "c" else header.dtype,
        spacing_mm=sane_pitch(header.pitches_mm[down], header.pitches_mm[across]),
        read=read,
    )


def slice_axes(path: Path, sizes: Sequence[int]) -> tuple[int, int, int | None]:
    """Which axes of a volume go across, down and along, the first being stored fastest.

    Axes of length 1 carry nothing and are left out, unless fewer than two would remain.

    Raises:
        ImageError: fewer than two axes, or more than three longer than 1.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ImageError(f"{path}: has the size {list(sizes)}, which is no picture")
    long = [axis for axis, size in enumerate(sizes) if size != 1]
    if len(long) > 3:
        text = " x ".join(str(size) for size in sizes)
        raise ImageError(
            f"{path}: is {len(long)}-dimensional ({text}): volumes over time are not read",
            hint="save each point in time as a volume of its own",
        )
    axes = long if len(long) >= 2 else [0, 1]
    return axes[0], axes[1], axes[2] if len(axes) == 3 else None


def sane_pitch(down_mm: float, across_mm: float) -> tuple[float, float] | None:
    """The pixel pitch of a volume, or None where the numbers are none that ultrasound has.

    Exactly 1 x 1 is what writers put where they know nothing: None. Negative numbers count the other way.
    """
    pitches = (abs(float(down_mm)), abs(float(across_mm)))
    if pitches == (1.0, 1.0) or not all(MIN_PITCH_MM <= pitch <= MAX_PITCH_MM for pitch in pitches):
        return None
    return round(pitches[0], 7), round(pitches[1], 7)  # 0.1 kept in 32 bits is 0.10000000149
