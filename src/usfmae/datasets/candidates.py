"""Pairs of fingerprints that may show the same, found without comparing all with all.

Each image is looked up as it is and without its border, both also mirrored; and it can be found as a whole
and as nine crops of 90 %. Look-ups and entries are coarse spectra (`alignment`), rounded to whole numbers,
so that their products are exact in any order and on any machine.

Up to `EXACT_IMAGES` images, every look-up meets every entry. Above, entries lie in lists by the pivot (one of
the entries, drawn from the set and not from its order) that is nearest, and a look-up sees the `PROBES`
lists whose pivots are nearest to it (an inverted file; Sivic and Zisserman 2003, "Video Google").
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from usfmae.base.seeds import rng_for
from usfmae.datasets.alignment import (
    COARSE,
    CROPS,
    WHOLE,
    WITHOUT_BORDER,
    Thumbs,
    mirror_signs,
    spectrum_matrix,
)

LOOKED_UP = (WHOLE, WITHOUT_BORDER)
FOUND_AS = (WHOLE, *CROPS)

COARSE_LIKENESS = 0.82
"""The least cosine of coarse spectra at which a pair is a candidate."""

SCALE = 127
"""Spectra of length one are rounded to whole numbers after this factor."""

FLAT = 2.0
"""A region whose cells deviate by less, in grey levels (root mean square), is like no other."""

EXACT_IMAGES = 3_000
PROBES = 16
SCORES_AT_ONCE = 8_000_000
"""32 MB of scores at once."""


@dataclass(frozen=True)
class Candidates:
    """Pairs to look at closely."""

    query: Int64[np.ndarray, " n"]
    """Index of the image that was looked up."""

    entry: Int64[np.ndarray, " n"]
    """Index of the image that was found."""

    region: Int64[np.ndarray, " n"]
    """As which of `LOOKED_UP`."""

    crop: Int64[np.ndarray, " n"]
    """As which of `FOUND_AS`."""

    mirrored: Bool[np.ndarray, " n"]
    """Whether the look-up was mirrored."""


class Index:
    """Fingerprints that can be looked up."""

    def __init__(self, thumbs: Thumbs, *, exact_images: int = EXACT_IMAGES, probes: int = PROBES) -> None:
        self._entries = np.concatenate([_rounded(thumbs, box) for box in FOUND_AS])
        self._image = np.tile(np.arange(len(thumbs)), len(FOUND_AS))
        self._crop = np.repeat(np.arange(len(FOUND_AS)), len(thumbs))
        self._probes = probes
        if len(thumbs) <= exact_images:
            self._pivots = np.zeros((1, self._entries.shape[1]), dtype=np.float32)
        else:
            self._pivots = _pivots(self._entries[: len(thumbs)])
        self._list = _nearest(self._entries, self._pivots, 1)[:, 0]
        order = np.argsort(self._list, kind="stable")
        self._order = order
        self._starts = np.searchsorted(self._list[order], np.arange(len(self._pivots) + 1))

    def look_up(self, thumbs: Thumbs) -> Candidates:
        """Candidates for some fingerprints (a few thousand at a time), each pair once, as it fits best.

        Threads may look up at the same time.
        """
        signs = mirror_signs(COARSE).astype(np.int8)
        plain = [_rounded(thumbs, box) for box in LOOKED_UP]
        queries = np.concatenate([*plain, *(vectors * signs for vectors in plain)])
        probed = _nearest(queries, self._pivots, self._probes)
        asked, lists = np.repeat(np.arange(len(queries)), probed.shape[1]), probed.ravel()
        order = np.argsort(lists, kind="stable")
        asked, lists = asked[order], lists[order]
        ends = np.searchsorted(lists, np.arange(len(self._pivots) + 1))
        least = COARSE_LIKENESS * SCALE**2
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for number in np.unique(lists):
            rows = asked[ends[number] : ends[number + 1]]
            members = self._order[self._starts[number] : self._starts[number + 1]]
            if not len(members):
                continue
            entries = self._entries[members].astype(np.float32).T
            at_once = max(1, SCORES_AT_ONCE // len(members))
            for begin in range(0, len(rows), at_once):
                some = rows[begin : begin + at_once]
                scores = queries[some].astype(np.float32) @ entries
                places = np.flatnonzero(scores >= least)  # several times faster than two-dimensional nonzero
                one, other = np.divmod(places, len(members))
                found.append((some[one], members[other], scores.ravel()[places]))
        return self._best(found, len(thumbs))

    def _best(self, found: list[tuple[np.ndarray, np.ndarray, np.ndarray]], count: int) -> Candidates:
        """Each pair once: the look-up and the crop of the highest score, the first of equals."""
        if found:
            asked, member, score = (np.concatenate(column) for column in zip(*found, strict=True))
        else:
            asked, member, score = (np.zeros(0, dtype=np.int64) for _ in range(3))
        way, image = asked // count, asked % count
        entry, crop = self._image[member], self._crop[member]
        order = np.lexsort((crop, way, -score, entry, image))
        image, entry = image[order], entry[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (image[1:] != image[:-1]) | (entry[1:] != entry[:-1])
        way, crop = way[order][new], crop[order][new]
        return Candidates(
            query=image[new],
            entry=entry[new],
            region=way % len(LOOKED_UP),
            crop=crop,
            mirrored=way >= len(LOOKED_UP),
        )


def is_flat(cells: UInt8[np.ndarray, "n h w"]) -> Bool[np.ndarray, " n"]:
    """Which pictures, given as cells, show too little to be told apart by it."""
    values = cells.reshape(len(cells), -1).astype(np.float32)
    mean = values.mean(axis=1)
    variance = np.einsum("nk,nk->n", values, values) / values.shape[1] - mean * mean
    flat: Bool[np.ndarray, " n"] = variance < FLAT**2
    return flat


def _rounded(thumbs: Thumbs, box: tuple[int, int, int, int]) -> np.ndarray:
    """Coarse spectra of one region as int8; all zero where it is flat."""
    matrix = spectrum_matrix(box, highest=COARSE).astype(np.float64)
    cells = thumbs.reshape(len(thumbs), -1)
    out = np.zeros((len(cells), len(matrix)), dtype=np.int8)
    rows = slice(box[0] // 20, -(-box[1] // 20)), slice(box[2] // 20, -(-box[3] // 20))
    for start in range(0, len(cells), 16_384):
        part = slice(start, start + 16_384)
        spectrum = cells[part] @ matrix.T
        length = np.linalg.norm(spectrum, axis=1, keepdims=True)
        flat = is_flat(thumbs[part][:, rows[0], rows[1]])
        out[part] = np.rint(SCALE * spectrum / np.where(flat[:, None] | (length == 0), np.inf, length))
    return out


def _pivots(wholes: np.ndarray) -> Float32[np.ndarray, "pivot f"]:
    """Some of the entries; which ones depends on what is there and not on its order."""
    distinct = np.unique(wholes[wholes.any(axis=1)], axis=0)
    number = min(len(distinct), round(4 * len(wholes) ** 0.5))
    chosen = rng_for(0, "pivots").choice(len(distinct), size=number, replace=False)
    pivots: Float32[np.ndarray, "pivot f"] = distinct[np.sort(chosen)].astype(np.float32)
    return pivots


def _nearest(
    vectors: np.ndarray, pivots: Float32[np.ndarray, "pivot f"], count: int
) -> Int64[np.ndarray, "n k"]:
    """The nearest pivots of each vector."""
    count = min(count, len(pivots))
    out = np.zeros((len(vectors), count), dtype=np.int64)
    at_once = max(1, SCORES_AT_ONCE // len(pivots))
    for start in range(0, len(vectors), at_once):
        scores = vectors[start : start + at_once].astype(np.float32) @ pivots.T
        if count == 1:
            out[start : start + at_once, 0] = scores.argmax(axis=1)
        elif count < len(pivots):
            out[start : start + at_once] = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        else:
            out[start : start + at_once] = np.arange(len(pivots))
    return out
