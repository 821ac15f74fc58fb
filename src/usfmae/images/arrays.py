"""Pictures kept as plain arrays: HDF5 (.h5, .hdf5), MATLAB (.mat, old and 7.3) and NumPy (.npy).

Such files say nothing about what their numbers mean, so they are read only where somebody names them; a
folder that is listed leaves them out. HDF5, MATLAB 7.3 and NumPy files are sliced on disk, so a file may be
far larger than the memory; arrays of older MATLAB files are loaded whole.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from usfmae.base.errors import ImageError
from usfmae.images.decoding import decoding
from usfmae.images.frame import Frame
from usfmae.images.limits import MAX_AREA_PX, MAX_LOADED_BYTES, MAX_SIDE_PX, MIN_SIDE_PX, check_loaded_bytes
from usfmae.images.mapped import Mapped
from usfmae.images.stack import Stack, stack_frames

ARRAY_SUFFIXES = frozenset({".h5", ".hdf5", ".mat", ".npy"})
"""Names under which arrays usually travel."""

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
NPY_MAGIC = b"\x93NUMPY"

CHUNK_CACHE_BYTES = 64 * 1024**2
"""HDF5 keeps this much decompressed, so that neighbouring frames do not unpack the same chunk again."""

MATLAB_TYPES = {
    "double": "f8", "single": "f4", "logical": "?",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "int64": "i8", "uint64": "u8",
}  # fmt: skip
"""MATLAB's classes of plain numbers; cells, structs and texts are no pictures."""

MAX_LISTED = 12
"""Arrays that an error message names."""

FrameAxis = Literal["first", "last"]


