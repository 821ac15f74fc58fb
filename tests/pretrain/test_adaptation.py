import json
import shutil

import numpy as np
import pytest
import torch
from small_pools import build_pool, draw_scans

from usfmae.base.errors import FolderError, SettingError
from usfmae.base.interrupt import Interrupted
from usfmae.base.seeds import rng_for, seed_for
from usfmae.corpus.shards import open_corpus
from usfmae.engine.devices import to_input
from usfmae.engine.metrics_log import read_metrics
from usfmae.models.hiding_choice import choose_hiding, draw_turns
from usfmae.models.mae import MaskedAutoencoder
from usfmae.models.vit import start_weights
from usfmae.pretrain.adaptation import METRIC, draw_sample, image_losses, mean_interval
from usfmae.pretrain.replay import ReplayConfig
from usfmae.pretrain.run import pretrain


def adapting(config, old, ratio=0.4):
    return config.model_copy(update={"replay": ReplayConfig(corpus=str(old), ratio=ratio), "epochs": 2.0})


@pytest.fixture(scope="module")
def before(other_corpus, small_config, tmp_path_factory):
    """A run on the old pool."""
    out = tmp_path_factory.mktemp("runs") / "before"
    pretrain(small_config, other_corpus, out)
    return out


@pytest.fixture(scope="module")
def adapted(before, small_corpus, other_corpus, small_config, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "adapted"
    config = adapting(small_config, other_corpus)
    return out, pretrain(config, small_corpus, out, weights=before, evaluations=[scored])


def scored(_encoder, _spec):
    return [{"task": "busi", "metric": "knn_macro_f1", "value": 0.5, "low": 0.4, "high": 0.6}]


def test_the_record_says_what_was_gained_and_lost(adapted, small_corpus, other_corpus):
    out, record = adapted
    found = record["adaptation"]
    assert json.loads((out / "run.json").read_text())["adaptation"] == found
    for name, folder, count in (("new", small_corpus, 20), ("old", other_corpus, 14)):
        part = found[name]
        assert (part["folder"], part["num_images"], part["num_groups"]) == (str(folder), count, count)
        assert part["change"]["value"] == pytest.approx(part["after"]["value"] - part["before"]["value"])
        for when in ("before", "after", "change"):
            assert part[when]["low"] <= part[when]["value"] <= part[when]["high"]
    assert found["new"]["change"]["high"] < 0  # it learnt the new pool
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    assert found["watched"] == [{"task": "busi", "metric": "knn_macro_f1", "before": score, "after": score}]


def test_a_run_names_both_pools(adapted, small_corpus, other_corpus):
    _, record = adapted
    new, old = open_corpus(small_corpus), open_corpus(other_corpus)
    assert record["corpus"]["sha256"] == new.sha256
    assert record["replay"] == {
        "folder": str(other_corpus), "sha256": old.sha256, "num_images": 14, "images_per_batch": 3
    }  # fmt: skip
    assert record["made_by"]["inputs"]["replay"] == old.sha256
    assert record["total_steps"] == 8  # 2 epochs of 20 images, 5 a batch


def test_both_losses_are_a_curve_beside_the_others(adapted):
    lines = [line for line in read_metrics(adapted[0] / "metrics.jsonl") if line.get("metric") == METRIC]
    assert [line["step"] for line in lines if line["task"] == "old pool"] == [0, 4, 8]
    assert [line["step"] for line in lines if line["task"] == "new pool"] == [0, 4, 8]


def test_a_ratio_of_zero_measures_the_old_pool_and_changes_nothing(
    before, small_corpus, other_corpus, small_config, tmp_path
):
    config = small_config.model_copy(update={"epochs": 1.0})
    pretrain(config, small_corpus, tmp_path / "plain", weights=before)
    measured = adapting(config, other_corpus, ratio=0.0).model_copy(update={"epochs": 1.0})
    record = pretrain(measured, small_corpus, tmp_path / "measured", weights=before)
    plain, other = (tmp_path / name / "checkpoints/step_00000003" for name in ("plain", "measured"))
    assert (plain / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert set(record["adaptation"]) >= {"new", "old"}


def test_a_resumed_adaptation_ends_on_the_same_bits(
    adapted, before, small_corpus, other_corpus, small_config, tmp_path
):
    config = adapting(small_config, other_corpus)

    looks = []

    def killing(encoder, spec):
        looks.append(1)
        if len(looks) == 2:  # at step 4, after the checkpoint of step 3
            raise Interrupted("killed")
        return scored(encoder, spec)

    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        pretrain(config, small_corpus, out, weights=before, evaluations=[killing])
    record = pretrain(config, small_corpus, out, weights=before, evaluations=[scored], resume=True)
    assert (out / "weights.safetensors").read_bytes() == (adapted[0] / "weights.safetensors").read_bytes()
    assert record["adaptation"] == adapted[1]["adaptation"]


def test_the_gain_may_be_measured_on_images_that_are_held_out(
    before, small_corpus, other_corpus, small_config, tmp_path
):
    replay = ReplayConfig(corpus=str(other_corpus), ratio=0.4, hold_out_ratio=0.25)
    config = small_config.model_copy(update={"replay": replay, "epochs": 2.0, "workers": 1})
    record = pretrain(config, small_corpus, tmp_path / "run", weights=before)
    # 15 images are trained on, 5 a batch: 6 steps are 2 epochs.
    assert (record["corpus"]["num_images"], record["total_steps"]) == (15, 6)
    assert record["adaptation"]["held_out"] is True
    assert [record["adaptation"][name]["num_images"] for name in ("new", "old")] == [5, 14]


def test_a_resume_with_another_old_pool_is_refused(adapted, before, small_corpus, small_config, tmp_path):
    draw_scans(tmp_path / "scans", count=9, side=40, seed=8)
    third = build_pool(tmp_path / "scans", tmp_path / "third")
    with pytest.raises(FolderError, match=r"other settings or inputs \(the replay\)"):
        pretrain(adapting(small_config, third), small_corpus, adapted[0], weights=before, resume=True)


def test_an_old_pool_that_was_moved_is_still_the_same(
    adapted, before, small_corpus, other_corpus, small_config, tmp_path
):
    moved = shutil.copytree(other_corpus, tmp_path / "moved")
    config = adapting(small_config, moved)
    assert pretrain(config, small_corpus, adapted[0], weights=before, resume=True) == adapted[1]


def test_the_terms_of_a_run_are_the_strictest_of_both_pools(
    small_corpus, other_corpus, small_config, tmp_path
):
    old = shutil.copytree(other_corpus, tmp_path / "old")
    content = json.loads((old / "corpus.json").read_text())
    content["terms"] = {"commercial": False, "share": True, "derivatives": True, "share_alike": True}
    (old / "corpus.json").write_text(json.dumps(content))
    config = adapting(small_config, old).model_copy(update={"epochs": 0.1})
    record = pretrain(config, small_corpus, tmp_path / "run")
    # Nothing is stated of the new pool.
    assert record["terms"] == {"commercial": False, "share": None, "derivatives": None, "share_alike": True}


def test_a_run_knows_the_pools_of_those_it_started_from(
    adapted, small_corpus, other_corpus, small_config, tmp_path
):
    draw_scans(tmp_path / "scans", count=9, side=40, seed=8)
    third = build_pool(tmp_path / "scans", tmp_path / "third")
    config = small_config.model_copy(update={"epochs": 0.1})
    record = pretrain(config, third, tmp_path / "run", weights=adapted[0])
    assert [pool["folder"] for pool in record["pools_seen"]] == [
        str(folder) for folder in (third, small_corpus, other_corpus)
    ]


def test_what_the_old_pool_forbids_is_refused(
    small_corpus, other_corpus, small_config, tmp_path, monkeypatch
):
    config = adapting(small_config, other_corpus).model_copy(update={"demand": ("share",)})
    allowed = property(lambda corpus: {"share": corpus.folder == small_corpus})
    monkeypatch.setattr("usfmae.corpus.shards.Corpus.terms", allowed)
    with pytest.raises(SettingError, match=f"{other_corpus}: the run demands share, which 2 of its sources"):
        pretrain(config, small_corpus, tmp_path / "run")


def test_a_run_whose_losses_were_lost_still_ends(before, small_corpus, other_corpus, small_config, tmp_path):
    def losing(encoder, spec):
        (tmp_path / "run/adaptation.json").unlink(missing_ok=True)
        return []

    config = adapting(small_config, other_corpus).model_copy(update={"epochs": 1.0})
    record = pretrain(config, small_corpus, tmp_path / "run", weights=before, evaluations=[losing])
    assert (record["status"], record["adaptation"]) == ("finished", {})


def test_losses_of_single_images_average_to_that_of_the_batch(small_corpus, small_config):
    module = MaskedAutoencoder(small_config.model)
    start_weights(module, torch.Generator().manual_seed(0))
    sample = draw_sample(open_corpus(small_corpus), image_px=32, seed=0)
    spec = small_config.input_spec
    losses = image_losses(module, sample.images, input_spec=spec, seed=3)
    assert losses.shape == (20,)
    assert module.training
    assert np.array_equal(losses, image_losses(module, sample.images, input_spec=spec, seed=3))
    assert not np.array_equal(losses, image_losses(module, sample.images, input_spec=spec, seed=4))
    module.eval()
    rng = torch.Generator().manual_seed(seed_for(3, "adaptation hiding"))
    turns = draw_turns(small_config.model, 20, (4, 4), rng=rng)
    inputs = to_input(torch.from_numpy(sample.images), spec, torch.device("cpu"))
    whole = module(inputs, choose_hiding(small_config.model, turns, grid=(4, 4))).loss
    assert losses.mean() == pytest.approx(whole.item(), rel=1e-5)


def test_an_interval_is_drawn_over_groups():
    # Two groups of constant 0 and 1: a draw is (0, 0), (0, 1) or (1, 1), so the bounds are 0 and 1.
    values, groups = np.array([0.0, 0.0, 1.0, 1.0]), np.array([3, 3, 9, 9])
    found = mean_interval(values, groups, rng=rng_for(0, "t"))
    assert found == {"value": 0.5, "low": 0.0, "high": 1.0}
    assert mean_interval(values, np.zeros(4, int), rng=rng_for(0, "t")) == {
        "value": 0.5, "low": None, "high": None
    }  # fmt: skip


def test_a_group_of_many_images_counts_by_its_images():
    # 1,000 groups of one image at 0 and 1,000 of three at 1: the mean over images is 3/4, not 1/2.
    values = np.repeat([0.0, 1.0], [1000, 3000])
    groups = np.concatenate([np.arange(1000), 1000 + np.repeat(np.arange(1000), 3)])
    found = mean_interval(values, groups, rng=rng_for(0, "t"))
    assert found["value"] == 0.75
    # Of m = 1000 drawn of 2000 in the second half, the ratio's deviation is about .0087 (delta method:
    # sd of 3k/(n + 2k) for k ~ Bin(2000, .5) is 3n/(n + 2k)^2 * sqrt(500) = .0084).
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.0084, rel=0.1)


def test_a_sample_is_fixed_and_no_larger_than_the_pool(small_corpus):
    corpus = open_corpus(small_corpus)
    one, two = (draw_sample(corpus, image_px=16, seed=0) for _ in range(2))
    assert one.images.shape == (20, 16, 16)
    assert np.array_equal(one.images, two.images)
    assert len(np.unique(one.groups)) == 20
