"""The card of an encoder: what it is, what it has seen, what it may be used for, and what it is worth.

Every entry comes from a record that a stage has left: the run's run.json, its corpora's corpus.json, results
and comparisons of its weights. The JSON is for programs (`models.shipped` compares its hash and gives its
licence); `card_text` makes the page that people read. After Mitchell et al. 2019, "Model cards for model
reporting".
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from usfmae.base.config import make_config
from usfmae.base.errors import CorpusError, WeightsError
from usfmae.base.files import file_sha256, read_json
from usfmae.base.input_spec import InputSpec
from usfmae.datasets.terms import NOTHING_STATED, Terms, all_allow, strictest
from usfmae.evaluate.card_limits import intended_use, limits
from usfmae.evaluate.card_start import RUN_FILE, shortened, where_it_began, without_places
from usfmae.models.encoder import Encoder
from usfmae.models.encoders import encoder_record
from usfmae.models.half_file import notes_of
from usfmae.models.shipped import CARD_FORMAT
from usfmae.models.weights import AVERAGED_FILE

CORPUS_FILE = "corpus.json"


def read_run(run: Path) -> dict[str, Any]:
    """The record of a finished pretraining run.

    Raises:
        WeightsError: it is none, or not finished.
    """
    if not (run / RUN_FILE).is_file():
        raise WeightsError(f"{run}: holds no {RUN_FILE}", hint="give the folder of a run of usfmae pretrain")
    record: dict[str, Any] = read_json(run / RUN_FILE)
    if record.get("made_by", {}).get("stage") != "pretrain" or not record.get("corpus"):
        raise WeightsError(
            f"{run}: is not a run of pretraining", hint="give the folder of a run of usfmae pretrain"
        )
    if record.get("status") != "finished":
        raise WeightsError(
            f"{run}: is {record.get('status')}, not finished", hint="finish it with usfmae pretrain --resume"
        )
    return record


def read_pools(record: Mapping[str, Any], corpora: Sequence[Path]) -> list[dict[str, Any]]:
    """The records of every corpus that a run has seen, also those of the runs it went on from; `folder` is
    the name of its folder, `place` where that is on this machine.

    Args:
        record: the content of run.json.
        corpora: corpora that have moved since; told by their hash.

    Raises:
        CorpusError: one is not where the run has read it, nor among `corpora`.
    """
    given = {}
    for folder in corpora:
        if not (folder / CORPUS_FILE).is_file():
            raise CorpusError(f"{folder}: is no corpus (no {CORPUS_FILE})")
        content = read_json(folder / CORPUS_FILE)
        given[content["sha256"]] = {**content, "folder": folder.name, "place": str(folder)}
    found = []
    for pool in record.get("pools_seen") or [record["corpus"]]:
        there = Path(pool["folder"]) / CORPUS_FILE
        content = given.get(pool["sha256"])
        if content is None and there.is_file():
            content = {**read_json(there), "folder": there.parent.name, "place": pool["folder"]}
        if content is None or content["sha256"] != pool["sha256"]:
            raise CorpusError(
                f"{pool['folder']}: the corpus that the run has seen (SHA-256 {pool['sha256'][:12]}) is "
                "not there",
                hint="say where it is with --corpus DIR; its corpus.json is enough",
            )
        found.append(content)
    return found


def make_card(
    *,
    name: str,
    file: Path,
    source: Path,
    run: Path,
    record: Mapping[str, Any],
    pools: Sequence[Mapping[str, Any]],
    encoder: Encoder,
    network: str,
    input_spec: InputSpec,
    numbers: Sequence[Mapping[str, Any]],
    seen: Mapping[str, Any] | None,
    least_cosine: float,
    made_by: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of NAME.json.

    Args:
        name: under which the weights ship.
        file: the file in half precision.
        source: the file of the run that it was made from: its weights, or their average.
        run: the folder of the run.
        record: of the run, from `read_run`.
        pools: from `read_pools`.
        encoder: as loaded from `file`.
        network: its name, as `--encoder` has it.
        input_spec: what it wants to see.
        numbers: from `card_numbers`.
        seen: from `seen_images.write_seen`.
        least_cosine: between embeddings in half and in full precision, over drawn pictures.
        made_by: of the card itself.
    """
    start = where_it_began(record, run, notes=notes_of(source))
    terms = strictest(_terms(pool) for pool in pools)
    sources = [entry for pool in pools for entry in pool["sources"]]
    held_out = sorted({name for pool in pools for name in pool["held_out"]})
    made = record["made_by"]
    settings, seconds = made["settings"], float(record["seconds"])
    card: dict[str, Any] = {
        "format": CARD_FORMAT,
        "name": name,
        "encoder": network,
        "file": {
            "name": file.name,
            "sha256": file_sha256(file),
            "bytes": file.stat().st_size,
            "numbers": "fp16 (vectors and positions fp32)",
            "made_from": source.name,
            "average": _average(source, settings),
            "made_from_sha256": file_sha256(source),
            "least_cosine_to_fp32": round(least_cosine, 9),
        },
        "network": encoder_record(encoder),
        "num_parameters": _num_parameters(record, encoder),
        "embed_dim": encoder.embed_dim,
        "input_spec": input_spec.model_dump(mode="json"),
        "start": start,
        "trained_on": sorted({entry["dataset"] or entry["name"] for entry in sources}),
        "held_out": held_out,
        "seen": seen,
        "data": {
            "num_images": sum(pool["num_images"] for pool in pools),
            "num_groups": sum(pool["num_groups"] for pool in pools),
            "by_anatomy": _by_anatomy(sources),
            "pools": [_pool(pool) for pool in pools],
        },
        "terms": terms.model_dump(mode="json"),
        "licence": _licence(terms, sources, start),
        "numbers": list(numbers),
        "run": {
            "recipe": record.get("recipe"),
            "command": shortened(made["command"]),
            "commit": made.get("commit"),
            "usfmae": made.get("usfmae"),
            "at": made.get("at"),
            "run_sha256": file_sha256(run / RUN_FILE),
            "seed": settings.get("seed"),
            "steps": record["steps_done"],
            "images_seen": record["steps_done"] * settings.get("global_batch", 0),
            "seconds": seconds,
            "device": record["device"],
            "processes": (record.get("ranks") or {}).get("world", 1),
            "peak_memory_gb": record["peak_memory_gb"],
            "libraries": made.get("libraries", {}),
        },
        "settings": without_places(settings),
    }
    card["intended_use"] = intended_use()
    card["limits"] = limits(card)
    card["made_by"] = {**made_by, "command": shortened(made_by["command"])}
    return card


