"""Building a corpus: list, cut into parts, store in parallel, then take stock.

Parts are independent and written whole, so a build can be killed at any moment and resumed, and the
result depends neither on the number of workers nor on how often it was interrupted.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from usfmae.base.errors import CorpusError
from usfmae.base.files import claimed_folder, read_json, remove_partials, write_json
from usfmae.base.logs import get_logger, progress_bar
from usfmae.base.record import made_by
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.crew import Crew, EngineName
from usfmae.corpus.hold_out import held_out_files, read_held_sets
from usfmae.corpus.part import Part, build_part, is_stored
from usfmae.corpus.shards import CORPUS_FILE, FORMAT, Corpus, open_corpus
from usfmae.corpus.sources import Listing, Source, list_source, printable, unique_sources
from usfmae.corpus.stock import take_stock

log = get_logger(__name__)


def build_corpus(
    sources: Sequence[Source],
    *,
    out: Path,
    config: BuildConfig,
    hold_out: Sequence[tuple[str, Path]] = (),
    workers: int = 1,
    engine: EngineName = "processes",
    resume: bool = False,
    overwrite: bool = False,
) -> Corpus:
    """Turn folders of ultrasound files into a pool for pretraining.

    Args:
        sources: where the files are.
        out: the corpus folder: corpus.json, manifest.parquet, parts/00000/shard.npy ...
        config: sizes and rules.
        hold_out: labelled sets whose images and near-duplicates of them stay out of the pool.
        workers: processes; the result is the same whatever their number.
        engine: processes of this machine, or Ray; the result is the same too.
        resume: go on with an interrupted build of the same files and settings.
        overwrite: delete an earlier corpus first.

    Raises:
        FolderError: `out` exists, another build is writing there, or the disk is full (what was stored
            stays, for `resume`).
        CorpusError: no images, too many unreadable ones, or `resume` with other files or settings.
        DatasetError: a known dataset is not laid out as its card says.
    """
    started = time.perf_counter()
    listings = [list_source(source, config) for source in unique_sources(sources)]
    held_files = held_out_files(hold_out)
    plan = _plan(listings, config, held_files)
    with claimed_folder(out, marker=CORPUS_FILE, doing="build", resume=resume, overwrite=overwrite):
        earlier = _earlier(out, plan)
        if earlier is not None and earlier["status"] == "finished":
            log.info("%s: is finished already", out)
            return open_corpus(out)
        remove_partials(out)
        state: dict[str, Any] = {
            "made_by": made_by("corpus build", settings=config, inputs={"plan": plan["sha256"]}),
            "format": FORMAT,
            "status": "building",
            "plan": plan,
        }
        before_s = 0.0 if earlier is None else float(earlier["seconds"])
        write_json(out / CORPUS_FILE, {**state, "seconds": before_s})
        parts = _parts(listings, config)
        try:
            held = read_held_sets(held_files, config=config, workers=workers)
            _store(parts, out, config, Crew(workers, engine))
        finally:
            write_json(out / CORPUS_FILE, {**state, "seconds": before_s + time.perf_counter() - started})
        stock = take_stock(out, listings, num_parts=len(parts), held=held, config=config)
        seconds = before_s + time.perf_counter() - started
        write_json(out / CORPUS_FILE, {**state, "status": "finished", "seconds": seconds, **stock})
    _warn_of_unreadable(out, stock["left_out"]["unreadable"])
    return open_corpus(out)


def _plan(
    listings: Sequence[Listing], config: BuildConfig, held_files: dict[str, list[Path]]
) -> dict[str, Any]:
    """What is to be built, so that a resume can tell whether it is still the same."""
    plan: dict[str, Any] = {
        "sources": {
            listing.source.name: {
                **_files_entry((file.name, file.path) for file in listing.files),
                **_stated(listing.source),
            }
            for listing in listings
        },
        "hold_out": {
            name: _files_entry((printable(path.name), path) for path in paths)
            for name, paths in held_files.items()
        },
        "settings": config.model_dump(mode="json", exclude={"max_unreadable_ratio"}),
    }
    plan["sha256"] = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
    return plan


def _files_entry(named: Iterator[tuple[str, Path]]) -> dict[str, Any]:
    """How many files, and a hash of their names and sizes."""
    found = [(name, _num_bytes(path)) for name, path in named]
    return {"num_files": len(found), "sha256": hashlib.sha256(json.dumps(found).encode()).hexdigest()}


def _stated(source: Source) -> dict[str, str]:
    """What the owner of a folder says of it; nothing where nothing is said."""
    stated = {"licence": source.licence, "anatomy": source.anatomy}
    return {name: value for name, value in stated.items() if value is not None}


def _num_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:  # gone, or not to be asked for: reading it will say why
        return None


def _earlier(out: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """corpus.json of the build to go on with; None in a folder that nothing was stored in."""
    if not (out / CORPUS_FILE).exists():
        return None
    earlier: dict[str, Any] = read_json(out / CORPUS_FILE)
    changes = _changes(earlier.get("plan", {}), plan)
    if changes:
        raise CorpusError(
            f"{out}: was started otherwise: {'; '.join(changes)}",
            hint="--resume goes on with exactly the same files and settings; "
            "choose another --out, or --overwrite",
        )
    return earlier


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two plans, in words."""
    old, new = before.get("settings", {}), now["settings"]
    changes = [
        f"{name} was {old.get(name)}, now {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    for kind, words in (("sources", "source"), ("hold_out", "held-out set")):
        old, new = before.get(kind, {}), now[kind]
        for name in sorted(old.keys() | new.keys()):
            if name not in old or name not in new:
                changes.append(f"{words} {name} {'is new' if name in new else 'is gone'}")
                continue
            for fact in ("licence", "anatomy"):
                if old[name].get(fact) != new[name].get(fact):
                    was, now_is = (one[name].get(fact, "not stated") for one in (old, new))
                    changes.append(f"{fact} of {words} {name} was {was}, now {now_is}")
            if old[name]["sha256"] != new[name]["sha256"]:
                counts = f"{old[name]['num_files']} files then, {new[name]['num_files']} now"
                changes.append(f"{words} {name} has other files (names or sizes; {counts})")
    if not changes and list(before.get("sources", {})) != list(now["sources"]):
        changes.append("the sources came in another order")
    return changes


def _parts(listings: Sequence[Listing], config: BuildConfig) -> list[Part]:
    files = [file for listing in listings for file in listing.files]
    size = config.files_per_part
    return [Part(k // size, tuple(files[k : k + size])) for k in range(0, len(files), size)]


def _store(parts: Sequence[Part], out: Path, config: BuildConfig, crew: Crew) -> None:
    """Build the parts that are not there yet."""
    total = sum(len(part.files) for part in parts)
    todo = [part for part in parts if not is_stored(out, part.index, size_px=config.size_px)]
    left = sum(len(part.files) for part in todo)
    started, num_done = time.perf_counter(), 0
    with progress_bar("corpus build", total=total, done=total - left) as bar:
        for num_files in crew.run(partial(build_part, corpus=out, config=config), todo):
            num_done += num_files
            bar.say(f"{num_done / (time.perf_counter() - started):.0f} files/s")
            bar.advance(num_files)


def _warn_of_unreadable(out: Path, unreadable: dict[str, Any]) -> None:
    if unreadable["count"]:
        first = unreadable["named"][0]
        log.warning(
            "%d unreadable files were left out (first: %s: %s); all are named in %s",
            unreadable["count"], first["path"], first["why"], out / CORPUS_FILE,
        )  # fmt: skip
