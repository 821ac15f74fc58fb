"""Every variant of pretraining as a run of a few steps on a drawn corpus."""

import json
import math
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from usfmae.base.config import with_settings
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import open_corpus
from usfmae.corpus.sources import Source
from usfmae.engine.metrics_log import read_metrics
from usfmae.models.weights import load_encoder
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.step import PretrainBatches

VARIANTS = {
    "ratio": ["model.hide_ratio=0.9"],
    "blocks": ["model.hiding.kind=block", "model.hiding.block=2"],
    "sector": ["model.hiding.kind=sector"],
    "loss in the sector": ["model.loss_in=sector"],
    "plain pixels": ["model.normalised_pixels=false"],
    "part": ["model.decoder.predict_ratio=0.5"],
    "cross": ["model.decoder.kind=cross", "model.decoder.predict_ratio=0.4"],
    "cross, layers": ["model.decoder.kind=cross", "model.decoder.layers_seen=4"],
    "context": ["model.context=clip"],
    "context, cross": ["model.context=clip", "model.decoder.kind=cross", "model.hiding.kind=sector"],
    "rectangle": ["model.encoder.image_px=[24, 32]"],
    "steps of size": ["resolution.start_px=16", "resolution.start_ratio=0.5"],
    "all at once": [
        "model.hiding.kind=sector", "model.decoder.kind=cross", "model.decoder.predict_ratio=0.5",
        "model.decoder.layers_seen=3", "model.context=clip", "model.encoder.image_px=[32, 24]",
        "resolution.start_px=[16, 16]", "loop.accumulate=3",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Four clips of four frames and three stills, fans on black; one still is all black."""
    root, noise = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    fan = cv2.fillConvexPoly(np.zeros((48, 48), np.uint8), np.array([[24, 2], [46, 40], [2, 40]]), 1)
    for k in range(4):
        frames = [
            cv2.GaussianBlur(noise.integers(30, 256, (48, 48), np.uint8), (9, 9), 3) * fan for _ in range(4)
        ]
        first, *rest = (Image.fromarray(frame) for frame in frames)
        first.save(root / f"clip_{k}.tif", save_all=True, append_images=rest)
    for k in range(3):
        cv2.imwrite(str(root / f"still_{k}.png"), noise.integers(0, 256, (48, 48), np.uint8) * fan * (k > 0))
    out = tmp_path_factory.mktemp("corpora") / "clips"
    build_corpus([Source("scans", root)], out=out, config=BuildConfig(size_px=32, keep_per_cluster=None))
    return out


def variant(small_config, name: str):
    return with_settings(small_config, [*VARIANTS[name], "epochs=2", "watch.every_epochs=9"])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_runs_and_its_encoder_loads(name, clips, small_config, tmp_path):
    config = variant(small_config, name)
    record = pretrain(config, clips, tmp_path / "run")
    losses = [
        line["loss"] for line in read_metrics(tmp_path / "run/metrics.jsonl") if line["kind"] == "train"
    ]
    assert len(losses) == record["total_steps"] == 5
    assert all(math.isfinite(loss) for loss in losses)
    loaded = load_encoder(tmp_path / "run")
    assert loaded.input_spec.image_px == config.model.encoder.image_px
    assert loaded.report.resized == {}
    with np.load(tmp_path / "run/pictures/step_00000005.npz") as look:
        assert look["reconstructed"].shape == (3, *config.input_spec.size_px)


@pytest.mark.parametrize("name", ["steps of size", "all at once"])
def test_a_variant_that_was_stopped_ends_where_an_undisturbed_one_does(name, clips, small_config, tmp_path):
    config = variant(small_config, name)
    pretrain(config, clips, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for name in ("checkpoints/step_00000005", "pictures"):
        shutil.rmtree(tmp_path / "cut" / name)
    (tmp_path / "cut/weights.safetensors").unlink()
    record = json.loads((tmp_path / "cut/run.json").read_text())
    (tmp_path / "cut/run.json").write_text(json.dumps({**record, "status": "running"}))
    assert [path.name for path in (tmp_path / "cut/checkpoints").iterdir()] == ["step_00000003"]
    pretrain(config, clips, tmp_path / "cut", resume=True)
    ends = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("whole", "cut")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", VARIANTS)
def test_batches_are_a_function_of_seed_and_step(name, clips, small_config):
    config = variant(small_config, name)
    make, again = (PretrainBatches(open_corpus(clips), config) for _ in range(2))
    for step in (4, 0):
        assert all(torch.equal(a, b) for a, b in zip(make(step), again(step), strict=True))
    assert not torch.equal(make(3)[1], make(4)[1])


def test_a_frame_comes_with_another_of_its_clip_under_another_crop(clips, small_config):
    corpus = open_corpus(clips)
    whole = ["augment.scale=[1, 1]", "augment.aspect=[1, 1]", "augment.flip_across=0", "global_batch=19"]
    config = with_settings(variant(small_config, "context"), whole)
    views, visible, hidden = PretrainBatches(corpus, config)(0)
    assert (views.shape, visible.shape, hidden.shape) == ((19, 2, 32, 32), (19, 2, 4), (19, 12))
    stored = corpus.read(np.arange(19))
    names = corpus.manifest["path"].to_pylist()
    for image, other in views.numpy():
        one, two = ((stored == frame).all(axis=(1, 2)).nonzero()[0][0] for frame in (image, other))
        assert names[one] == names[two]
        assert (one == two) == names[one].startswith("still")
    assert not torch.equal(visible[:, 0], visible[:, 1])
    plain = with_settings(config, ["model.context=none"])
    assert torch.equal(PretrainBatches(corpus, plain)(0)[0], views[:, 0])


def test_the_sizes_of_batches_step_up_once(clips, small_config):
    make = PretrainBatches(open_corpus(clips), variant(small_config, "steps of size"))
    assert make.total_steps == 5
    assert [make(step)[0].shape[1] for step in range(5)] == [16, 16, 32, 32, 32]
    assert [make(step)[2].shape[1] for step in range(5)] == [3, 3, 12, 12, 12]


def test_a_run_of_a_version_without_these_settings_goes_on(clips, small_config, tmp_path):
    pretrain(small_config, clips, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    settings = record["made_by"]["settings"]
    del settings["resolution"]
    for name in ("hiding", "loss_in", "context"):
        del settings["model"][name]
    for name in ("kind", "predict_ratio", "layers_seen"):
        del settings["model"]["decoder"][name]
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    assert pretrain(small_config, clips, tmp_path / "run", resume=True)["status"] == "finished"
