"""Which stored images leave because they look like others: like held-out ones, or like ones that stay."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64, UInt8

from usfmae.corpus.hold_out import HeldSet
from usfmae.datasets.duplicates import near_duplicate_matches, near_duplicate_stars

Thumbs = UInt8[np.ndarray, "n 22 22"]


def held_likenesses(thumbs: Thumbs, held: Mapping[str, HeldSet]) -> dict[str, Float32[np.ndarray, " n"]]:
    """How much each image of a pool looks like the likest of each held-out set; 0 where like none."""
    found = {}
    for name, labelled in held.items():
        pairs = near_duplicate_matches(thumbs, labelled.fingerprints)
        likest = np.zeros(len(thumbs), dtype=np.float32)
        np.maximum.at(likest, pairs.left, pairs.likeness)
        found[name] = likest
    return found


def clusters_of(
    thumbs: Thumbs, areas_px: Int64[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Who stands for whom in a pool: the largest picture, of equally large ones the first.

    Args:
        thumbs: fingerprints in the order of the corpus.
        areas_px: height times width of each picture as its file has it.

    Returns:
        For each image the one that stands for it, how alike they are, and its place (0 is the one that
        stands) among those of its cluster.
    """
    order = np.lexsort((np.arange(len(thumbs)), -areas_px))
    stands_of_ordered, alike_of_ordered = near_duplicate_stars(thumbs[order])
    stands = np.empty(len(thumbs), dtype=np.int64)
    alike = np.empty(len(thumbs), dtype=np.float32)
    stands[order], alike[order] = order[stands_of_ordered], alike_of_ordered
    places = np.zeros(len(thumbs), dtype=np.int64)
    counted: dict[int, int] = {}
    for index in order.tolist():
        places[index] = counted.get(int(stands[index]), 0)
        counted[int(stands[index])] = int(places[index]) + 1
    return stands, alike, places


def with_clusters(
    table: pa.Table, stands: Int64[np.ndarray, " n"], stays: Bool[np.ndarray, " n"]
) -> pa.Table:
    """The rows that stay, with cluster ids counted from 0 in order of first appearance."""
    _, first, inverse = np.unique(stands[stays], return_index=True, return_inverse=True)
    ids = np.argsort(np.argsort(first))[inverse].astype(np.int32)
    kept = table.filter(pa.array(stays))
    column = kept.schema.get_field_index("cluster")
    return kept.set_column(column, kept.schema.field(column), pa.array(ids, type=pa.int32()))


def names_of(table: pa.Table, indices: Sequence[int]) -> list[tuple[str, str]]:
    """(source, path) of some rows; frames of clips after the first read `path#frame`."""
    some = table.select(["source", "path", "frame"]).take(pa.array(indices, type=pa.int64())).to_pylist()
    return [(row["source"], f"{row['path']}#{row['frame']}" if row["frame"] else row["path"]) for row in some]
