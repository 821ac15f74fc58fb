"""One part of a corpus: some files in, one shard, its rows and fingerprints out. Runs in a worker process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Bool, UInt8

from usfmae.base.errors import FolderError, ImageError
from usfmae.base.files import new_file, new_folder, read_json, write_bytes, write_json
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.curate import Dropped, Kept, curate
from usfmae.corpus.sources import SourceFile, printable
from usfmae.images.clip_choice import spread_by_change
from usfmae.images.fingerprint import CELLS, content_hash, fingerprint
from usfmae.images.frame import Frame
from usfmae.images.prepare import prepare, prepare_mask
from usfmae.images.read import read_frame, read_frames

PARTS = "parts"
LEFT_OUT_HERE = ("too_small", "no_b_mode", "may_identify")
"""Why a frame that was read is not stored; what takes the whole pool to know is told by `stock`."""

FRAMES_AT_ONCE = 32
"""Frames of a file that are looked at together and held in memory."""

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
    the frames before, and is named as unreadable too. Memory: some frames, however long the clips are.

    Raises:
        FolderError: the disk is full.
    """
    rows: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    left: dict[str, list[dict[str, str]]] = {reason: [] for reason in LEFT_OUT_HERE}
    thumbs: list[UInt8[np.ndarray, "22 22"]] = []
    with new_folder(part_folder(corpus, part.index)) as folder:
        with _new_shard(folder / SHARD_FILE, config.size_px) as shard:
            for file in part.files:
                place = {"source": file.source, "path": file.name}
                views: Counter[int] = Counter()
                try:
                    for kept in _pictures_of(file, config):
                        if isinstance(kept, Dropped):
                            where = f"frame {kept.frame_index}: " if kept.frame_index else ""
                            left[kept.reason].append({**place, "why": f"{where}{kept.why}"})
                            continue
                        frame = kept.frame
                        if min(frame.height, frame.width) < config.min_side_px:
                            left["too_small"].append({**place, "why": f"{frame.width} x {frame.height} px"})
                            continue
                        image = prepare(frame, size_px=config.size_px, fit=config.fit)
                        row = _row(file, kept, image, config)
                        view = views[frame.source.frame_index]
                        views[frame.source.frame_index] += 1
                        rows.append({**row, "view": view, "shard": part.index, "row": len(rows)})
                        shard.append(image)
                        thumbs.append(fingerprint(kept.seen.pixels))
                except ImageError as error:
                    unreadable.append(
                        {**place, "why": printable(error.message.removeprefix(f"{file.path}: "))}
                    )
        prints = BytesIO()  # into a file, NumPy does not say why it could not write
        np.save(prints, np.array(thumbs, dtype=np.uint8).reshape(-1, CELLS, CELLS))
        write_bytes(folder / FINGERPRINTS_FILE, prints.getvalue())
        write_json(folder / ROWS_FILE, {"rows": rows, "unreadable": unreadable, **left})
    return len(part.files)


def read_part(corpus: Path, index: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of a finished part, its unreadable files, and LEFT_OUT_HERE.

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


def _pictures_of(file: SourceFile, config: BuildConfig) -> Iterator[Kept | Dropped]:
    for frames in _in_batches(_frames_of(file, config)):
        yield from curate(frames, config)


def _in_batches(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    """At most FRAMES_AT_ONCE frames together; what was read before an error comes before the error."""
    held: list[Frame] = []
    try:
        for frame in frames:
            held.append(frame)
            if len(held) == FRAMES_AT_ONCE:
                yield held
                held = []
    except ImageError:
        if held:
            yield held
        raise
    if held:
        yield held


def _row(
    file: SourceFile, kept: Kept, image: UInt8[np.ndarray, "size size"], config: BuildConfig
) -> dict[str, Any]:
    frame = kept.frame
    as_in_file = image if frame is kept.seen else prepare(kept.seen, size_px=config.size_px, fit=config.fit)
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
        "top_px": kept.top_px,
        "left_px": kept.left_px,
        "sector": kept.sector,
        "filled_ratio": float(kept.marks.mean()),
        "marks": _runs(kept.marks, config),
        "flags": " ".join(kept.flags),
        "content_hash": content_hash(as_in_file),
    }


def _runs(marks: Bool[np.ndarray, "height width"], config: BuildConfig) -> list[int]:
    """Lengths of runs of unfilled and filled pixels over the stored square, row by row; empty if unfilled."""
    if not marks.any():
        return []
    square = prepare_mask(marks.astype(np.uint8), size_px=config.size_px, fit=config.fit).ravel()
    ends = np.flatnonzero(np.diff(square, prepend=0)).tolist()
    return [end - start for start, end in zip([0, *ends], [*ends, square.size], strict=True)]


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
