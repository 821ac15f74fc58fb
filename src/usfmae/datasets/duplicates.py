"""Images that show the same: pairs, clusters and matches between two sets, by fingerprint.

Two images are near-duplicates when their fingerprints, laid over each other as well as can be, are alike to
at least `NEAR_DUPLICATE_LIKENESS` (docs/decisions/near-duplicate-distance.md gives the evidence): resized,
compressed, brightened, mirrored, framed copies, crops of 90 %, the same scan with other calipers, the next
frame.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from usfmae.base.errors import DatasetError, ImageError
from usfmae.base.logs import progress_bar
from usfmae.datasets.alignment import CROP_STEP, WELL_INSIDE, Thumbs, aligned_likeness
from usfmae.datasets.candidates import FOUND_AS, LOOKED_UP, Candidates, Index, is_flat
from usfmae.images.fingerprint import CELLS, Fingerprint, fingerprint
from usfmae.images.read import read_frame

NEAR_DUPLICATE_LIKENESS = 0.92

NEARLY = 0.02
"""What falls short by less is looked at again."""

IMAGES_AT_ONCE = PAIRS_AT_ONCE = 4_096

BAR_FROM_IMAGES = 3_000
"""Fewer images are read within seconds and need no progress bar."""


@dataclass(frozen=True)
class Pairs:
    """Near-duplicates, each pair once."""

    left: Int64[np.ndarray, " n"]
    right: Int64[np.ndarray, " n"]
    likeness: Float32[np.ndarray, " n"]
    """From `NEAR_DUPLICATE_LIKENESS` to 1, rounded to 4 digits."""

    def __len__(self) -> int:
        return len(self.left)


def near_duplicate_pairs(thumbs: Thumbs) -> Pairs:
    """All near-duplicates within a set, left < right, sorted; whatever the order of images, the same ones.

    Up to 3,000 images every pair is compared; above, a few of the most disguised pairs may be missed
    (docs/results/duplicates.md: how many).

    Args:
        thumbs: one fingerprint per image.
    """
    prints = _Prints(thumbs)
    left, right, likeness = prints.pairs()
    copies = [members for members in prints.members(skip_flat=True) if len(members) > 1]
    inner = [np.array(np.triu_indices(len(members), 1)) for members in copies]
    members = prints.members()
    columns = [
        *((own[i], own[j], np.ones(len(i), np.float32)) for own, (i, j) in zip(copies, inner, strict=True)),
        *_products(members, members, left, right, likeness),
    ]
    left, right, likeness = _columns(columns)
    return Pairs(*_best_of(np.minimum(left, right), np.maximum(left, right), likeness))


def near_duplicate_matches(thumbs: Thumbs, others: UInt8[np.ndarray, "m 22 22"]) -> Pairs:
    """All near-duplicates between two sets: left counts into the first, right into the second; sorted."""
    ones, twos = _Prints(thumbs), _Prints(others)
    left, right, likeness = _best_of(*_columns([ones.found_in(twos), _swapped(twos.found_in(ones))]))
    columns = _products(ones.members(), twos.members(), left, right, likeness)
    return Pairs(*_best_of(*_columns(columns)))


def near_duplicate_clusters(thumbs: Thumbs) -> Int64[np.ndarray, " n"]:
    """Put images that are near-duplicates, directly or over others, into one cluster.

    These are the groups of a split, which must not part any close pair.

    Returns:
        Cluster ids, counted from 0 in order of first appearance.
    """
    prints = _Prints(thumbs)
    left, right, _ = prints.pairs()
    count = len(prints.thumbs)
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(count, count))
    component = connected_components(graph, directed=False)[1][prints.which].astype(np.int64)
    flat = is_flat(thumbs) if len(thumbs) else np.zeros(0, bool)
    component[flat] = count + np.flatnonzero(flat)  # pictures that show nothing are not the same scan
    return _in_order_of_appearance(component)


def near_duplicate_stars(
    thumbs: Thumbs,
) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
    """Who stands for whom, the first taking precedence.

    Images are taken in the order given: one that is close to somebody before it who stands for himself is
    assigned to the likest of these, any other stands for itself. Unlike connected components, stars cannot
    chain: the first frame of a slow sweep does not stand for the last, unless they are alike.

    Returns:
        For each image the index of the one that stands for it, and how alike they are.
    """
    prints = _Prints(thumbs)
    first = np.array([members[0] for members in prints.members()], dtype=np.int64)
    left, right, likeness = prints.pairs()
    swap = first[left] > first[right]  # left is to be the earlier one
    left, right = np.where(swap, right, left), np.where(swap, left, right)
    stands, alike = np.arange(len(first)), np.ones(len(first), dtype=np.float32)
    order = np.lexsort((first[left], -likeness, first[right]))
    for one, other, value in zip(
        left[order].tolist(), right[order].tolist(), likeness[order].tolist(), strict=True
    ):
        if stands[other] == other and stands[one] == one:
            stands[other], alike[other] = one, value
    who, how = first[stands[prints.which]], alike[prints.which]
    flat = is_flat(thumbs) if len(thumbs) else np.zeros(0, bool)
    return np.where(flat, np.arange(len(thumbs)), who), np.where(flat, np.float32(1), how)


def _in_order_of_appearance(ids: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The same partition with ids counted from 0 in order of first appearance."""
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def file_fingerprints(paths: Sequence[Path]) -> Thumbs:
    """The fingerprint of the first frame of each file, read by several threads.

    Raises:
        DatasetError: files that cannot be read; how many and the first.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(_fingerprint_or_problem, paths)
        if len(paths) < BAR_FROM_IMAGES:
            found = list(results)
        else:
            found = []
            with progress_bar("look for near-duplicates", total=len(paths)) as bar:
                for result in results:
                    found.append(result)
                    bar.advance()
    problems = [result for result in found if isinstance(result, ImageError)]
    if problems:
        raise DatasetError(
            f"{len(problems):,} of {len(paths):,} labelled images cannot be read "
            f"(first: {problems[0].message})",
            hint="repair or remove them, and their labels",
        )
    return np.array(found, dtype=np.uint8).reshape(-1, CELLS, CELLS)


def _fingerprint_or_problem(path: Path) -> Fingerprint | ImageError:
    try:
        return fingerprint(read_frame(path).pixels)
    except ImageError as error:
        return error


_Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Left, right, likeness."""


