"""One part of a corpus: some files in, one shard and its rows out. Runs in a worker process."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from usfmae.base.errors import ImageError
from usfmae.base.files import new_folder, read_json, write_bytes, write_json
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.sources import SourceFile
from usfmae.images.fingerprint import content_hash
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frames

PARTS = "parts"
SHARD_FILE, ROWS_FILE = "shard.npy", "rows.json"


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


def build_part(part: Part, corpus: Path, config: BuildConfig) -> int:
    """Read, prepare and store a part, whole or not at all; returns the number of its files.

    A file that cannot be read gives a row of `unreadable`, never a stand-in. An image whose frames break
    off keeps the frames before.

    Raises:
        FolderError: the disk is full.
    """
    cv2.setNumThreads(1)
    images: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    small: list[dict[str, str]] = []
    for file in part.files:
        try:
            for frame in read_frames(file.path, max_frames=config.max_frames_per_clip):
                height, width = frame.pixels.shape[:2]
                if min(height, width) < config.min_side_px:
                    small.append({"source": file.source, "path": file.name, "why": f"{width} x {height} px"})
                    continue
                image = prepare(frame, size_px=config.size_px)
                spacing = frame.spacing_mm or (None, None)
                rows.append(
                    {
                        "source": file.source,
                        "path": file.name,
                        "frame": frame.source.frame_index,
                        "num_frames": frame.source.num_frames,
                        "group": file.group,
                        "height": height,
                        "width": width,
                        "spacing_down_mm": spacing[0],
                        "spacing_across_mm": spacing[1],
                        "content_hash": content_hash(image),
                        "shard": part.index,
                        "row": len(images),
                    }
                )
                images.append(image)
        except ImageError as error:
            why = error.message.removeprefix(f"{file.path}: ")
            unreadable.append({"source": file.source, "path": file.name, "why": why})
    pixels = np.stack(images) if images else np.empty((0, config.size_px, config.size_px), np.uint8)
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    with new_folder(part_folder(corpus, part.index)) as folder:
        write_bytes(folder / SHARD_FILE, buffer.getvalue())
        write_json(folder / ROWS_FILE, {"rows": rows, "unreadable": unreadable, "too_small": small})
    return len(part.files)


def read_part(corpus: Path, index: int) -> dict[str, list[dict[str, Any]]]:
    """The rows, unreadable files and too small frames of a finished part."""
    content: dict[str, list[dict[str, Any]]] = read_json(part_folder(corpus, index) / ROWS_FILE)
    return content