def _average(source: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the weights were averaged over the steps of the run; None for those after its last step."""
    if source.name != AVERAGED_FILE:
        return None
    return {"decay": (settings.get("ema") or {}).get("decay")}


def _num_parameters(record: Mapping[str, Any], encoder: Encoder) -> int:
    said = record.get("num_parameters")
    if isinstance(said, Mapping) and isinstance(said.get("encoder"), int):
        return int(said["encoder"])
    return sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)


def _terms(pool: Mapping[str, Any]) -> Terms:
    return make_config(Terms, pool["terms"]) if pool.get("terms") else NOTHING_STATED


def _pool(pool: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("name", "dataset", "anatomy", "licence", "terms", "num_files", "num_images")
    return {
        "folder": pool["folder"],
        "sha256": pool["sha256"],
        "num_images": pool["num_images"],
        "num_groups": pool["num_groups"],
        "size_px": pool["size_px"],
        "fit": pool["fit"],
        "crop": pool["crop"],
        "clean": pool.get("clean"),
        "sources": [{name: source.get(name) for name in kept} for source in pool["sources"]],
        "held_out": pool["held_out"],
        "left_out": {reason: entry["count"] for reason, entry in pool["left_out"].items() if entry["count"]},
    }


def _by_anatomy(sources: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Images of each anatomy, most first; "not stated" for folders and sets that do not say."""
    counted: Counter[str] = Counter()
    for source in sources:
        counted[source.get("anatomy") or "not stated"] += source["num_images"]
    return dict(counted.most_common())


def _licence(terms: Terms, sources: Sequence[Mapping[str, Any]], start: Mapping[str, Any]) -> dict[str, Any]:
    """What may be done with the weights, as far as it follows from their images and from every network that
    they began from or learnt from."""
    foreign = start["foreign"]
    commercial = all_allow([terms.commercial, *(one["commercial"] for one in foreign)])
    forbid = [s["name"] for s in sources if (s.get("terms") or {}).get("commercial") is False]
    silent = [s["name"] for s in sources if (s.get("terms") or {}).get("commercial") is None]
    words = f"the terms of its images ({terms.summary}"
    if forbid:
        words += f"; forbidden by {', '.join(sorted(set(forbid)))}"
    if silent:
        words += f"; not stated by {', '.join(sorted(set(silent)))}"
    words += ")"
    if foreign:
        listed = ", ".join(f"{one['name']} ({one['licence']})" for one in foreign)
        words += f" and those of what it began from or was taught by: {listed}"
    return {"words": words, "commercial": commercial, "source": "its model card"}


def is_licence_clean(card: Mapping[str, Any]) -> bool:
    """Whether every source allows all, and no network from elsewhere had a part in it."""
    terms = card["terms"]
    allowed = all(terms[name] is True for name in ("commercial", "share", "derivatives"))
    return allowed and card["start"]["ultrasound_only"] is True


def least_cosine(one: Any, two: Any) -> float:
    """The smallest cosine between equal rows of two arrays of embeddings."""
    dots = (one * two).sum(axis=1)
    lengths = (one**2).sum(axis=1) * (two**2).sum(axis=1)
    return min(float(dot) / math.sqrt(float(length)) for dot, length in zip(dots, lengths, strict=True))
