"""Folders as stages leave them, for pages that are drawn from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def made_by(stage: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "stage": stage,
        "usfmae": "9.8.7",
        "commit": "abc123def456",
        "python": "3.11.9",
        "machine": "Linux x86_64",
        "command": ["usfmae", *stage.split(), "--out", "a folder/x"],
        "libraries": {"numpy": "2.4.1"},
        "settings": settings or {},
        "inputs": {"corpus": "0123456789abcdef" * 4},
        "at": "2026-01-02T03:04:05+00:00",
    }


def fake_run(root: Path, *, watch: bool = True, pictures: bool = True) -> Path:
    """A finished run of four epochs with 20 steps."""
    root.mkdir(parents=True)
    record = {
        "made_by": made_by("pretrain"), "status": "finished", "recipe": "tiny_cpu", "device": "cpu",
        "corpus": {"folder": "corpora/x", "sha256": "feed" * 16, "num_images": 1234},
        "num_parameters": {"encoder": 5_500_000, "decoder": 800_000}, "total_steps": 20, "steps_done": 20,
        "seconds": 75.0, "peak_memory_gb": 1.25,
    }  # fmt: skip
    (root / "run.json").write_text(json.dumps(record))
    lines: list[dict[str, Any]] = [
        {"kind": "train", "step": step, "epoch": step / 5, "loss": 1 / (1 + step), "lr": 1e-4 * step,
         "grad_norm": 1.0, "images_per_s": 250.0, "memory_gb": 1.0}
        for step in range(1, 21)
    ]  # fmt: skip
    if watch:
        lines += [
            {"kind": "watch", "step": step, "epoch": step / 5, "task": "simulated", "metric": "knn_macro_f1",
             "value": 0.5 + step / 100, "low": 0.4 + step / 100, "high": 0.6 + step / 100}
            for step in (0, 10, 20)
        ]  # fmt: skip
    (root / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if pictures:
        (root / "pictures").mkdir()
        for step in (0, 10, 20):
            images = np.random.default_rng(step).integers(0, 255, (3, 32, 32), dtype=np.uint8)
            np.savez_compressed(
                root / f"pictures/step_{step:08d}.npz", visible=images, reconstructed=images, original=images
            )
    return root


def page_of(path: Path) -> str:
    return path.read_text()
