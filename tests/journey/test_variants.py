"""Every variant of pretraining through the command line, on drawn clips, and what becomes of it."""

import json
import math

import numpy as np
import pytest
from variants import VARIANTS, draw_clips

from usfmae.cli.main import main
from usfmae.datasets.fake import fake_dataset
from usfmae.engine.metrics_log import read_metrics
from usfmae.models.weights import load_encoder
from usfmae.recipes.registry import get_recipe

SMALL = ["model.encoder.image_px=32", "model.encoder.patch_px=8", "global_batch=8", "epochs=2", "threads=1",
         "loop.log_steps=1", "watch.every_epochs=9", "watch.num_pictures=3"]  # fmt: skip


def run(*words) -> int:
    return main([str(word) for word in words])


def settings(name: str) -> list[str]:
    return [word for setting in (*SMALL, *VARIANTS[name]) for word in ("--set", setting)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root, out = tmp_path_factory.mktemp("clips"), tmp_path_factory.mktemp("corpora") / "clips"
    draw_clips(root)
    words = ("corpus", "build", "--images", root, "--out", out, "--workers", 1)
    assert run(*words, "--set", "size_px=32", "--set", "keep_per_cluster=null") == 0
    return out


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_runs_and_its_encoder_loads(name, corpus, tmp_path):
    out = tmp_path / "run"
    assert run("pretrain", "tiny_cpu", "--corpus", corpus, "--out", out, *settings(name)) == 0
    losses = [line["loss"] for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "train"]
    assert len(losses) == 5
    assert all(math.isfinite(loss) for loss in losses)
    config, loaded = get_recipe(str(out)), load_encoder(out)
    assert loaded.input_spec.image_px == config.model.encoder.image_px
    assert loaded.report.resized == {}
    assert (out / "report.html").exists()
    with np.load(out / "pictures/step_00000005.npz") as look:
        assert look["reconstructed"].shape == (3, *config.input_spec.size_px)


def test_a_rectangular_encoder_is_watched_scored_and_tuned(corpus, tmp_path):
    labelled, out = fake_dataset("folder", tmp_path / "labelled", num_patients=18), tmp_path / "run"
    words = ("pretrain", "tiny_cpu", "--corpus", corpus, "--out", out, "--watch", f"folder={labelled}")
    assert run(*words, *settings("rectangle")) == 0
    words = ("--task", "folder", "--data", labelled, "--weights", out, "--out")
    assert run("evaluate", "knn", *words, tmp_path / "knn") == 0
    words = (*words, tmp_path / "tuned", "--set", "epochs=1", "--set", "threads=1")
    assert run("evaluate", "finetune", *words) == 0
    result = json.loads((tmp_path / "tuned" / "result.json").read_text())
    assert 0 <= result["metrics"]["auroc"]["value"] <= 1


def test_a_run_may_start_from_one_of_a_smaller_size(corpus, tmp_path):
    # The two-command way to steps of size: positions are resampled, everything else is taken as it is.
    first, second = tmp_path / "small", tmp_path / "large"
    words = ("pretrain", "tiny_cpu", "--corpus", corpus)
    assert run(*words, "--out", first, *settings("ratio"), "--set", "model.encoder.image_px=16",
               "--set", "model.hide_ratio=0.75") == 0  # fmt: skip
    assert run(*words, "--out", second, *settings("ratio"), "--weights", first) == 0
    report = json.loads((second / "run.json").read_text())["weights"]["loaded"]
    assert report["resized"] == {"pos_embed": "positions 2x2 -> 4x4"}
    assert load_encoder(second).input_spec.image_px == 32
