"""Taking stock of a stored pool: which images stay, which leave and why, and the checksum of it all."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from usfmae.base.errors import CorpusError
from usfmae.base.files import file_sha256
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.hold_out import HeldSet
from usfmae.corpus.manifest import SCHEMA, write_table
from usfmae.corpus.near import Thumbs, clusters_of, held_likenesses, names_of, with_clusters
from usfmae.corpus.part import (
    FINGERPRINTS_FILE,
    LEFT_OUT_HERE,
    PARTS,
    SHARD_FILE,
    part_folder,
    read_fingerprints,
    read_part,
)
from usfmae.corpus.shards import MANIFEST_FILE
from usfmae.corpus.sources import Listing
from usfmae.datasets.terms import strictest

REASONS = (
    *LEFT_OUT_HERE, "repeat", "near_duplicate", "held_out", "held_out_near", "excluded", "other_kind",
)  # fmt: skip

NAMED = 1000
"""How many images of a reason are named in corpus.json; all are counted, and unreadable files all named."""


class LeftOut:
    """Counts what leaves the pool for one reason, and names the first of it."""

    def __init__(self, *, named: int | None = NAMED) -> None:
        self.count = 0
        self.named: list[dict[str, str]] = []
        self._most = named

    def add(self, source: str, path: str, why: str) -> None:
        """One more file or image."""
        self.count += 1
        if self._most is None or len(self.named) < self._most:
            self.named.append({"source": source, "path": path, "why": why})


def take_stock(
    out: Path,
    listings: Sequence[Listing],
    *,
    num_parts: int,
    held: Mapping[str, HeldSet],
    config: BuildConfig,
) -> dict[str, Any]:
    """Choose the rows of a stored pool, write its manifest, and say what corpus.json says about it.

    An image leaves if a held-out set has the same pixels, else if an earlier image (in the order of the
    files) has, else if it looks like an image of a held-out set, else if enough others that look like it
    stay; see `BuildConfig.keep_per_cluster`.

    Args:
        out: the corpus folder with all parts.
        listings: its sources.
        num_parts: parts 0 to num_parts - 1 are there.
        held: what each held-out set holds.
        config: rules.

    Returns:
        sha256, size_px, fit, terms (the strictest of its sources), num_images, num_groups, sources, held_out,
        left_out, manifest_sha256, bytes, shards, fingerprints.

    Raises:
        CorpusError: too many files are unreadable, or nothing is left.
        FolderError: the disk is full.
    """
    left_out = {
        "unreadable": LeftOut(named=None),
        **{reason: LeftOut() for reason in REASONS},
    }
    tables: list[pa.Table] = []
    prints: list[Thumbs] = []
    further_views: list[dict[str, Any]] = []
    seen: dict[bytes, str] = {}
    hashes = {name: frozenset(labelled.hashes) for name, labelled in held.items()}
    found: dict[str, set[str]] = {name: set() for name in held}
    for index in range(num_parts):
        content, thumbs = read_part(out, index), read_fingerprints(out, index)
        for reason in ("unreadable", *LEFT_OUT_HERE):
            for entry in content[reason]:
                left_out[reason].add(**entry)
        kept = []
        for row in content["rows"]:
            if row["view"]:  # shares hash, fingerprint and fate with the first view of its frame
                further_views.append(row)
                continue
            digest, place = row["content_hash"], f"{row['source']}/{row['path']}"
            holders = [name for name in held if digest in hashes[name]]
            if holders:
                left_out["held_out"].add(row["source"], row["path"], f"is in {', '.join(holders)}")
                for name in holders:
                    found[name].add(digest)
                continue
            key = bytes.fromhex(digest)  # half the memory of the text
            if config.drop_repeats and key in seen:
                left_out["repeat"].add(row["source"], row["path"], f"same pixels as {seen[key]}")
                continue
            seen[key] = place
            kept.append(row)
        tables.append(pa.Table.from_pylist(kept, schema=SCHEMA))
        prints.append(thumbs[[row["row"] for row in kept]])
    refuse_too_many_unreadable(out, left_out["unreadable"], listings, config)
    table, near = _without_near_duplicates(
        pa.concat_tables(tables).combine_chunks(), np.concatenate(prints), held, left_out, config
    )
    table = _with_further_views(table, further_views)
    if not table.num_rows:
        counts = ", ".join(f"{entry.count} {reason}" for reason, entry in left_out.items() if entry.count)
        raise CorpusError(f"{out}: nothing is left for the pool ({counts})")
    for listing in listings:
        for name in listing.excluded:
            left_out["excluded"].add(listing.source.name, name, "matches a pattern of label maps")
        for name in listing.other_kinds:
            left_out["other_kind"].add(listing.source.name, name, "not a kind of file that is read")
    write_table(out / MANIFEST_FILE, table)
    manifest_sha256 = file_sha256(out / MANIFEST_FILE)
    shards = [_file_entry(out, index, SHARD_FILE) for index in range(num_parts)]
    num_images = Counter(table["source"].to_pylist())
    whole = json.dumps([manifest_sha256, *(shard["sha256"] for shard in shards)])
    return {
        "sha256": hashlib.sha256(whole.encode()).hexdigest(),
        "size_px": config.size_px,
        "fit": config.fit,
        "crop": config.crop,
        "clean": config.clean.mode,
        "terms": strictest(listing.terms for listing in listings).model_dump(),
        "num_images": table.num_rows,
        "num_groups": len(table["group"].unique()),
        "sources": [_source_entry(listing, num_images[listing.source.name]) for listing in listings],
        "held_out": {
            name: {
                "images": len(hashes[name]),
                "found_in_pool": len(found[name]),
                "near_duplicates_in_pool": near.get(name),
            }
            for name in held
        },
        "left_out": {
            reason: {"count": entry.count, "named": entry.named} for reason, entry in left_out.items()
        },
        "manifest_sha256": manifest_sha256,
        "bytes": sum(shard["bytes"] for shard in shards),
        "shards": shards,
        "fingerprints": [_file_entry(out, index, FINGERPRINTS_FILE) for index in range(num_parts)],
    }


def _without_near_duplicates(
    table: pa.Table,
    thumbs: Thumbs,
    held: Mapping[str, HeldSet],
    left_out: Mapping[str, LeftOut],
    config: BuildConfig,
) -> tuple[pa.Table, dict[str, int]]:
    """The rows that look neither like a held-out image nor like enough others that stay.

    Returns:
        They, with their clusters; and for each held-out set how many look like one of its images; empty
        where that was not asked for.
    """
    likest = held_likenesses(thumbs, held if config.hold_out_near else {})
    held_back = np.zeros(len(thumbs), dtype=bool)
    for likeness in likest.values():
        held_back |= likeness > 0
    indices = np.flatnonzero(held_back).tolist()
    for index, (source, path) in zip(indices, names_of(table, indices), strict=True):
        sets = ", ".join(f"{name} ({like[index]:.2f})" for name, like in likest.items() if like[index] > 0)
        left_out["held_out_near"].add(source, path, f"looks like an image of {sets}")
    table, thumbs = table.filter(pa.array(~held_back)), thumbs[~held_back]
    areas_px = table["height"].to_numpy().astype(np.int64) * table["width"].to_numpy()
    stands, alike, places = clusters_of(thumbs, areas_px)
    stays = places < (len(thumbs) + 1 if config.keep_per_cluster is None else config.keep_per_cluster)
    indices = np.flatnonzero(~stays).tolist()
    names = names_of(table, indices), names_of(table, stands[indices].tolist())
    for index, (source, path), (its_source, its_path) in zip(indices, *names, strict=True):
        why = f"looks like {its_source}/{its_path} ({alike[index]:.2f})"
        left_out["near_duplicate"].add(source, path, why)
    near = {name: int(np.count_nonzero(likeness)) for name, likeness in likest.items()}
    return with_clusters(table, stands, stays), near


def _with_further_views(table: pa.Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The table with the other views of the frames that are in it, each after its first."""
    columns = (table[name].to_pylist() for name in ("source", "path", "frame", "cluster"))
    cluster_of = {
        (source, path, frame): cluster for source, path, frame, cluster in zip(*columns, strict=True)
    }
    places = [(row["source"], row["path"], row["frame"]) for row in rows]
    staying = [
        {**row, "cluster": cluster_of[place]}
        for row, place in zip(rows, places, strict=True)
        if place in cluster_of
    ]
    if not staying:
        return table
    both = pa.concat_tables([table, pa.Table.from_pylist(staying, schema=table.schema)])
    return both.sort_by([("shard", "ascending"), ("row", "ascending")])


