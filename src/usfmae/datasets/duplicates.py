"""Images that show the same: near-duplicate clusters by perceptual hash.

Two images are near-duplicates when at most `NEAR_DUPLICATE_DISTANCE` of the 64 bits of their perceptual
hashes differ (docs/decisions/near-duplicate-distance.md gives the evidence). Clusters are connected
components, since a split must not part any close pair; the distance is small enough that chains stay short.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from usfmae.base.errors import DatasetError, ImageError
from usfmae.base.logs import progress_bar
from usfmae.images.fingerprint import perceptual_hash
from usfmae.images.read import read_frame

NEAR_DUPLICATE_DISTANCE = 6
"""Bits of 64."""

PAIRS_AT_ONCE = 4_000_000
"""Hash pairs compared at once: about 100 MB of scratch whatever the number of images."""

BAR_FROM_IMAGES = 3_000
"""Fewer images are hashed within seconds and need no progress bar."""


def near_duplicate_clusters(
    hashes: UInt64[np.ndarray, " n"], *, max_distance: int = NEAR_DUPLICATE_DISTANCE
) -> Int64[np.ndarray, " n"]:
    """Put images whose hashes are close, directly or over others, into one cluster.

    Every pair is compared (XOR and popcount, in bounded chunks): exact, and 20,000 different hashes take
    about a second.

    Args:
        hashes: one 64-bit perceptual hash per image.
        max_distance: the largest number of differing bits, 0 to 64, that counts as the same picture.

    Returns:
        Cluster ids, counted from 0 in order of first appearance.
    """
    if not 0 <= max_distance <= 64:
        raise ValueError(f"max_distance must lie in 0..64, not {max_distance}")
    if not len(hashes):
        return np.zeros(0, dtype=np.int64)
    distinct, which = np.unique(hashes, return_inverse=True)
    count = len(distinct)
    cluster = np.arange(count)
    rows_at_once = max(1, PAIRS_AT_ONCE // count)
    for start in range(0, count, rows_at_once):
        rows = distinct[start : start + rows_at_once, None]
        close = np.bitwise_count(rows ^ distinct[None, start:]) <= max_distance
        left, right = np.nonzero(close)
        cluster = _joined(cluster, left + start, right + start)
    ids = cluster[which]
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def file_hashes(paths: Sequence[Path]) -> UInt64[np.ndarray, " n"]:
    """The perceptual hash of the first frame of each file, read by several threads.

    Raises:
        DatasetError: files that cannot be read; how many and the first.
    """
    hashes = np.zeros(len(paths), dtype=np.uint64)
    problems: list[ImageError] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(_hash_or_problem, paths)
        if len(paths) < BAR_FROM_IMAGES:
            found = list(results)
        else:
            found = []
            with progress_bar("look for near-duplicates", total=len(paths)) as bar:
                for result in results:
                    found.append(result)
                    bar.advance()
    for index, result in enumerate(found):
        if isinstance(result, ImageError):
            problems.append(result)
        else:
            hashes[index] = result
    if problems:
        raise DatasetError(
            f"{len(problems):,} of {len(paths):,} labelled images cannot be read "
            f"(first: {problems[0].message})",
            hint="repair or remove them, and their labels",
        )
    return hashes


def _hash_or_problem(path: Path) -> int | ImageError:
    try:
        return perceptual_hash(read_frame(path).pixels)
    except ImageError as error:
        return error


def _joined(
    cluster: Int64[np.ndarray, " n"], left: Int64[np.ndarray, " pair"], right: Int64[np.ndarray, " pair"]
) -> Int64[np.ndarray, " n"]:
    """Clusters after the pairs (left, right) were found to be the same as well."""
    count = len(cluster)
    pairs = coo_array((np.ones(len(left), dtype=bool), (cluster[left], cluster[right])), shape=(count, count))
    _, component = connected_components(pairs, directed=False)
    joined: Int64[np.ndarray, " n"] = component[cluster].astype(np.int64)
    return joined
