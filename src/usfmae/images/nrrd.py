"""Slices of NRRD files (.nrrd, or .nhdr with its data beside it); called by `images.read` only.

The header is read through SimpleITK. Plain grey pixels are mapped, so only the slices asked for are read;
compressed and coloured ones go through SimpleITK's decoder, which cannot start in the middle: they are loaded
whole. Fields: https://teem.sourceforge.net/nrrd/format.html.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from usfmae.base.errors import ImageError
from usfmae.images.decoding import decoding
from usfmae.images.frame import Frame
from usfmae.images.limits import check_loaded_bytes
from usfmae.images.mapped import Mapped
from usfmae.images.stack import Stack, stack_frames
from usfmae.images.volume import VolumeHeader, check_length, check_slices, volume_stack

MAX_HEADER_BYTES = 64 * 1024**2
"""Some writers keep a whole cine's tracking there."""


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
        mapped = _mapped(path, header)
        if mapped is not None:
            return volume_stack(path, header, mapped)
        check_loaded_bytes(path, header.num_bytes, what="a compressed or coloured volume")
        return volume_stack(path, header, _Loaded(reader.Execute()))


class _Loaded:
    """The numbers of an ITK image without a second copy, with the first axis running fastest."""

    def __init__(self, image: Any) -> None:
        import SimpleITK

        self._image = image  # owns the numbers
        self._numbers = SimpleITK.GetArrayViewFromImage(image).T

    def __getitem__(self, place: tuple[Any, ...]) -> Any:
        return self._numbers[place]


def _mapped(path: Path, header: VolumeHeader) -> Mapped | None:
    """Plain grey pixels in one piece; None for what only ITK's decoder knows.

    Raises:
        ImageError: the pixels are not where they should be, or cut short.
    """
    fields, header_bytes = _fields(path)
    data = fields.get("datafile", fields.get("data file"))
    sizes = " ".join(str(size) for size in header.sizes)
    if (
        fields.get("encoding") != "raw"
        or header.colour_axis != "none"
        or " ".join(fields.get("sizes", "").split()) != sizes
        or fields.get("lineskip", fields.get("line skip", "0")) != "0"
        or (data is not None and (data.startswith("LIST") or "%" in data))
    ):
        return None
    place = path if data is None else path.parent / data
    if not place.is_file():
        raise ImageError(f"{path}: its pixels should be in {place.name}, which is not there")
    total = place.stat().st_size
    skipped = int(fields.get("byteskip", fields.get("byte skip", "0")))
    start = total - header.num_bytes if skipped == -1 else skipped + (header_bytes if data is None else 0)
    check_length(path, total - max(0, start), header)
    dtype = header.dtype.newbyteorder(">" if fields.get("endian") == "big" else "<")
    return Mapped(place, dtype, start, header.shape, "F")


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields of the header by their names in lower case, and the length of the header."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while line := file.readline(MAX_HEADER_BYTES).strip():
            name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
            fields[name.strip().lower()] = value.strip()
            if file.tell() > MAX_HEADER_BYTES:
                break
        return fields, file.tell()


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
