"""What a labelled evaluation set holds, by content and by look, so that the pool can do without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from usfmae.base.errors import CorpusError, ImageError
from usfmae.base.logs import progress_bar
from usfmae.base.processes import in_processes
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.sources import printable
from usfmae.datasets.registry import read_dataset
from usfmae.images.fingerprint import CELLS, content_hash, fingerprint
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frames

FILES_PER_JOB = 64


@dataclass(frozen=True)
class HeldSet:
    """What a labelled set holds."""

    hashes: tuple[str, ...]
    """Content hash of each frame, in the order of the reader."""

    fingerprints: UInt8[np.ndarray, "n 22 22"]
    """What each frame looks like."""

    names: tuple[str, ...]
    """The file of each frame and, where it is not the first, `#` and its number."""


def set_name(name: str, root: Path) -> str:
    """What a labelled set is called in records: by its card, or, of a "folder", by its own name."""
    return root.resolve().name if name == "folder" else name


def held_out_files(hold_out: Sequence[tuple[str, Path]]) -> dict[str, list[Path]]:
    """The image files of each labelled set, in the order of its reader.

    Args:
        hold_out: name of a known dataset (or "folder") and where it lies; a name given twice adds up.

    Returns:
        Files by the name of the set, a "folder" by its own name.

    Raises:
        DatasetError: a set is not laid out as its card says.
        SettingError: no such dataset.
    """
    files: dict[str, list[Path]] = {}
    for name, root in hold_out:
        items = read_dataset(name, root, find_clusters=False).items
        files.setdefault(set_name(name, root), []).extend(item.path for item in items)
    return files


def read_held_sets(files: dict[str, list[Path]], *, config: BuildConfig, workers: int) -> dict[str, HeldSet]:
    """Content hashes and fingerprints of every frame of each labelled set.

    Args:
        files: the result of `held_out_files`.
        config: size and fit at which pixels are compared; that of the corpus.
        workers: processes that read; the result is the same whatever their number.

    Raises:
        CorpusError: one of its images cannot be read, so nobody could say whether it is in the pool.
    """
    held = {}
    for name, paths in files.items():
        jobs = [(k, paths[k : k + FILES_PER_JOB]) for k in range(0, len(paths), FILES_PER_JOB)]
        found: dict[int, HeldSet] = {}
        with progress_bar(f"read {name}", total=len(paths)) as bar:
            for start, part in in_processes(partial(_read, name, config), jobs, workers=workers):
                found[start] = part
                bar.advance(min(FILES_PER_JOB, len(paths) - start))
        parts = [found[start] for start, _ in jobs]
        held[name] = HeldSet(
            hashes=tuple(digest for part in parts for digest in part.hashes),
            fingerprints=np.concatenate([part.fingerprints for part in parts] or [_no_fingerprints()]),
            names=tuple(frame for part in parts for frame in part.names),
        )
    return held


def _read(name: str, config: BuildConfig, job: tuple[int, Sequence[Path]]) -> tuple[int, HeldSet]:
    start, paths = job
    hashes, thumbs, names = [], [], []
    try:
        for path in paths:
            for frame in read_frames(path):
                hashes.append(content_hash(prepare(frame, size_px=config.size_px, fit=config.fit)))
                thumbs.append(fingerprint(frame.pixels))
                number = frame.source.frame_index
                names.append(f"{printable(str(path))}#{number}" if number else printable(str(path)))
    except ImageError as error:
        raise CorpusError(
            f"--hold-out {name}: {error.message}",
            hint="repair or remove the file: what cannot be read cannot be held out",
        ) from error
    return start, HeldSet(tuple(hashes), np.array(thumbs or _no_fingerprints()), tuple(names))


def _no_fingerprints() -> UInt8[np.ndarray, "0 22 22"]:
    return np.zeros((0, CELLS, CELLS), dtype=np.uint8)
