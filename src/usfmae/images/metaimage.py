"""Slices of MetaImage files (.mha, or .mhd with the .raw beside it); called by `images.read` only.

Read with NumPy alone, since ITK's reader (5.4) gives a half-empty volume, without an error, where compressed
data are damaged. Fields: https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np

from usfmae.base.errors import ImageError
from usfmae.images.decoding import decoding
from usfmae.images.frame import Frame
from usfmae.images.limits import check_loaded_bytes
from usfmae.images.mapped import Mapped
from usfmae.images.stack import Stack, stack_frames
from usfmae.images.volume import VolumeHeader, check_length, check_slices, volume_stack

MAX_HEADER_BYTES = 64 * 1024**2
"""Tracked cines note a dozen lines per frame."""

NUMBER_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
"""ElementType without a trailing _ARRAY; a long has 4 bytes, as in MetaIO."""


def has_meta_magic(head: bytes) -> bool:
    """Whether a file's first KB is the text of a MetaImage header."""
    return head.lstrip().startswith((b"ObjectType", b"NDims", b"Comment")) and b"NDims" in head


def meta_frames(path: Path, *, choose: Callable[[int], Sequence[int]]) -> Iterator[Frame]:
    """Read chosen slices of a MetaImage.

    Plain pixels are mapped, so only the slices asked for are read; compressed ones are loaded whole.

    Args:
        path: the file, or the header of a pair.
        choose: from the number of slices to the ascending indices wanted.

    Raises:
        ImageError: cut short, damaged, four-dimensional, without its pixels, or too large to load.
    """
    with decoding(path, "MetaImage"):
        stack = _stack(path)
    yield from stack_frames(stack, choose=choose)


def _stack(path: Path) -> Stack:
    fields, header_bytes = _fields(path)
    header = _header(path, fields)
    check_slices(path, header)
    data = fields["elementdatafile"]
    if data.startswith("LIST") or "%" in data:
        raise ImageError(f"{path}: spreads its pixels over many files ({data}), which is not read")
    if not _is_true(fields.get("binarydata", "True")):
        raise ImageError(f"{path}: writes its pixels as text, which is not read")
    local = data.upper() == "LOCAL"
    place = path if local else path.parent / data
    if not place.is_file():
        raise ImageError(f"{path}: its pixels should be in {place.name}, which is not there")
    total = place.stat().st_size
    skipped = int(fields.get("headersize", "0"))
    offset = header_bytes if local else total - header.num_bytes if skipped == -1 else skipped
    if not _is_true(fields.get("compresseddata", "False")):
        check_length(path, total - max(0, offset), header)
        numbers = Mapped(place, header.dtype, offset, header.shape, "F")
        return volume_stack(path, header, numbers)
    check_loaded_bytes(path, header.num_bytes, what="a compressed volume")
    with place.open("rb") as file:
        file.seek(offset)
        unpacker = zlib.decompressobj(wbits=47)  # zlib or gzip
        content = unpacker.decompress(file.read(), header.num_bytes + 1)  # and no further, whatever follows
    check_length(path, len(content), header)
    if not unpacker.eof:
        raise ImageError(f"{path}: its compressed pixels do not end where they should")
    loaded = np.frombuffer(content, header.dtype, prod(header.shape)).reshape(header.shape, order="F")
    return volume_stack(path, header, loaded)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields of the header by their names in lower case, and the length of the header."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "elementdatafile" not in fields:
            line = file.readline(MAX_HEADER_BYTES)
            if not line or file.tell() > MAX_HEADER_BYTES:
                raise ImageError(f"{path}: its header does not end (no ElementDataFile)")
            name, _, value = line.decode("utf-8", "surrogateescape").partition("=")
            fields[name.strip().lower()] = value.strip()
        return fields, file.tell()


def _header(path: Path, fields: dict[str, str]) -> VolumeHeader:
    missing = [name for name in ("NDims", "DimSize", "ElementType") if name.lower() not in fields]
    if missing:
        raise ImageError(f"{path}: its header does not give {', '.join(missing)}")
    sizes = tuple(int(size) for size in fields["dimsize"].split())
    if len(sizes) != int(fields["ndims"]):
        raise ImageError(f"{path}: says that it has {fields['ndims']} axes, of the sizes {fields['dimsize']}")
    kind = fields["elementtype"].upper().removesuffix("_ARRAY")
    if kind not in NUMBER_TYPES:
        raise ImageError(f"{path}: stores numbers of a kind that is not read ({fields['elementtype']})")
    channels = int(fields.get("elementnumberofchannels", "1"))
    if channels not in (1, 3):
        raise ImageError(f"{path}: has {channels} numbers per pixel; 1 (grey) and 3 (colour) are read")
    big = _is_true(fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False")))
    pitches = [float(pitch) for pitch in fields.get("elementspacing", fields.get("elementsize", "")).split()]
    return VolumeHeader(
        sizes,
        np.dtype((">" if big else "<") + NUMBER_TYPES[kind]),
        pitches_mm=tuple(pitches) if len(pitches) == len(sizes) else (0.0,) * len(sizes),
        colour_axis="first" if channels == 3 else "none",
    )


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "t")
