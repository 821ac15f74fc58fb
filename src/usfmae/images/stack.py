"""Equally large slices of one array, scaled together: what volumes and stored arrays have in common.

Slices are fetched one at a time and scaled by the span of the whole stack, not each by its own, so a dark
slice stays dark beside a bright one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from usfmae.base.errors import ImageError
from usfmae.images.decoding import decoding
from usfmae.images.frame import Frame, FrameSource
from usfmae.images.intensity import span_of, to_8_bits
from usfmae.images.limits import check_size

SPAN_SLICES = 256
"""Slices that the span is taken from, spread evenly; larger stacks would be read twice from end to end."""

MAX_KEPT_SPANS = 4096
"""Spans that are remembered, so that reading single frames of one file does not take its span each time."""


@dataclass(frozen=True)
class Stack:
    """Slices of an array in a file that is open or mapped."""

    path: Path
    """The file."""

    key: str
    """The array's name in the file; empty where it has none."""

    num_slices: int
    height: int
    width: int
    dtype: np.dtype[Any]
    """Of the stored values."""

    spacing_mm: tuple[float, float] | None
    """Pixel pitch (down, across); None when the file does not say."""

    read: Callable[[int], Any]
    """From an index to the values "height width" or "height width 3" of that slice."""


def stack_frames(stack: Stack, *, choose: Callable[[int], Sequence[int]]) -> Iterator[Frame]:
    """Read chosen slices, one at a time, scaled to 8 bits by `images.intensity.to_8_bits`.

    The span is that of at most SPAN_SLICES slices of the stack; rare values beyond it are clipped. Values
    that are not finite become 0.

    Args:
        stack: an open stack.
        choose: from the number of slices to the ascending indices wanted.

    Raises:
        ImageError: no slice, not plain numbers, nothing finite, or damaged.
    """
    path = stack.path
    what = f"'{stack.key}'" if stack.key else "the array"
    if stack.dtype.kind not in "biuf":
        hint = " (IQ data: make B-mode images of it first)" if stack.dtype.kind == "c" else ""
        raise ImageError(f"{path}: {what} holds {stack.dtype} values, not grey or colour{hint}")
    check_size(path, stack.height, stack.width)
    if stack.num_slices < 1:
        raise ImageError(f"{path}: {what} holds no image")
    indices = choose(stack.num_slices)
    if not len(indices):
        return
    with decoding(path, "an array"):
        span = None if stack.dtype == np.uint8 or stack.dtype.kind == "b" else _span(stack)
    for index in indices:
        with decoding(path, "an array"):
            values = np.array(stack.read(index))  # a copy: no frame holds a mapped file open
            pixels = np.ascontiguousarray(to_8_bits(values, span=span))
        yield Frame(pixels, stack.spacing_mm, FrameSource(str(path), index, stack.num_slices))


_spans: dict[tuple[str, str, int, int], tuple[float, float]] = {}
"""Only a memory of what the files say: losing it costs time and changes nothing."""


def _span(stack: Stack) -> tuple[float, float]:
    status = stack.path.stat()
    identity = (str(stack.path.resolve()), stack.key, status.st_mtime_ns, status.st_size)
    if identity not in _spans:
        if len(_spans) >= MAX_KEPT_SPANS:
            _spans.clear()
        _spans[identity] = _take_span(stack)
    return _spans[identity]


def _take_span(stack: Stack) -> tuple[float, float]:
    step = max(1, -(-stack.num_slices // SPAN_SLICES))
    low, high, finite = 0.0, 0.0, stack.dtype.kind != "f"
    for index in range(step // 2, stack.num_slices, step):
        values = np.asarray(stack.read(index))
        finite = finite or bool(np.isfinite(values).any())
        slice_low, slice_high = span_of(values)
        low, high = min(low, slice_low), max(high, slice_high)
    if not finite:
        raise ImageError(f"{stack.path}: holds no finite number (all NaN or infinite)")
    return low, high
