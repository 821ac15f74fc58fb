"""A finished run with its corpus as far as a model card reads them, written by hand."""

import json
from pathlib import Path
from typing import Any

from fake_folders import made_by
from small_shelf import SIDE, tiny_vit

from usfmae.base.files import file_sha256
from usfmae.base.input_spec import InputSpec
from usfmae.models.weights import save_encoder

FREE = {"commercial": True, "share": True, "derivatives": True, "share_alike": False}
NOT_SOLD = {"commercial": False, "share": True, "derivatives": True, "share_alike": False}
SILENT = {"commercial": None, "share": None, "derivatives": None, "share_alike": False}


def source(name: str, num_images: int, terms: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {
        "name": name, "dataset": None, "folder": f"/home/me/{name}", "licence": None, "terms": terms,
        "anatomy": None, "num_files": num_images, "num_images": num_images, **facts,
    }  # fmt: skip


BREAST = source("busi", 30, FREE, dataset="busi", anatomy="breast", licence="CC0-1.0")
MINE = source("mine", 70, SILENT)


def finished_run(
    root: Path,
    *,
    name: str = "run",
    sources: tuple[dict[str, Any], ...] = (BREAST,),
    terms: dict[str, Any] = FREE,
    **changes: Any,
) -> Path:
    """`root/pool` with a corpus.json and `root/NAME` with run.json and weights; returns the latter."""
    pool, run = root / "pool", root / name
    pool.mkdir(parents=True, exist_ok=True)
    run.mkdir()
    corpus = {
        "sha256": "feed" * 16, "size_px": 256, "fit": "pad", "crop": "none", "clean": "none", "terms": terms,
        "num_images": sum(one["num_images"] for one in sources), "num_groups": 12, "sources": list(sources),
        "held_out": {"bus-bra": {"images": 9, "found_in_pool": 2, "near_duplicates_in_pool": 1}},
        "left_out": {"near_duplicate": {"count": 4, "named": []}, "unreadable": {"count": 0, "named": []}},
    }  # fmt: skip
    (pool / "corpus.json").write_text(json.dumps(corpus))
    save_encoder(run / "weights.safetensors", tiny_vit(), input_spec=InputSpec(image_px=SIDE))
    made = made_by("pretrain", {"seed": 3, "global_batch": 16, "replay": {"corpus": None}})
    made["command"] = ["usfmae", "pretrain", "tiny_cpu", "--corpus", str(pool), "--watch", f"busi={root}"]
    record = {
        "made_by": made, "status": "finished", "recipe": "tiny_cpu", "device": "cpu", "ranks": {"world": 1},
        "corpus": {"folder": str(pool), "sha256": "feed" * 16, "num_images": corpus["num_images"]},
        "pools_seen": [{"folder": str(pool), "sha256": "feed" * 16}], "weights": None, "steps_done": 20,
        "seconds": 75.0, "peak_memory_gb": 1.25, "num_parameters": {"encoder": 5_400_000, "decoder": 7},
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(record | changes))
    return run


def result_of(run: Path, folder: Path, *, task: str = "bus-bra", **changes: Any) -> Path:
    """A result of the weights of a run."""
    metrics = {"macro_f1": {"value": 0.5, "low": 0.4, "high": 0.6}, "auroc": {"value": None, "low": None,
               "high": None}}  # fmt: skip
    found = {"checked": True, "test_images_in_pool": 0, "near_duplicates_in_pool": 1, "of": 9}
    record = {
        "task": task, "method": "knn", "split": {"name": "fold-1"}, "folds": [{"split": "fold-1"}],
        "seed": 0, "num_images": 9, "num_patients": 5, "group_kind": "patient", "metrics": metrics,
        "weights_sha256": file_sha256(run / "weights.safetensors"), "contamination": found,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(record | changes))
    return folder
