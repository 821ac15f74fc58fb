"""Settings and files of small teachers."""

from pathlib import Path

import torch

from usfmae.base.input_spec import InputSpec
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights
from usfmae.models.weights import save_encoder

LITE = [
    "model.teacher.kind=efficientnet-lite0",
    "model.teacher.stride_px=8",
    "model.teacher.pooled_weight=0.5",
]
SELF = ["model.teacher.kind=self", "model.teacher.layers_averaged=2", "model.teacher.decay=0.9"]


def drawn_vit(path: Path, *, seed: int) -> Path:
    """A file of a small ViT with patches of another size than the student's."""
    network = VisionTransformer(ViTConfig(image_px=24, patch_px=6, channels=3))
    start_weights(network, torch.Generator().manual_seed(seed))
    save_encoder(path, network, input_spec=InputSpec(image_px=24, channels=3, mean=(0.5,), std=(0.25,)))
    return path


def of_file(path: Path) -> list[str]:
    """Settings that name it."""
    return ["model.teacher.kind=file", f"model.teacher.weights={path}", "model.teacher.pooled_weight=1"]