def refuse_too_many_unreadable(
    out: Path, unreadable: LeftOut, listings: Sequence[Listing], config: BuildConfig
) -> None:
    """Stop where more than `config.max_unreadable_ratio` of all files could not be read.

    Raises:
        CorpusError: with counts and the first names.
    """
    num_files = sum(len(listing.files) for listing in listings)
    num_bad = len({(entry["source"], entry["path"]) for entry in unreadable.named})
    if num_bad <= config.max_unreadable_ratio * num_files:
        return
    named = "; ".join(f"{entry['path']}: {entry['why']}" for entry in unreadable.named[:3])
    raise CorpusError(
        f"{out}: {num_bad} of {num_files} files cannot be read, more than the "
        f"{config.max_unreadable_ratio:.0%} allowed ({named})",
        hint="repair or remove them, or allow it with --resume --set max_unreadable_ratio=1",
    )


def _source_entry(listing: Listing, num_images: int) -> dict[str, Any]:
    return {
        "name": listing.source.name,
        "dataset": listing.source.dataset,
        "folder": str(listing.source.root),
        "licence": listing.licence,
        "terms": listing.terms.model_dump(),
        "anatomy": listing.anatomy,
        "num_files": len(listing.files),
        "num_images": num_images,
    }


def _file_entry(out: Path, index: int, file: str) -> dict[str, Any]:
    path = part_folder(out, index) / file
    return {
        "path": f"{PARTS}/{path.parent.name}/{path.name}",
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
    }
