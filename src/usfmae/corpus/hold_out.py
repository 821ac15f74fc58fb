"""What a labelled evaluation set holds, by content, so that the pool can do without it."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from usfmae.base.errors import CorpusError, ImageError
from usfmae.base.logs import progress_bar
from usfmae.datasets.registry import read_dataset
from usfmae.images.fingerprint import content_hash
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frames


def held_out_hashes(
    hold_out: Sequence[tuple[str, Path]], *, size_px: int, workers: int
) -> dict[str, frozenset[str]]:
    """Content hashes of every image of each labelled set.

    Args:
        hold_out: name of a known dataset (or "folder") and where it lies.
        size_px: side at which pixels are compared; that of the corpus.
        workers: processes that read.

    Raises:
        DatasetError: a set is not laid out as its card says.
        CorpusError: one of its images cannot be read, so nobody could say whether it is in the pool.
    """
    hashes: dict[str, frozenset[str]] = {}
    for name, root in hold_out:
        paths = [item.path for item in read_dataset(name, root, find_clusters=False).items]
        found: set[str] = set()
        with (
            ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
            progress_bar(f"hold out {name}", total=len(paths)) as bar,
        ):
            for path, result in zip(
                paths, pool.map(_hashes, paths, [size_px] * len(paths), chunksize=64), strict=True
            ):
                if isinstance(result, str):
                    raise CorpusError(
                        f"--hold-out {name}: {path} cannot be read ({result})",
                        hint="repair or remove the file: what cannot be read cannot be held out",
                    )
                found.update(result)
                bar.advance()
        hashes[name] = hashes.get(name, frozenset()) | found
    return hashes


def _hashes(path: Path, size_px: int) -> list[str] | str:
    try:
        return [content_hash(prepare(frame, size_px=size_px)) for frame in read_frames(path)]
    except ImageError as error:
        return error.message
