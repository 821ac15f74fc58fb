"""One part of a corpus: some files in, one shard, its rows and fingerprints out. Runs in a worker process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from usfmae.base.errors import FolderError, ImageError
from usfmae.base.files import new_file, new_folder, read_json, write_json
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.sources import SourceFile, printable
from usfmae.images.clip_choice import spread_by_change
from usfmae.images.fingerprint import CELLS, content_hash, fingerprint
from usfmae.images.frame import Frame
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frame, read_frames

PARTS = "parts"
SHARD_FILE, ROWS_FILE, FINGERPRINTS_FILE = "shard.npy", "rows.json", "fingerprints.npy"


@dataclass(frozen=True)
class Part:
    """Files that are stored together."""

    index: int
    """Counted from 0 over all sources."""

    files: tuple[SourceFile, ...]
    """In the order of the corpus."""


def part_folder(corpus: Path, index: int) -> Path:
    """Where a part lies: `parts/00012`."""
    return corpus / PARTS / f"{index:05d}"


def build_part(part: Part, *, corpus: Path, config: BuildConfig) -> int:
    """Read, prepare and store a part, whole or not at all; returns the number of its files.

    A file that cannot be read gives a row of `unreadable`, never a stand-in. A clip that breaks off keeps
    the frames before, and is named as unreadable too. Memory: one frame, however long the clips are.

    Raises:
        FolderError: the disk is full.
    """
    rows: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    small: list[dict[str, str]] = []
    thumbs: list[UInt8[np.ndarray, "22 22"]] = []
    with new_folder(part_folder(corpus, part.index)) as folder:
        with _new_shard(folder / SHARD_FILE, config.size_px) as shard:
            for file in part.files:
                place = {"source": file.source, "path": file.name}
                try:
                    for frame in _frames_of(file, config):
                        if min(frame.height, frame.width) < config.min_side_px:
                            small.append({**place, "why": f"{frame.width} x {frame.height} px"})
                            continue
                        image = prepare(frame, size_px=config.size_px, fit=config.fit)
                        rows.append(_row(file, frame, image, shard=part.index, row=len(rows)))
                        shard.append(image)
                        thumbs.append(fingerprint(frame.pixels))
                except ImageError as error:
                    unreadable.append(
                        {**place, "why": printable(error.message.removeprefix(f"{file.path}: "))}
                    )
        with new_file(folder / FINGERPRINTS_FILE) as prints:
            np.save(prints, np.array(thumbs, dtype=np.uint8).reshape(-1, CELLS, CELLS))
        write_json(folder / ROWS_FILE, {"rows": rows, "unreadable": unreadable, "too_small": small})
    return len(part.files)


def read_part(corpus: Path, index: int) -> dict[str, list[dict[str, Any]]]:
    """The rows, unreadable files and too small frames of a finished part.

    Raises:
        FolderError: the part is not there or damaged.
    """
    content: dict[str, list[dict[str, Any]]] = read_json(part_folder(corpus, index) / ROWS_FILE)
    return content


def read_fingerprints(corpus: Path, index: int) -> UInt8[np.ndarray, "n 22 22"]:
    """What the images of a finished part look like, in the order of its rows.

    Raises:
        FolderError: they are not there (a corpus from before they were kept) or damaged.
    """
    path = part_folder(corpus, index) / FINGERPRINTS_FILE
    try:
        thumbs: UInt8[np.ndarray, "n 22 22"] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FolderError(f"{path}: cannot be read ({error})") from error
    if thumbs.dtype != np.uint8 or thumbs.shape[1:] != (CELLS, CELLS):
        raise FolderError(f"{path}: holds no fingerprints")
    return thumbs


def is_stored(corpus: Path, index: int, *, size_px: int) -> bool:
    """Whether a part is there, with as many bytes and fingerprints as its rows need."""
    try:
        num_images = len(read_part(corpus, index)["rows"])
        num_fingerprints = len(read_fingerprints(corpus, index))
        num_bytes = (part_folder(corpus, index) / SHARD_FILE).stat().st_size
    except (FolderError, OSError, KeyError, TypeError):
        return False
    return num_bytes == HEADER_BYTES + num_images * size_px**2 and num_fingerprints == num_images


def _frames_of(file: SourceFile, config: BuildConfig) -> Iterator[Frame]:
    if file.frame is not None:
        return iter([read_frame(file.path, file.frame, key=file.array)])
    if config.clip_choice == "even" or config.max_frames_per_clip is None:
        return read_frames(file.path, max_frames=config.max_frames_per_clip, key=file.array)
    looked_at = read_frames(file.path, max_frames=config.looked_at_per_clip, key=file.array)
    return spread_by_change(looked_at, config.max_frames_per_clip)


def _row(
    file: SourceFile, frame: Frame, image: UInt8[np.ndarray, "size size"], *, shard: int, row: int
) -> dict[str, Any]:
    spacing = frame.spacing_mm or file.spacing_mm or (None, None)
    return {
        "source": file.source,
        "path": file.name,
        "frame": frame.source.frame_index,
        "num_frames": frame.source.num_frames,
        "group": file.group,
        "height": frame.height,
        "width": frame.width,
        "spacing_down_mm": spacing[0],
        "spacing_across_mm": spacing[1],
        "content_hash": content_hash(image),
        "shard": shard,
        "row": row,
    }


HEADER_BYTES = 128
"""NumPy pads the header of a .npy file to this length for any number of images, so the number can be
filled in at the end."""


class _Shard:
    """A .npy file that grows by one image at a time."""

    def __init__(self, file: BinaryIO, size_px: int) -> None:
        self._file = file
        self._size_px = size_px
        self._num_images = 0
        self.write_header()

    def append(self, image: UInt8[np.ndarray, "size size"]) -> None:
        self._file.write(image.data)
        self._num_images += 1

    def write_header(self) -> None:
        self._file.seek(0)
        shape = (self._num_images, self._size_px, self._size_px)
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        assert self._file.tell() == HEADER_BYTES


@contextmanager
def _new_shard(path: Path, size_px: int) -> Iterator[_Shard]:
    with new_file(path) as file:
        shard = _Shard(file, size_px)
        yield shard
        shard.write_header()
