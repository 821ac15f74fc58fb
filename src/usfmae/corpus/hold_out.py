"""What a labelled evaluation set holds, by content, so that the pool can do without it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from usfmae.base.errors import CorpusError, ImageError
from usfmae.base.logs import progress_bar
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.workers import in_processes
from usfmae.datasets.registry import read_dataset
from usfmae.images.fingerprint import content_hash
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frames

FILES_PER_JOB = 64


def held_out_files(hold_out: Sequence[tuple[str, Path]]) -> dict[str, list[Path]]:
    """The image files of each labelled set, in the order of its reader.

    Args:
        hold_out: name of a known dataset (or "folder") and where it lies; a name given twice adds up.

    Raises:
        DatasetError: a set is not laid out as its card says.
        SettingError: no such dataset.
    """
    files: dict[str, list[Path]] = {}
    for name, root in hold_out:
        items = read_dataset(name, root, find_clusters=False).items
        files.setdefault(name, []).extend(item.path for item in items)
    return files


def held_out_hashes(
    files: dict[str, list[Path]], *, config: BuildConfig, workers: int
) -> dict[str, frozenset[str]]:
    """Content hashes of every frame of each labelled set.

    Args:
        files: the result of `held_out_files`.
        config: size and fit at which pixels are compared; that of the corpus.
        workers: processes that read.

    Raises:
        CorpusError: one of its images cannot be read, so nobody could say whether it is in the pool.
    """
    hashes: dict[str, frozenset[str]] = {}
    for name, paths in files.items():
        jobs = [paths[k : k + FILES_PER_JOB] for k in range(0, len(paths), FILES_PER_JOB)]
        found: set[str] = set()
        with progress_bar(f"hold out {name}", total=len(paths)) as bar:
            for num_read, part in in_processes(partial(_hashes, name, config), jobs, workers=workers):
                found.update(part)
                bar.advance(num_read)
        hashes[name] = frozenset(found)
    return hashes


def _hashes(name: str, config: BuildConfig, paths: Sequence[Path]) -> tuple[int, list[str]]:
    try:
        return len(paths), [
            content_hash(prepare(frame, size_px=config.size_px, fit=config.fit))
            for path in paths
            for frame in read_frames(path)
        ]
    except ImageError as error:
        raise CorpusError(
            f"--hold-out {name}: {error.message}",
            hint="repair or remove the file: what cannot be read cannot be held out",
        ) from error
