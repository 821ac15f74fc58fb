"""Frames of many files in order, read ahead in several threads, never more than a few of each in memory."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from usfmae.base.errors import ImageError
from usfmae.images.frame import Frame
from usfmae.images.read import read_frames

FRAMES_AHEAD = 16
"""Frames of a file that are read before it is its turn."""

FILES_AHEAD = 4
"""Files that are read ahead, for each thread."""

Square = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """One frame as a network's square."""

    path: Path
    frame: int
    """Number in the clip, from 0."""

    square: Square


@dataclass(frozen=True)
class ReadFile:
    """Said after the last frame of a file."""

    path: Path
    num_frames: int
    """Frames that were given."""

    problem: str | None
    """Why it could not be read, or not to its end."""


class FrameStream:
    """The frames of files in order, each file followed by a `ReadFile`; a context, since threads read ahead.

    Args:
        files: what to read.
        prepare: makes a frame a square.
        every: of several frames, those whose number this divides.
        threads: that read ahead.
    """

    def __init__(
        self, files: Sequence[Path], prepare: Callable[[Frame], Square], *, every: int, threads: int
    ) -> None:
        self._files, self._prepare, self._every = files, prepare, every
        self._ahead = FILES_AHEAD * threads
        self._threads = ThreadPoolExecutor(threads)

    def __enter__(self) -> "FrameStream":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[PreparedFrame | ReadFile]:
        waiting: deque[Future[_Reading]] = deque()
        files = iter(self._files)
        while True:
            while len(waiting) < self._ahead:
                path = next(files, None)
                if path is None:
                    break
                waiting.append(self._threads.submit(self._begin, path))
            if not waiting:
                return
            yield from waiting.popleft().result().rest()

    def _begin(self, path: Path) -> "_Reading":
        reading = _Reading(path, self._prepare, self._every)
        reading.read(FRAMES_AHEAD)
        return reading


class _Reading:
    """One file, as far as it was read."""

    def __init__(self, path: Path, prepare: Callable[[Frame], Square], every: int) -> None:
        self.path, self.prepare, self.every = path, prepare, every
        self.frames = read_frames(path)
        self.ready: list[PreparedFrame] = []
        self.problem: str | None = None
        self.ended = False

    def read(self, num_frames: int) -> None:
        """Make up to `num_frames` more ready."""
        try:
            while len(self.ready) < num_frames:
                frame = next(self.frames)
                if frame.source.frame_index % self.every == 0:
                    square = self.prepare(frame)
                    self.ready.append(PreparedFrame(self.path, frame.source.frame_index, square))
        except StopIteration:
            self.ended = True
        except ImageError as error:
            self.problem, self.ended = error.message, True

    def rest(self) -> Iterator[PreparedFrame | ReadFile]:
        """All that is ready, then what is still to be read."""
        given = 0
        while True:
            yield from self.ready
            given += len(self.ready)
            self.ready = []
            if self.ended:
                yield ReadFile(self.path, given, self.problem)
                return
            self.read(FRAMES_AHEAD)
