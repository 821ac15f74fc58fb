"""Slices of NRRD files (.nrrd, or .nhdr with its data beside it); called by `images.read` only.

Read through SimpleITK, whose NRRD decoder cannot start in the middle: the volume is loaded whole.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from usfmae.base.errors import ImageError
from usfmae.images.decoding import decoding
from usfmae.images.frame import Frame
from usfmae.images.limits import check_loaded_bytes
from usfmae.images.stack import Stack, stack_frames
from usfmae.images.volume import VolumeHeader, check_slices, volume_stack


def has_nrrd_magic(head: bytes) -> bool:
    """Whether a file begins as NRRD does, in any of its versions."""
    return head.startswith(b"NRRD000")


def nrrd_frames(path: Path, *, choose: Callable[[int], Sequence[int]]) -> Iterator[Frame]:
    """Read chosen slices of an NRRD file.

    Args:
        path: the file, or the header of a pair.
        choose: from the number of slices to the ascending indices wanted.

    Raises:
        ImageError: cut short, damaged, four-dimensional, or too large to load.
    """
    with decoding(path, "NRRD"):
        stack = _stack(path)
    yield from stack_frames(stack, choose=choose)


def _stack(path: Path) -> Stack:
    import SimpleITK

    with _without_warnings():
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO("NrrdImageIO")  # no other decoder is ever started
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
        components = int(reader.GetNumberOfComponents())
        if "complex" in kind:
            raise ImageError(f"{path}: holds complex numbers (IQ data: make B-mode images of it first)")
        if components not in (1, 3):
            raise ImageError(f"{path}: has {components} numbers per pixel; 1 (grey) and 3 (colour) are read")
        header = VolumeHeader(
            tuple(int(size) for size in reader.GetSize()),
            _dtype(kind),
            tuple(float(pitch) for pitch in reader.GetSpacing()),
            colour_axis="first" if components == 3 else "none",
        )
        check_slices(path, header)
        check_loaded_bytes(path, header.num_bytes, what="a volume")
        return volume_stack(path, header, SimpleITK.GetArrayFromImage(reader.Execute()).T)


def _dtype(kind: str) -> "np.dtype[np.generic]":
    """From ITK's words, as in "vector of 8-bit unsigned integer"."""
    bits, sign = kind.removeprefix("vector of ").split()[:2]
    letter = {"unsigned": "u", "signed": "i", "float": "f"}[sign]
    return np.dtype(f"{letter}{int(bits.removesuffix('-bit')) // 8}")


@contextmanager
def _without_warnings() -> Iterator[None]:
    """ITK reports odd headers on stderr, which belongs to the log."""
    import SimpleITK

    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)
