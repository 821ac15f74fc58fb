"""What is in a corpus, as a page: pictures of every source, anatomies, licences, and what stayed out."""

import shlex
from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from usfmae.base.page import UNKNOWN, count, number, table, write_page
from usfmae.base.seeds import rng_for
from usfmae.corpus.balance import anatomy_key
from usfmae.corpus.shards import Corpus
from usfmae.corpus.show import describe_corpus
from usfmae.images.picture_tag import picture

PER_SOURCE = 8
"""Pictures shown of each source."""

TILE_PX = 126

NAMED = 12
"""Files named per reason; corpus.json names more."""

REASONS = {
    "unreadable": "cannot be read",
    "too_small": "too small",
    "no_b_mode": "no B-mode",
    "may_identify": "with text that may name a person",
    "repeat": "same pixels as an earlier image",
    "near_duplicate": "near-duplicates of an image that stays",
    "held_out": "in a held-out set",
    "held_out_near": "near-duplicates of an image of a held-out set",
    "excluded": "label maps, by their name",
    "other_kind": "not a kind of file that is read",
}
"""What corpus.json calls the reasons, and what they mean; others are shown by their name."""

FOOT = """Pictures are drawn at random from each source, the same ones each time, as they are stored: grey and
square. Nothing on this page was loaded from elsewhere."""


def write_corpus_page(corpus: Corpus, path: Path, *, seed: int = 0) -> None:
    """Write the page; the same bytes for the same corpus and seed.

    Args:
        corpus: an open corpus.
        path: the HTML file.
        seed: decides which images are shown.

    Raises:
        FolderError: the file cannot be written.
    """
    facts = describe_corpus(corpus)
    sources = [source for source in corpus.record["sources"] if source["num_images"]]
    body = [
        _section("At a glance", _facts(facts, sources) + _anatomies(sources)),
        _section("Sources", _sources(facts)),
        _section("Pictures", "".join(_pictures(corpus, source, seed) for source in sources)),
        _section("What stayed out", _left_out(corpus.record["left_out"]) + _held_out(facts["held_out"])),
        _section("How it was made", _made(corpus.record)),
    ]
    summary = f"{facts['num_images']:,} images · {facts['num_groups']:,} groups · {len(sources)} sources"
    title = f"Corpus {corpus.folder.resolve().name}"
    write_page(path, title=title, summary=summary, body="\n".join(body), foot=FOOT)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _facts(facts: Mapping[str, Any], sources: list[dict[str, Any]]) -> str:
    sizes = ", ".join(f"{size} ({num:,})" for size, num in list(facts["commonest_sizes_px"].items())[:3])
    shown = {
        "images": count(facts["num_images"]),
        "groups (patients, clips, files)": count(facts["num_groups"]),
        "sources": count(len(sources)),
        "left out": count(sum(facts["left_out"].values())),
        "stored as": f"{facts['size_px']} px squares, {number(facts['gigabytes'], 2)} GB",
        "commonest sizes, px": sizes,
        "together the licences allow": facts["terms"],
        "sha256": str(facts["sha256"])[:16],
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in shown.items())
    return f'<dl class="facts">{items}</dl>'


def _anatomies(sources: list[dict[str, Any]]) -> str:
    images: Counter[str] = Counter()
    for source in sources:
        images[anatomy_key(source)] += source["num_images"]
    total = sum(images.values())
    rows = [
        [escape(name), count(num), f"{num / total:.0%}", _bar(num / total)]
        for name, num in images.most_common()
    ]
    return "<h3>Anatomy</h3>" + table(["Anatomy", "Images", "Share", ""], rows, kind="numbers")


def _bar(share: float) -> str:
    return f'<span class="bar" style="width:{share * 100:.1f}%"></span>'


def _sources(facts: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(source["name"]),
            escape(str(source.get("anatomy") or UNKNOWN)),
            count(source["num_files"]),
            count(source["num_images"]),
            count(source["num_groups"]),
            escape(source["licence"] or "not stated"),
        ]
        for source in facts["sources"]
    ]
    return table(["Source", "Anatomy", "Files", "Images", "Groups", "Licence"], rows, kind="numbers")


def _pictures(corpus: Corpus, source: Mapping[str, Any], seed: int) -> str:
    names = np.array(corpus.manifest["source"].to_pylist())
    own = np.flatnonzero(names == source["name"])
    rng = rng_for(seed, "page", source["name"])
    chosen = np.sort(rng.choice(own, size=min(PER_SOURCE, len(own)), replace=False))
    paths = [corpus.manifest["path"][int(index)].as_py() for index in chosen]
    shown = "".join(
        picture(_tile(image), said=path) for image, path in zip(corpus.read(chosen), paths, strict=True)
    )
    return f'<h3>{escape(source["name"])}</h3><div class="strip">{shown}</div>'


def _tile(image: UInt8[np.ndarray, "size size"]) -> UInt8[np.ndarray, "tile tile"]:
    return np.asarray(cv2.resize(image, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _left_out(left_out: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for reason, entry in left_out.items():
        if not entry["count"]:
            continue
        named = entry["named"][:NAMED]
        rows = [[escape(f"{file['source']}/{file['path']}"), escape(file["why"])] for file in named]
        more = entry["count"] - len(named)
        rest = f'<p class="where">and {more:,} more; corpus.json names them</p>' if more else ""
        words = escape(REASONS.get(reason, reason.replace("_", " ")))
        parts.append(f"<h3>{entry['count']:,} {words}</h3>{table(['File', 'Why'], rows, kind='done')}{rest}")
    return "".join(parts) or "<p>Nothing.</p>"


def _held_out(held_out: Mapping[str, Mapping[str, int]]) -> str:
    if not held_out:
        return (
            "<h3>Held-out sets</h3><p>None was named: results on labelled sets may have been seen here.</p>"
        )
    rows = [[escape(name), *(count(value) for value in entry.values())] for name, entry in held_out.items()]
    head = ["Set", *(key.replace("_", " ") for key in next(iter(held_out.values())))]
    return "<h3>Held-out sets</h3>" + table(head, rows, kind="numbers")


def _made(record: Mapping[str, Any]) -> str:
    made = record["made_by"]
    settings = {
        name: value for name, value in made["settings"].items() if not isinstance(value, list | tuple)
    }
    said = ", ".join(f"{name}={value}" for name, value in settings.items())
    return (
        f"<p><code>{escape(shlex.join(map(str, made.get('command') or [])) or UNKNOWN)}</code></p>"
        f'<p class="where">{escape(said)}</p>'
        f'<p class="where">commit {escape(str(made.get("commit") or UNKNOWN))}, '
        f"usfmae {escape(str(made.get('usfmae', UNKNOWN)))}</p>"
    )
