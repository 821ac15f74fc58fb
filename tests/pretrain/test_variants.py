import json
import shutil

import numpy as np
import pytest
import torch
from shown import shown
from variants import VARIANTS

from usfmae.base.config import with_settings
from usfmae.corpus.shards import open_corpus
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.step import PretrainBatches


def variant(small_config, name: str):
    return with_settings(small_config, [*VARIANTS[name], "epochs=2", "watch.every_epochs=9"])


@pytest.mark.parametrize("name", ["steps of size", "pairs", "all at once"])
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
    assert not torch.equal(make(3)[3], make(4)[3])


def test_a_frame_comes_with_another_of_its_clip_under_another_crop(clips, small_config):
    corpus = open_corpus(clips)
    whole = ["augment.scale=[1, 1]", "augment.aspect=[1, 1]", "augment.flip_across=0", "global_batch=19"]
    config = with_settings(variant(small_config, "context"), whole)
    batch = PretrainBatches(corpus, config)(0)
    views, seen = batch[0], shown(config, batch)
    assert views.shape == (19, 2, 32, 32)
    assert (seen.hiding.visible.shape, seen.hiding.hidden.shape) == ((19, 4), (19, 12))
    (context,) = seen.context
    assert context.visible.shape == (19, 4)
    stored = corpus.read(np.arange(19))
    names = corpus.manifest["path"].to_pylist()
    for image, other in views.numpy():
        one, two = ((stored == frame).all(axis=(1, 2)).nonzero()[0][0] for frame in (image, other))
        assert names[one] == names[two]
        assert (one == two) == names[one].startswith("still")
    assert not torch.equal(seen.hiding.visible, context.visible)
    plain = with_settings(config, ["model.context=none"])
    assert torch.equal(PretrainBatches(corpus, plain)(0)[0], views[:, :1])


def test_an_image_that_is_alone_comes_with_itself_under_another_crop(small_corpus, small_config):
    config = with_settings(small_config, ["model.context=clip", "augment.flip_across=0"])
    views, *_ = PretrainBatches(open_corpus(small_corpus), config)(0)
    same = [torch.equal(image, other) for image, other in views]
    assert sum(same) == 0


def test_the_sizes_of_batches_step_up_once(clips, small_config):
    make = PretrainBatches(open_corpus(clips), variant(small_config, "steps of size"))
    assert make.total_steps == 5
    assert [make(step)[0].shape[2] for step in range(5)] == [16, 16, 32, 32, 32]
    hidden = [shown(make.config, make(step)).hiding.hidden.shape[1] for step in range(5)]
    assert hidden == [3, 3, 12, 12, 12]


def test_a_run_of_a_version_without_these_settings_goes_on(clips, small_config, tmp_path):
    pretrain(small_config, clips, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    settings = record["made_by"]["settings"]
    del settings["resolution"]
    for name in ("hiding", "loss_in", "context", "agreement"):
        del settings["model"][name]
    for name in ("kind", "predict_ratio", "layers_seen"):
        del settings["model"]["decoder"][name]
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    assert pretrain(small_config, clips, tmp_path / "run", resume=True)["status"] == "finished"