class _Prints:
    """The different fingerprints of a set, in an order that does not depend on that of the set."""

    def __init__(self, thumbs: Thumbs) -> None:
        rows = np.ascontiguousarray(thumbs).reshape(len(thumbs), CELLS * CELLS)
        as_bytes = rows.view(np.dtype((np.void, CELLS * CELLS))).ravel()
        _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
        self.thumbs: Thumbs = thumbs[first]
        self.which: Int64[np.ndarray, " n"] = which.astype(np.int64)

    def members(self, *, skip_flat: bool = False) -> list[Int64[np.ndarray, " k"]]:
        """Who has each fingerprint, ascending."""
        order = np.argsort(self.which, kind="stable")
        starts = np.searchsorted(self.which[order], np.arange(len(self.thumbs) + 1))
        lists = [order[i:j] for i, j in pairwise(starts.tolist())]
        if not skip_flat or not lists:
            return lists
        return [own for own, flat in zip(lists, is_flat(self.thumbs).tolist(), strict=True) if not flat]

    def pairs(self) -> _Columns:
        """Near-duplicates among them, left < right, each once."""
        left, right, likeness = self.found_in(self)
        return _best_of(np.minimum(left, right), np.maximum(left, right), likeness)

    def found_in(self, other: "_Prints") -> _Columns:
        """Those of this set that are a crop, a framed copy or a copy of one in the other set."""
        if not len(self.thumbs) or not len(other.thumbs):
            return _columns([])
        index = Index(other.thumbs)
        starts = range(0, len(self.thumbs), IMAGES_AT_ONCE)

        def work(start: int) -> _Columns:
            some = index.look_up(self.thumbs[start : start + IMAGES_AT_ONCE])
            return _decided(self.thumbs, other.thumbs, some, start, among_themselves=other is self)

        # Threads of BLAS below these would only fight for the same cores.
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return _columns(list(pool.map(work, starts)))


