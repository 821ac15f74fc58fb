"""The page of an audit: the verdict, the counts, then every pair side by side."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from usfmae.base.page import UNKNOWN, count, table, write_page
from usfmae.corpus.shards import Corpus
from usfmae.images.grey import to_grey
from usfmae.images.picture_tag import picture
from usfmae.images.read import read_frame

TILE_PX, TILE_QUALITY = 220, 82
"""Longest side of a drawn picture, and how well it is kept."""

HEAD = (
    "Labelled set", "Images", "Found by equal pixels", "Found only by look", "Pool images that match",
    "Hash of the set",
)  # fmt: skip


def pool_tile(corpus: Corpus, row: int) -> str:
    """An image of a pool without its padding, small, as an `img`."""
    return _tile(corpus.read_unpadded(row))


def file_tile(name: str) -> str:
    """A frame of a file, named `path` or `path#frame`, small, as an `img`.

    Raises:
        ImageError: it cannot be read.
    """
    path, _, frame = name.partition("#") if not Path(name).exists() else (name, "", "")
    return _tile(to_grey(read_frame(Path(path), int(frame or 0)).pixels))


def write_audit_page(
    path: Path,
    record: Mapping[str, Any],
    tiles: Sequence[tuple[str, str, Mapping[str, Any]]],
    *,
    corpus_name: str,
) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        record: the content of audit.json.
        tiles: (of the pool, labelled, match) of the pairs to draw.
        corpus_name: what the pool is called.

    Raises:
        FolderError: the file cannot be written.
    """
    found = sum(_found(entry) for entry in record["sets"].values())
    labelled = sum(entry["images"] for entry in record["sets"].values())
    names = " and ".join(record["sets"])
    if record["verdict"] == "clean":
        badge = '<span class="badge good">clean</span>'
        title = f"Clean: none of {labelled:,} images of {names} is in the pool"
    else:
        badge = '<span class="badge bad">matches</span>'
        title = f"{found:,} of {labelled:,} images of {names} are in the pool"
    made = record["made_by"]
    write_page(
        path,
        title=title,
        summary=f"{badge} {count(record['pool_images'])} pool images of <code>{escape(corpus_name)}</code> "
        f"were compared with {labelled:,} labelled images, by equal pixels and by look (likeness of at least "
        f"{record['least_likeness']:.2f}).",
        body=_counts(record["sets"]) + _pairs(record, tiles),
        foot=f"Corpus <code>{escape(made['inputs']['corpus'][:16])}</code>. Made by usfmae "
        f"{escape(str(made.get('usfmae', UNKNOWN)))}; audit.json beside this page holds the same as data.",
    )


def _found(entry: Mapping[str, Any]) -> int:
    return int(entry["labelled_images_found_exact"] + entry["labelled_images_found_near"])


def _counts(sets: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(name),
            count(entry["images"]),
            count(entry["labelled_images_found_exact"]),
            count(entry["labelled_images_found_near"]),
            count(entry["pool_images_that_match"]),
            f"<code>{escape(entry['sha256'][:16])}</code>",
        ]
        for name, entry in sets.items()
    ]
    return f"<section><h2>Counts</h2>{table(HEAD, rows, kind='numbers')}</section>"


def _pairs(record: Mapping[str, Any], tiles: Sequence[tuple[str, str, Mapping[str, Any]]]) -> str:
    if not tiles:
        return ""
    total = len(record["matches"])
    shown = "" if len(tiles) == total else f" The first {len(tiles):,} are drawn; audit.json names all."
    cards = "".join(_card(*pair) for pair in tiles)
    return (
        f"<section><h2>{total:,} pairs</h2><p>Left: in the pool. Right: in the labelled set. Equal pixels "
        f'first, then by likeness.{shown}</p><div class="pairs">{cards}</div></section>'
    )


def _card(pool: str, labelled: str, match: Mapping[str, Any]) -> str:
    exact = match["kind"] == "exact"
    badge = "same pixels" if exact else f"likeness {match['likeness']:.3f}"
    return (
        f'<article><span class="badge {"bad" if exact else "near"}">{badge}</span><div>'
        f"{_figure(pool, match['source'], match['path'])}"
        f"{_figure(labelled, match['set'], match['labelled'])}</div></article>"
    )


def _figure(tile: str, where: str, name: str) -> str:
    return f"<figure>{tile}<figcaption><b>{escape(where)}</b> {escape(name)}</figcaption></figure>"


def _tile(pixels: UInt8[np.ndarray, "h w"]) -> str:
    factor = min(1.0, TILE_PX / max(pixels.shape))
    size = max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor))
    small = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    return picture(small.astype(np.uint8), said="", jpeg_quality=TILE_QUALITY)
