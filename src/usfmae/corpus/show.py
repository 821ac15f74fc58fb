"""What is in a corpus, for people: numbers and a montage."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from usfmae.base.config import make_config
from usfmae.base.seeds import rng_for
from usfmae.corpus.shards import Corpus
from usfmae.datasets.terms import NOTHING_STATED, Terms


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """Counts of a corpus, JSON-ready: images, groups, gigabytes, per source, and what was left out."""
    record = corpus.record
    groups: dict[str, set[str]] = {}
    for source, group in zip(
        corpus.manifest["source"].to_pylist(), corpus.manifest["group"].to_pylist(), strict=True
    ):
        groups.setdefault(source, set()).add(group)
    sizes = Counter(
        f"{width} x {height}"
        for height, width in zip(
            corpus.manifest["height"].to_pylist(), corpus.manifest["width"].to_pylist(), strict=True
        )
    )
    return {
        "folder": str(corpus.folder),
        "sha256": corpus.sha256,
        "num_images": len(corpus),
        "num_groups": record["num_groups"],
        "size_px": corpus.size_px,
        "terms": terms_words(corpus.terms),
        "gigabytes": round(record["bytes"] / 1e9, 3),
        "sources": [
            {**source, "num_groups": len(groups.get(source["name"], ()))} for source in record["sources"]
        ],
        "commonest_sizes_px": dict(sizes.most_common(5)),
        "held_out": record["held_out"],
        "left_out": {reason: entry["count"] for reason, entry in record["left_out"].items()},
        "seconds": round(record["seconds"], 1),
    }


def terms_words(kept: Mapping[str, bool | None]) -> str:
    """The terms of a corpus in a few words."""
    return (make_config(Terms, dict(kept)) if kept else NOTHING_STATED).summary


def corpus_montage(
    corpus: Corpus, *, per_source: int = 8, tile_px: int = 128, seed: int = 0
) -> UInt8[np.ndarray, "h w"]:
    """Some images of each source, one row per source.

    Args:
        corpus: an open corpus.
        per_source: images in a row; fewer where a source has fewer.
        tile_px: side of a tile in pixels; must divide the corpus's side.
        seed: decides which are drawn.

    Raises:
        ValueError: `tile_px` does not divide the side of the stored images.
    """
    if corpus.size_px % tile_px:
        raise ValueError(f"tile_px={tile_px} does not divide {corpus.size_px}")
    names = np.array(corpus.manifest["source"].to_pylist())
    present = [source["name"] for source in corpus.record["sources"] if source["num_images"]]
    sheet = np.zeros((len(present) * tile_px, per_source * tile_px), dtype=np.uint8)
    shrink = corpus.size_px // tile_px
    for row, name in enumerate(present):
        own = np.flatnonzero(names == name)
        chosen = rng_for(seed, "montage", name).choice(own, size=min(per_source, len(own)), replace=False)
        images = corpus.read(np.sort(chosen)).reshape(-1, tile_px, shrink, tile_px, shrink).mean(axis=(2, 4))
        for col, image in enumerate(images):
            sheet[row * tile_px : (row + 1) * tile_px, col * tile_px : (col + 1) * tile_px] = image
    return sheet
