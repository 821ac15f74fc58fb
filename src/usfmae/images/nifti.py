"""Slices of NIfTI files (.nii, .nii.gz); called by `images.read` only.

Read with NumPy alone, since ITK's reader (5.4) fills the missing end of a truncated file with zeros without
an error, aborts the whole process on a slice of a colour volume, and refuses files whose direction matrix is
not orthonormal, which has no bearing on pixels. The layout is that of nifti1.h and nifti2.h
(https://nifti.nimh.nih.gov): numbers are stored with the first axis running fastest.

Orientation: the first axis goes across the picture, the second goes down, the third counts slices, as in
SimpleITK's arrays. A file that nibabel wrote from an array [down, across] shows transposed.
"""

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from usfmae.base.errors import ImageError
from usfmae.images.decoding import decoding
from usfmae.images.frame import Frame
from usfmae.images.limits import check_loaded_bytes
from usfmae.images.mapped import Mapped
from usfmae.images.stack import Stack, stack_frames
from usfmae.images.volume import VolumeHeader, check_length, check_slices, volume_stack

GZIP_MAGIC = b"\x1f\x8b"

HEADER_BYTES = 540
"""Of NIfTI-2; NIfTI-1 has 348."""

NUMBER_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
    32: "c8", 1792: "c16",
}  # fmt: skip
"""Codes of `datatype`; 128 is red-green-blue in 8 bits each."""

RED_GREEN_BLUE = 128

VECTOR_INTENTS = (1007, 2003)
"""Codes of `intent_code` for several numbers per pixel: a vector, red-green-blue."""

MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Codes of `xyzt_units`: unknown (millimetres by custom), metre, millimetre, micrometre."""


def has_nifti_magic(path: Path, head: bytes) -> bool:
    """Whether a file is NIfTI in one piece, plain or compressed; `head` is its first HEADER_BYTES."""
    if head.startswith(GZIP_MAGIC):
        try:
            with gzip.open(path) as file:
                head = file.read(HEADER_BYTES)
        except (OSError, EOFError, zlib.error):  # cut within its first bytes, or no gzip after all
            return path.name.lower().endswith(".nii.gz")
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def nifti_frames(path: Path, *, choose: Callable[[int], Sequence[int]]) -> Iterator[Frame]:
    """Read chosen slices of a NIfTI file.

    A plain file is mapped, so only the slices asked for are read; a compressed one is loaded whole.

    Args:
        path: the file.
        choose: from the number of slices to the ascending indices wanted.

    Raises:
        ImageError: cut short, damaged, four-dimensional, or too large to load.
    """
    with decoding(path, "NIfTI"):
        stack = _stack(path)
    yield from stack_frames(stack, choose=choose)


def _stack(path: Path) -> Stack:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    with gzip.open(path) if packed else path.open("rb") as file:
        header, offset = _header(path, file.read(HEADER_BYTES))
        check_slices(path, header)
        if not packed:
            check_length(path, path.stat().st_size - offset, header)
            numbers = Mapped(path, header.dtype, offset, header.shape, "F")
            return volume_stack(path, header, numbers)
        check_loaded_bytes(path, header.num_bytes, what="a compressed volume")
        file.seek(offset)
        content = file.read(header.num_bytes)
        file.read(1)  # at the end gzip compares its checksum
    check_length(path, len(content), header)
    return volume_stack(path, header, np.frombuffer(content, header.dtype).reshape(header.shape, order="F"))


def _header(path: Path, head: bytes) -> tuple[VolumeHeader, int]:
    """What the header says, and the place of the first pixel."""
    if len(head) < 348:
        raise ImageError(f"{path}: is cut short (its header has {len(head)} of 348 bytes)")
    order = "<" if struct.unpack("<i", head[:4])[0] in (348, 540) else ">"
    length = struct.unpack(order + "i", head[:4])[0]
    if length == 348:
        dims = struct.unpack_from(order + "8h", head, 40)
        intent, code, _, _, *pitches = struct.unpack_from(order + "4h8f", head, 68)
        offset, slope, intercept = struct.unpack_from(order + "3f", head, 108)
        units = head[123]
    elif length == 540 and len(head) == HEADER_BYTES:
        code = struct.unpack_from(order + "h", head, 12)[0]
        dims = struct.unpack_from(order + "8q", head, 16)
        pitches = list(struct.unpack_from(order + "8d", head, 104))
        offset, slope, intercept = struct.unpack_from(order + "qdd", head, 168)
        units, intent = struct.unpack_from(order + "ii", head, 500)
    else:
        raise ImageError(f"{path}: has a NIfTI header of {length} bytes, not 348 or 540")
    sizes = tuple(int(size) for size in dims[1 : 1 + max(0, dims[0])])
    if not 1 <= dims[0] <= 7 or min(sizes) < 1:
        raise ImageError(f"{path}: says that its axes have the sizes {list(dims)}")
    if code != RED_GREEN_BLUE and code not in NUMBER_TYPES:
        raise ImageError(f"{path}: stores numbers of a kind that is not read (NIfTI code {code})")
    colour_axis: Literal["none", "first", "last"] = "first" if code == RED_GREEN_BLUE else "none"
    if intent in VECTOR_INTENTS and len(sizes) == 5:  # the fifth axis counts the numbers of a pixel
        if sizes[4] not in (1, 3):
            raise ImageError(f"{path}: has {sizes[4]} numbers per pixel; 1 (grey) and 3 (colour) are read")
        colour_axis = "last" if sizes[4] == 3 else "none"
        sizes = sizes[:4]
    if slope == 0 or not np.isfinite([slope, intercept]).all():  # nifti1.h: a slope of 0 means none
        slope, intercept = 1.0, 0.0
    unit = MM_PER_UNIT.get(units & 7, 1.0)
    header = VolumeHeader(
        sizes,
        np.dtype("u1" if code == RED_GREEN_BLUE else order + NUMBER_TYPES[code]),
        pitches_mm=tuple(float(pitch) * unit for pitch in pitches[1 : 1 + len(sizes)]),
        colour_axis=colour_axis,
        slope=float(slope),
        intercept=float(intercept),
    )
    return header, int(offset)