@dataclass(frozen=True)
class _Array:
    """An array that is still in its file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    take: Callable[[tuple[Any, ...]], Any]
    """Cut a part out of it, as `array[place]`."""


@dataclass(frozen=True)
class _Layout:
    down: int
    across: int
    colour: int | None
    along: int | None
    """Axes of an array; None where it has none of this kind."""


def is_array_file(head: bytes) -> bool:
    """Whether a file's first 512 bytes are those of an HDF5, MATLAB or NumPy file, or of a pickle."""
    return head.startswith((HDF5_MAGIC, NPY_MAGIC, b"MATLAB 5.0", b"MATLAB 7.3")) or _is_pickle(head)


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays of numbers in a file; a .npy file holds one without a name, "".

    Raises:
        ImageError: not such a file, or damaged.
    """
    with _opened(path) as arrays:
        return {key: array.shape for key, array in arrays.items()}


def array_frames(
    path: Path,
    key: str | None = None,
    *,
    frame_axis: FrameAxis | None = None,
    choose: Callable[[int], Sequence[int]],
) -> Iterator[Frame]:
    """Read chosen frames of one array of a file.

    Arrays are "down across", "frame down across", or either with 3 colours as the last axis. With frames
    last, as MATLAB counts them: "down across frame" or "down across colour frame". Axes of length 1 carry
    nothing and are left out.

    Args:
        path: the file.
        key: name of the array, as `array_shapes` lists it: "images", or "train/images" inside a group. None
            for the only one that can be pictures.
        frame_axis: which end of the shape counts frames; None for "last" in MATLAB files, else "first".
        choose: from the number of frames to the ascending indices wanted.

    Raises:
        ImageError: no array of that name or several to choose from, no shape of pictures, a pickled object,
            or damaged.
    """
    with _opened(path) as arrays:
        last = frame_axis == "last" or (frame_axis is None and _is_matlab(path))
        name = _chosen(path, arrays, key, last=last)
        with decoding(path, "an array"):
            stack = _stack(path, name, arrays[name], last=last)
        yield from stack_frames(stack, choose=choose)


def _chosen(path: Path, arrays: Mapping[str, _Array], key: str | None, *, last: bool) -> str:
    name = key.strip("/") if key is not None else None
    if name is not None and name not in arrays:
        raise ImageError(f"{path}: holds no array of numbers '{key}'; it holds {_listed(arrays)}")
    usable = [name for name, array in arrays.items() if _layout(array.shape, last=last) is not None]
    if name is None and len(usable) == 1:
        return usable[0]
    if name is None and usable:
        raise ImageError(
            f"{path}: {len(usable)} arrays can be pictures, and none was named; it holds {_listed(arrays)}",
            hint="name one of them as the key",
        )
    if name is None:
        raise ImageError(f"{path}: no array can be pictures; it holds {_listed(arrays)}")
    if name not in usable:
        raise ImageError(
            f"{path}: '{name}' of shape {arrays[name].shape} is no picture and no stack of pictures of "
            f"{MIN_SIDE_PX} to {MAX_SIDE_PX:,} px"
        )
    return name


def _listed(arrays: Mapping[str, _Array]) -> str:
    if not arrays:
        return "no array of numbers at all"
    texts = [f"'{key}' {array.shape} {array.dtype}" for key, array in arrays.items()]
    more = f" and {len(texts) - MAX_LISTED:,} more" if len(texts) > MAX_LISTED else ""
    return ", ".join(texts[:MAX_LISTED]) + more


def _layout(shape: Sequence[int], *, last: bool) -> _Layout | None:
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    sizes = [shape[axis] for axis in axes]
    if len(axes) == 2:
        found = _Layout(axes[0], axes[1], None, None)
    elif len(axes) == 3 and sizes[2] == 3:
        found = _Layout(axes[0], axes[1], axes[2], None)
    elif len(axes) == 3 and last:
        found = _Layout(axes[0], axes[1], None, axes[2])
    elif len(axes) == 3:
        found = _Layout(axes[1], axes[2], None, axes[0])
    elif len(axes) == 4 and last and sizes[2] == 3:
        found = _Layout(axes[0], axes[1], axes[2], axes[3])
    elif len(axes) == 4 and not last and sizes[3] == 3:
        found = _Layout(axes[1], axes[2], axes[3], axes[0])
    else:
        return None
    sides = (shape[found.down], shape[found.across])
    fits = min(sides) >= MIN_SIDE_PX and max(sides) <= MAX_SIDE_PX and prod(sides) <= MAX_AREA_PX
    return found if fits else None


def _stack(path: Path, key: str, array: _Array, *, last: bool) -> Stack:
    layout = _layout(array.shape, last=last)
    assert layout is not None  # `_chosen` looked
    kept = {layout.down, layout.across, layout.colour}

    def read(index: int) -> Any:
        place = (
            slice(None) if axis in kept else index if axis == layout.along else 0
            for axis in range(len(array.shape))
        )
        return array.take(tuple(place))  # the axes kept are in the order down, across, colour in any layout

    return Stack(
        path,
        key,
        num_slices=1 if layout.along is None else array.shape[layout.along],
        height=array.shape[layout.down],
        width=array.shape[layout.across],
        dtype=array.dtype,
        spacing_mm=None,
        read=read,
    )


@contextmanager
def _opened(path: Path) -> Iterator[dict[str, _Array]]:
    """The arrays of numbers with two axes or more, by name."""
    with decoding(path, "a file of arrays"), path.open("rb") as file:
        head = file.read(512)
    if head.startswith(NPY_MAGIC) or _is_pickle(head):
        with decoding(path, "a NumPy file"):
            arrays = {"": _npy(path, head)}
        yield arrays
    elif head.startswith(b"MATLAB 5.0"):
        with decoding(path, "a MATLAB file"):
            arrays = _old_matlab(path)
        yield arrays
    elif head.startswith((HDF5_MAGIC, b"MATLAB 7.3")):
        with _hdf5(path) as arrays:
            yield arrays
    else:
        raise ImageError(f"{path}: is no HDF5, MATLAB or NumPy file")


def _is_matlab(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"MATLAB"


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _npy(path: Path, head: bytes) -> _Array:
    refusal = f"{path}: holds a pickled object, which can run code when opened; it is not read"
    hint = "save a plain array of numbers instead: np.save(path, array, allow_pickle=False)"
    if _is_pickle(head):
        raise ImageError(refusal, hint=hint)
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            _, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            _, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ImageError(refusal, hint=hint)
    whole = np.load(path, mmap_mode="r", allow_pickle=False)  # only to see that it is all there
    order: Literal["C", "F"] = "C" if whole.flags.c_contiguous else "F"
    numbers = Mapped(path, whole.dtype, whole.offset, whole.shape, order)
    return _Array(whole.shape, whole.dtype, numbers.__getitem__)


def _old_matlab(path: Path) -> dict[str, _Array]:
    import scipy.io

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two variables of one name
        listed = scipy.io.whosmat(path)

    def load(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        check_loaded_bytes(path, prod(shape) * dtype.itemsize, what=f"'{name}', an array")
        return scipy.io.loadmat(path, variable_names=[name])[name]

    arrays = {}
    for name, shape, kind in listed:
        if kind in MATLAB_TYPES and len(shape) >= 2:
            arrays[name] = _loaded_once(tuple(map(int, shape)), np.dtype(MATLAB_TYPES[kind]), name, load)
    return arrays


def _loaded_once(shape: tuple[int, ...], dtype: np.dtype[Any], name: str, load: Callable[..., Any]) -> _Array:
    kept: list[Any] = []

    def take(place: tuple[Any, ...]) -> Any:
        if not kept:
            kept.append(load(name, shape, dtype))
        return kept[0].astype(dtype, copy=False)[place]

    return _Array(shape, dtype, take)


@contextmanager
def _hdf5(path: Path) -> Iterator[dict[str, _Array]]:
    import h5py

    with decoding(path, "an HDF5 file"):
        # Nobody writes what is read here, and some network disks refuse locks.
        file = h5py.File(path, "r", locking=False, rdcc_nbytes=CHUNK_CACHE_BYTES)
    with file:
        arrays: dict[str, _Array] = {}

        def note(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("#"):  # "#refs#" of MATLAB
                array = _dataset(path, item)
                if array is not None:
                    arrays[name] = array

        with decoding(path, "an HDF5 file"):
            file.visititems(note)  # links to other files are not followed
        yield arrays


def _dataset(path: Path, item: Any) -> _Array | None:
    if item.shape is None or len(item.shape) < 2 or item.dtype.kind not in "biufc":
        return None
    matlab = bytes(item.attrs.get("MATLAB_class", b"")).decode("ascii", "replace")
    if matlab not in ("", *MATLAB_TYPES):
        return None
    dtype = np.dtype(bool) if matlab == "logical" else item.dtype

    def take(place: tuple[Any, ...]) -> Any:
        if item.chunks and prod(item.chunks) * item.dtype.itemsize > MAX_LOADED_BYTES:
            raise ImageError(
                f"{path}: '{item.name}' is packed in pieces of {item.chunks}, too large to unpack"
            )
        # MATLAB stores the last axis first.
        part = item[place[::-1]].T if matlab else item[place]
        return part.astype(dtype, copy=False)

    return _Array(item.shape[::-1] if matlab else item.shape, dtype, take)