def _decided(
    ones: Thumbs,
    others: UInt8[np.ndarray, "m 22 22"],
    some: Candidates,
    first: int,
    *,
    among_themselves: bool,
) -> _Columns:
    """The candidates that are near-duplicates after alignment."""
    query = some.query + first
    chosen = np.flatnonzero(query != some.entry) if among_themselves else np.arange(len(query))
    regions, crops = _aligned_boxes()
    likeness = np.zeros(len(chosen), dtype=np.float32)
    for start in range(0, len(chosen), PAIRS_AT_ONCE):
        part = chosen[start : start + PAIRS_AT_ONCE]
        likeness[start : start + PAIRS_AT_ONCE] = aligned_likeness(
            ones[query[part]],
            regions[some.region[part]],
            others[some.entry[part]],
            crops[some.region[part], some.crop[part]],
            some.mirrored[part],
            least=NEAR_DUPLICATE_LIKENESS,
        )
    # Steps from one crop may end beside the right place: what nearly reaches is tried from the crops around.
    least = NEAR_DUPLICATE_LIKENESS - NEARLY
    near = np.flatnonzero((likeness >= least) & (likeness < NEAR_DUPLICATE_LIKENESS))
    around = _crops_around()[some.crop[chosen[near]]]
    again, crop = np.nonzero(around)
    for start in range(0, len(again), PAIRS_AT_ONCE):
        rows, other = near[again[start : start + PAIRS_AT_ONCE]], crop[start : start + PAIRS_AT_ONCE]
        part = chosen[rows]
        found = aligned_likeness(
            ones[query[part]],
            regions[some.region[part]],
            others[some.entry[part]],
            crops[some.region[part], other],
            some.mirrored[part],
            least=NEAR_DUPLICATE_LIKENESS,
        )
        np.maximum.at(likeness, rows, found)
    likeness = np.round(likeness, 4)
    close = likeness >= np.float32(NEAR_DUPLICATE_LIKENESS)
    chosen = chosen[close]
    return query[chosen], some.entry[chosen], likeness[close]


def _crops_around() -> Bool[np.ndarray, "crop crop"]:
    """For each of `FOUND_AS`, the crops at most one step up, down or aside; for the whole, the middle one."""
    corners = np.array(FOUND_AS)[:, [0, 2]]
    step = np.abs(corners[:, None] - corners[None]).max(axis=2)
    around: Bool[np.ndarray, "crop crop"] = (step <= CROP_STEP) & ~np.eye(len(FOUND_AS), dtype=bool)
    around[0], around[:, 0] = (corners == CROP_STEP).all(axis=1), False
    return around


def _aligned_boxes() -> tuple[Int64[np.ndarray, "way 4"], Int64[np.ndarray, "way crop 4"]]:
    """The boxes to compare for each way to look up, and where they are expected in each crop."""
    plain = np.array(FOUND_AS)
    height, width = plain[:, 1] - plain[:, 0], plain[:, 3] - plain[:, 2]
    inset = np.rint(np.stack([height, -height, width, -width], axis=1) * 10 / 400).astype(np.int64)
    return np.array([LOOKED_UP[0], WELL_INSIDE]), np.stack([plain, plain + inset])


def _products(
    members: list[np.ndarray],
    others: list[np.ndarray],
    left: np.ndarray,
    right: np.ndarray,
    likeness: np.ndarray,
) -> list[_Columns]:
    """All images that have the fingerprints of each pair."""
    columns = []
    for one, other, value in zip(left.tolist(), right.tolist(), likeness.tolist(), strict=True):
        a, b = members[one], others[other]
        columns.append(
            (np.repeat(a, len(b)), np.tile(b, len(a)), np.full(len(a) * len(b), value, np.float32))
        )
    return columns


def _swapped(columns: _Columns) -> _Columns:
    return columns[1], columns[0], columns[2]


def _columns(found: list[_Columns]) -> _Columns:
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    left, right, likeness = (np.concatenate(column) for column in zip(*found, strict=True))
    return left, right, likeness


def _best_of(left: np.ndarray, right: np.ndarray, likeness: np.ndarray) -> _Columns:
    """Sorted pairs, each once, with their highest likeness."""
    order = np.lexsort((-likeness, right, left))
    left, right, likeness = left[order], right[order], likeness[order]
    new = np.ones(len(left), dtype=bool)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return left[new], right[new], likeness[new]
