"""Tiny encoders on a shelf of named weights, as `src/usfmae/pretrained` is one."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from usfmae.base.files import file_sha256
from usfmae.base.input_spec import InputSpec
from usfmae.evaluate.seen_images import write_seen
from usfmae.models.half_file import write_half
from usfmae.models.shipped import CARD_FORMAT
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights
from usfmae.models.weights import save_encoder

SIDE = 32


def tiny_vit(seed: int = 0, *, image_px: int = SIDE) -> VisionTransformer:
    vit = VisionTransformer(ViTConfig(size="ti", image_px=image_px, patch_px=8))
    start_weights(vit, torch.Generator().manual_seed(seed))
    return vit.eval()


def put_on_shelf(shelf: Path, name: str = "usfmae_s16", *, seed: int = 0, **changes: Any) -> Path:
    """A tiny encoder in half precision with the smallest card that commands can read; returns the file."""
    shelf.mkdir(exist_ok=True)
    whole, file = shelf / "whole.bin.safetensors", shelf / f"{name}.safetensors"
    save_encoder(whole, tiny_vit(seed), input_spec=InputSpec(image_px=SIDE))
    write_half(whole, file)
    whole.unlink()
    card = {
        "format": CARD_FORMAT,
        "name": name,
        "encoder": "vit",
        "file": {"name": file.name, "sha256": file_sha256(file)},
        "trained_on": ["busi", "folder of mine"],
        "held_out": ["bus-bra"],
        "licence": {"words": "no commercial use", "commercial": False, "source": "its model card"},
        "data": {"num_images": 1234, "pools": [{"folder": "mixed", "sha256": "feed" * 16}]},
        "start": {"words": "ultrasound only, from a random start"},
        **changes,
    }
    (shelf / f"{name}.json").write_text(json.dumps(card))
    return file


def add_hashes(file: Path, digests: Iterable[str], *, size_px: int = SIDE, fit: str = "pad") -> Path:
    """Let hashes of the images it has learnt from travel with a file on the shelf; returns the file."""
    place = file.parent / "pool"
    place.mkdir(exist_ok=True)
    pq.write_table(
        pa.table({"content_hash": pa.array(list(digests), pa.string())}), place / "manifest.parquet"
    )
    pool = {
        "folder": "mixed", "place": str(place), "size_px": size_px, "fit": fit,
        "manifest_sha256": file_sha256(place / "manifest.parquet"),
    }  # fmt: skip
    card = json.loads(file.with_suffix(".json").read_text())
    file.with_suffix(".json").write_text(json.dumps(card | {"seen": write_seen(file, [pool])}))
    return file
