"""Building a corpus: list, cut into parts, store in parallel, then take stock.

Parts are independent and written whole, so a build can be killed at any moment and resumed, and the
result depends neither on the number of workers nor on how often it was interrupted.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from usfmae.base.errors import CorpusError
from usfmae.base.files import claim_folder, file_sha256, read_json, remove_partials, write_json
from usfmae.base.logs import get_logger, progress_bar
from usfmae.base.record import made_by
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.hold_out import held_out_hashes
from usfmae.corpus.manifest import write_table
from usfmae.corpus.part import PARTS, ROWS_FILE, SHARD_FILE, Part, build_part, part_folder, read_part
from usfmae.corpus.shards import CORPUS_FILE, MANIFEST_FILE, Corpus, open_corpus
from usfmae.corpus.sources import Listing, Source, list_source, unique_sources

log = get_logger(__name__)
NAMED = 1000
"""How many left-out files are named in corpus.json; all are counted."""


def build_corpus(
    sources: Sequence[Source],
    *,
    out: Path,
    config: BuildConfig,
    hold_out: Sequence[tuple[str, Path]] = (),
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
) -> Corpus:
    """Turn folders of ultrasound files into a pool for pretraining.

    Args:
        sources: where the files are.
        out: the corpus folder: corpus.json, manifest.parquet, parts/00000/shard.npy ...
        config: sizes and rules.
        hold_out: labelled sets whose images, recognised by content, stay out of the pool.
        workers: processes; the result is the same whatever their number.
        resume: go on with an interrupted build of the same files and settings.
        overwrite: delete an earlier corpus first.

    Raises:
        FolderError: `out` exists, or the disk is full (what was stored stays, for `resume`).
        CorpusError: no images, too many unreadable ones, or `resume` with other files or settings.
    """
    started = time.perf_counter()
    listings = [list_source(source, config) for source in unique_sources(sources)]
    plan = _plan(listings, config, hold_out)
    claim_folder(out, marker=CORPUS_FILE, resume=resume, overwrite=overwrite)
    earlier = _earlier(out, plan)
    if earlier is not None and earlier["status"] == "finished":
        log.info("%s: is finished already", out)
        return open_corpus(out)
    remove_partials(out)
    state: dict[str, Any] = {
        "made_by": made_by("corpus build", settings=config, inputs={"plan": plan["sha256"]}),
        "status": "building",
        "plan": plan,
        "seconds": 0.0 if earlier is None else earlier["seconds"],
    }
    write_json(out / CORPUS_FILE, state)
    held = held_out_hashes(hold_out, size_px=config.size_px, workers=workers)
    parts = _parts(listings, config)
    try:
        _store(parts, out, config, workers)
    finally:
        state["seconds"] += time.perf_counter() - started
        write_json(out / CORPUS_FILE, state)
    _finish(out, state, listings, parts, held, config)
    return open_corpus(out)


def _plan(
    listings: Sequence[Listing], config: BuildConfig, hold_out: Sequence[tuple[str, Path]]
) -> dict[str, Any]:
    """What is to be built, so that a resume can tell whether it is still the same."""
    files = [(f.source, f.name, f.path.stat().st_size) for listing in listings for f in listing.files]
    plan: dict[str, Any] = {
        "sources": {listing.source.name: len(listing.files) for listing in listings},
        "hold_out": [name for name, _ in hold_out],
        "settings": config.model_dump(mode="json", exclude={"max_unreadable_ratio"}),
        "files_sha256": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
    }
    plan["sha256"] = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
    return plan


def _earlier(out: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    if not (out / CORPUS_FILE).exists():
        return None
    earlier: dict[str, Any] = read_json(out / CORPUS_FILE)
    changed = [name for name in plan if name != "sha256" and earlier.get("plan", {}).get(name) != plan[name]]
    if changed:
        named = ", ".join(name.replace("files_sha256", "files (names or sizes)") for name in changed)
        raise CorpusError(
            f"{out}: was started with other {named}",
            hint="--resume goes on with exactly the same ones; choose another --out, or --overwrite",
        )
    return earlier


def _parts(listings: Sequence[Listing], config: BuildConfig) -> list[Part]:
    files = [file for listing in listings for file in listing.files]
    size = config.files_per_part
    return [Part(k // size, tuple(files[k : k + size])) for k in range(0, len(files), size)]


def _store(parts: Sequence[Part], out: Path, config: BuildConfig, workers: int) -> None:
    total = sum(len(part.files) for part in parts)
    todo = [part for part in parts if not (part_folder(out, part.index) / ROWS_FILE).exists()]
    done = total - sum(len(part.files) for part in todo)
    with progress_bar("corpus build", total=total, done=done) as bar:
        if workers <= 1:
            for part in todo:
                bar.advance(build_part(part, out, config))
            return
        pool = ProcessPoolExecutor(min(workers, max(len(todo), 1)), mp_context=get_context("spawn"))
        try:
            for future in as_completed([pool.submit(build_part, part, out, config) for part in todo]):
                bar.advance(future.result())
        except BrokenProcessPool as error:
            raise CorpusError(
                f"{out}: a worker process died (out of memory?)",
                hint="go on with --resume, perhaps with fewer --workers; what was stored is kept",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finish(
    out: Path,
    state: dict[str, Any],
    listings: Sequence[Listing],
    parts: Sequence[Part],
    held: dict[str, frozenset[str]],
    config: BuildConfig,
) -> None:
    """Decide what stays, write the manifest, and say everything in corpus.json."""
    rows: list[dict[str, Any]] = []
    left_out: dict[str, list[dict[str, str]]] = {
        "unreadable": [],
        "too_small": [],
        "repeat": [],
        "held_out": [],
    }
    seen: dict[str, str] = {}
    for part in parts:
        content = read_part(out, part.index)
        left_out["unreadable"] += content["unreadable"]
        left_out["too_small"] += content["too_small"]
        for row in content["rows"]:
            digest, place = row["content_hash"], {"source": row["source"], "path": row["path"]}
            holder = next((name for name, hashes in held.items() if digest in hashes), None)
            if holder is not None:
                left_out["held_out"].append({**place, "why": f"is in {holder}"})
            elif config.drop_repeats and digest in seen:
                left_out["repeat"].append({**place, "why": f"same pixels as {seen[digest]}"})
            else:
                seen.setdefault(digest, f"{row['source']}/{row['path']}")
                rows.append(row)
    _refuse_too_many_unreadable(out, left_out["unreadable"], sum(len(p.files) for p in parts), config)
    if not rows:
        counts = ", ".join(f"{len(names)} {reason}" for reason, names in left_out.items() if names)
        raise CorpusError(f"{out}: nothing is left for the pool ({counts})")
    write_table(out / MANIFEST_FILE, rows)
    shards = [_shard_entry(out, part.index) for part in parts]
    manifest_sha256 = file_sha256(out / MANIFEST_FILE)
    kept = Counter(row["source"] for row in rows)
    whole = json.dumps([manifest_sha256, *(shard["sha256"] for shard in shards)])
    excluded = [
        {"source": listing.source.name, "path": name, "why": "matches a pattern of label maps"}
        for listing in listings
        for name in listing.excluded
    ]
    left_out["excluded"] = excluded
    write_json(
        out / CORPUS_FILE,
        {
            **state,
            "status": "finished",
            "sha256": hashlib.sha256(whole.encode()).hexdigest(),
            "size_px": config.size_px,
            "num_images": len(rows),
            "num_groups": len({row["group"] for row in rows}),
            "sources": [
                {
                    "name": listing.source.name,
                    "dataset": listing.source.dataset,
                    "folder": str(listing.source.root),
                    "licence": listing.licence,
                    "num_files": len(listing.files),
                    "num_images": kept[listing.source.name],
                }
                for listing in listings
            ],
            "held_out": {
                name: {
                    "images": len(hashes),
                    "found_in_pool": sum(e["why"] == f"is in {name}" for e in left_out["held_out"]),
                }
                for name, hashes in held.items()
            },
            "left_out": {
                reason: {"count": len(names), "named": names[:NAMED]} for reason, names in left_out.items()
            },
            "manifest_sha256": manifest_sha256,
            "bytes": sum(shard["bytes"] for shard in shards),
            "shards": shards,
        },
    )
    if left_out["unreadable"]:
        first = left_out["unreadable"][0]
        log.warning(
            "%d unreadable files were left out (first: %s: %s); all are named in %s",
            len(left_out["unreadable"]), first["path"], first["why"], out / CORPUS_FILE,
        )  # fmt: skip


def _shard_entry(out: Path, index: int) -> dict[str, Any]:
    path = part_folder(out, index) / SHARD_FILE
    return {
        "path": f"{PARTS}/{path.parent.name}/{path.name}",
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
    }


def _refuse_too_many_unreadable(
    out: Path, unreadable: Sequence[dict[str, str]], num_files: int, config: BuildConfig
) -> None:
    if len(unreadable) <= config.max_unreadable_ratio * num_files:
        return
    named = "; ".join(f"{entry['path']}: {entry['why']}" for entry in unreadable[:3])
    raise CorpusError(
        f"{out}: {len(unreadable)} of {num_files} files cannot be read ({named})",
        hint="repair or remove them, or allow it with --resume --set max_unreadable_ratio=1",
    )
