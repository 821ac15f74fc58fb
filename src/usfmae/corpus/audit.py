"""Does a pool hold images of a labelled set? Every match, by content and by look."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from usfmae.base.errors import CorpusError
from usfmae.base.files import claim_folder, write_json
from usfmae.base.record import made_by
from usfmae.corpus.audit_page import file_tile, pool_tile, write_audit_page
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.hold_out import HeldSet, held_out_files, read_held_sets, set_name
from usfmae.corpus.near import names_of
from usfmae.corpus.shards import Corpus
from usfmae.datasets.duplicates import NEAR_DUPLICATE_LIKENESS, near_duplicate_matches

AUDIT_FILE, PAGE_FILE = "audit.json", "audit.html"

SHOWN = 400
"""Pairs drawn on the page, the likest first; audit.json names all."""


@dataclass(frozen=True)
class Match:
    """An image of the pool that shows what an image of a labelled set shows."""

    set: str
    """Name of the labelled set."""

    labelled: str
    """Its image: path below the set's folder, `#` and the frame where it is not the first."""

    source: str
    path: str
    """The pool's image: source, path below it, `#` and the frame where it is not the first."""

    kind: Literal["exact", "near"]
    """Equal prepared pixels, or near-duplicates."""

    likeness: float
    """1 when exact; see `datasets.duplicates`."""

    row: int
    """Of the pool's manifest."""


def audit_corpus(
    corpus: Corpus,
    against: Sequence[tuple[str, Path]],
    *,
    out: Path,
    workers: int = 1,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Compare a pool with labelled sets; write audit.json and audit.html.

    Args:
        corpus: a finished pool.
        against: name of a known dataset (or "folder") and where it lies.
        out: folder of the audit.
        workers: processes that read the labelled images.
        overwrite: delete an earlier audit first.

    Returns:
        The content of audit.json: verdict (clean, matches), counts per set, matches, and the hashes of what
        was compared.

    Raises:
        CorpusError: nothing to compare with, or an image cannot be read.
        FolderError: `out` exists.
    """
    if not against:
        raise CorpusError("no labelled set was given", hint="name one with --against NAME=DIR")
    files = held_out_files(against)
    claim_folder(out, marker=AUDIT_FILE, overwrite=overwrite, resumable=False)
    prepared = BuildConfig(size_px=corpus.size_px, fit=corpus.fit)
    held = read_held_sets(files, config=prepared, workers=workers)
    roots = {set_name(name, root): root for name, root in reversed(against)}
    thumbs = corpus.fingerprints()
    matches = [match for name, labelled in held.items() for match in _matches(corpus, thumbs, name, labelled)]
    named = [
        Match(**{**asdict(match), "labelled": _below(match.labelled, roots[match.set])}) for match in matches
    ]
    record = {
        "made_by": made_by("corpus audit", settings=prepared, inputs={"corpus": corpus.sha256}),
        "verdict": "matches" if matches else "clean",
        "pool_images": len(corpus),
        "least_likeness": NEAR_DUPLICATE_LIKENESS,
        "sets": {
            name: {
                "folder": str(roots[name]),
                "images": len(labelled.hashes),
                "sha256": hashlib.sha256("".join(sorted(labelled.hashes)).encode()).hexdigest(),
                **_counts([match for match in matches if match.set == name]),
            }
            for name, labelled in held.items()
        },
        "matches": [asdict(match) for match in named],
    }
    write_json(out / AUDIT_FILE, record)
    tiles = [
        (pool_tile(corpus, match.row), file_tile(match.labelled), asdict(name))
        for match, name in zip(matches[:SHOWN], named[:SHOWN], strict=True)
    ]
    write_audit_page(out / PAGE_FILE, record, tiles, corpus_name=str(corpus.folder))
    return record


def _matches(corpus: Corpus, thumbs: np.ndarray, name: str, labelled: HeldSet) -> list[Match]:
    """Every pair once: exact ones first, then the near ones, the likest first."""
    holders: dict[str, list[int]] = {}
    for index, digest in enumerate(labelled.hashes):
        holders.setdefault(digest, []).append(index)
    hashes = corpus.manifest["content_hash"].to_pylist()
    exact = [(row, index) for row, digest in enumerate(hashes) for index in holders.get(digest, ())]
    pairs = near_duplicate_matches(thumbs, labelled.fingerprints)
    order = np.lexsort((pairs.right, pairs.left, -pairs.likeness))
    known = set(exact)
    near = [
        (int(pairs.left[k]), int(pairs.right[k]), float(pairs.likeness[k]))
        for k in order.tolist()
        if (int(pairs.left[k]), int(pairs.right[k])) not in known
    ]
    found = [(row, index, 1.0, True) for row, index in exact] + [(*pair, False) for pair in near]
    names = names_of(corpus.manifest, [row for row, *_ in found])
    return [
        Match(
            set=name,
            labelled=labelled.names[index],
            source=source,
            path=path,
            kind="exact" if same else "near",
            likeness=round(likeness, 4),
            row=row,
        )
        for (row, index, likeness, same), (source, path) in zip(found, names, strict=True)
    ]


def _counts(matches: Sequence[Match]) -> dict[str, int]:
    """How many pairs, and how many images on each side take part in one."""
    exact = {match.labelled for match in matches if match.kind == "exact"}
    return {
        "exact_pairs": sum(match.kind == "exact" for match in matches),
        "near_pairs": sum(match.kind == "near" for match in matches),
        "labelled_images_found_exact": len(exact),
        "labelled_images_found_near": len({match.labelled for match in matches} - exact),
        "pool_images_that_match": len({match.row for match in matches}),
    }


def _below(name: str, root: Path) -> str:
    return name.removeprefix(f"{root}/")
