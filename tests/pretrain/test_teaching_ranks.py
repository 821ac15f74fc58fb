"""Two processes that learn from a teacher do what one does: DDP and FSDP2, frozen and of itself."""

import json
from pathlib import Path

import pytest
import torch

from usfmae.base.config import with_settings
from usfmae.base.input_spec import InputSpec
from usfmae.engine.metrics_log import read_metrics
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights
from usfmae.models.weights import save_encoder
from usfmae.pretrain.run import pretrain

TOLERANCE = 1e-6
PARTS = ("loss", "loss_pixels", "loss_features", "loss_pooled")


@pytest.fixture(scope="module")
def runs(small_config, small_corpus, clips, pair, tmp_path_factory) -> Path:
    """5 steps of 9 images, which two processes share as 4 and 5."""
    root = tmp_path_factory.mktemp("taught")
    network = VisionTransformer(ViTConfig(image_px=32, patch_px=8))
    start_weights(network, torch.Generator().manual_seed(5))
    save_encoder(root / "teacher.safetensors", network, input_spec=InputSpec(image_px=32))
    words = [
        "global_batch=9", "epochs=2.3", "model.teacher.pooled_weight=1", "watch.num_pictures=0",
        "watch.utilisation=false", "loop.checkpoint_steps=3",
    ]  # fmt: skip
    own = ["model.teacher.kind=self", "model.teacher.layers_averaged=2", "model.teacher.decay=0.9"]
    kinds = {
        "file": ["model.teacher.kind=file", f"model.teacher.weights={root / 'teacher.safetensors'}"],
        "self": [*own, "model.hiding.kind=sector"],
    }
    shared = {}
    for kind, more in kinds.items():
        config = with_settings(small_config, [*words, *more])
        pretrain(config, clips, root / kind)
        for name in ("ddp", "fsdp"):
            how = [f"loop.parallel={name}", "loop.accumulate=2"]
            shared[f"{kind}_{name}"] = (with_settings(config, how), clips)
    pair.train(root, shared)
    return root


def logged(out: Path) -> list[list[float]]:
    lines = [line for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "train"]
    return [[line[part] for part in PARTS] for line in lines]


@pytest.mark.parametrize("kind", ["file", "self"])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_learn_from_a_teacher_what_one_learns(runs, kind, parallel):
    one, two = logged(runs / kind), logged(runs / f"{kind}_{parallel}")
    assert len(one) == 5
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, abs=TOLERANCE)
    record = json.loads((runs / f"{kind}_{parallel}/run.json").read_text())
    assert (record["status"], record["ranks"]["world"]) == ("finished", 2)
