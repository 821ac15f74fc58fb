"""The page of an audit: the verdict, the counts, then every pair side by side. One file, no scripts."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from usfmae.base.files import write_text
from usfmae.corpus.shards import Corpus
from usfmae.images.grey import to_grey
from usfmae.images.read import read_frame

TILE_PX = 220
"""Longest side of a drawn picture."""


@dataclass(frozen=True)
class Tile:
    """A small grey picture."""

    pixels: UInt8[np.ndarray, "height width"]

    @classmethod
    def of_pool(cls, corpus: Corpus, row: int) -> "Tile":
        """An image of a pool without its padding."""
        return cls(_small(corpus.read_unpadded(row)))

    @classmethod
    def of_file(cls, name: str) -> "Tile":
        """A frame of a file, named `path` or `path#frame`."""
        path, _, frame = name.partition("#") if not Path(name).exists() else (name, "", "")
        return cls(_small(to_grey(read_frame(Path(path), int(frame or 0)).pixels)))

    @property
    def as_html(self) -> str:
        """An `img` that holds its own bytes."""
        done, encoded = cv2.imencode(".jpg", self.pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])
        assert done
        data = base64.b64encode(encoded.tobytes()).decode()
        height, width = self.pixels.shape
        return f'<img alt="" width="{width}" height="{height}" src="data:image/jpeg;base64,{data}">'


def write_audit_page(
    path: Path,
    record: Mapping[str, Any],
    tiles: Sequence[tuple[Tile, Tile, Mapping[str, Any]]],
    *,
    corpus_name: str,
) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        record: the content of audit.json.
        tiles: (pool, labelled, match) of the pairs to draw.
        corpus_name: what the pool is called.
    """
    found = sum(_found(entry) for entry in record["sets"].values())
    labelled = sum(entry["images"] for entry in record["sets"].values())
    clean = record["verdict"] == "clean"
    names = " and ".join(record["sets"])
    if clean:
        headline = f"Clean: none of {labelled:,} images of {names} is in the pool"
    else:
        headline = f"{found:,} of {labelled:,} images of {names} are in the pool"
    template = Template(files("usfmae.corpus").joinpath("audit.html").read_text(encoding="utf-8"))
    page = template.substitute(
        headline=escape(headline),
        kind="clean" if clean else "found",
        pool=f"{record['pool_images']:,} pool images of <code>{escape(corpus_name)}</code> were compared "
        f"with {labelled:,} labelled images, by equal pixels and by look (likeness of at least "
        f"{record['least_likeness']:.2f}).",
        counts="".join(_count_row(name, entry) for name, entry in record["sets"].items()),
        pairs=_pairs(record, tiles),
        corpus_sha256=escape(record["made_by"]["inputs"]["corpus"][:16]),
        made=escape(f"usfmae {record['made_by'].get('version', '')}".strip()),
    )
    write_text(path, page)


def _found(entry: Mapping[str, Any]) -> int:
    return int(entry["labelled_images_found_exact"] + entry["labelled_images_found_near"])


def _count_row(name: str, entry: Mapping[str, Any]) -> str:
    numbers = [
        entry["images"],
        entry["labelled_images_found_exact"],
        entry["labelled_images_found_near"],
        entry["pool_images_that_match"],
    ]
    cells = "".join(f"<td>{number:,}</td>" for number in numbers)
    return f"<tr><th>{escape(name)}</th>{cells}<td><code>{escape(entry['sha256'][:16])}</code></td></tr>"


def _pairs(record: Mapping[str, Any], tiles: Sequence[tuple[Tile, Tile, Mapping[str, Any]]]) -> str:
    if not tiles:
        return ""
    total = len(record["matches"])
    shown = "" if len(tiles) == total else f" The first {len(tiles):,} are drawn; audit.json names all."
    cards = "".join(_card(*pair) for pair in tiles)
    return (
        f"<section><h2>{total:,} pairs</h2><p>Left: in the pool. Right: in the labelled set. Equal pixels "
        f'first, then by likeness.{shown}</p><div class="pairs">{cards}</div></section>'
    )


def _card(pool: Tile, labelled: Tile, match: Mapping[str, Any]) -> str:
    badge = "same pixels" if match["kind"] == "exact" else f"likeness {match['likeness']:.3f}"
    return (
        f'<article><span class="badge {match["kind"]}">{badge}</span><div class="two">'
        f"<figure>{pool.as_html}<figcaption><b>{escape(match['source'])}</b> {escape(match['path'])}"
        f"</figcaption></figure><figure>{labelled.as_html}<figcaption><b>{escape(match['set'])}</b> "
        f"{escape(match['labelled'])}</figcaption></figure></div></article>"
    )


def _small(pixels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "height width"]:
    factor = min(1.0, TILE_PX / max(pixels.shape))
    size = max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor))
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA))
