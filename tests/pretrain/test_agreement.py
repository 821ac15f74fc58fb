"""Pairs of views in a run: which views come together, what it costs a network to tell them apart."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from plug import plug_pulled
from safetensors.torch import load_file
from shown import shown
from small_networks import SMALL
from together import losses

from usfmae.base.config import with_settings
from usfmae.base.errors import CorpusError
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import Corpus, open_corpus
from usfmae.corpus.sources import Source
from usfmae.engine.checkpoint import find_checkpoints, load_checkpoint
from usfmae.engine.metrics_log import read_metrics
from usfmae.models import vit
from usfmae.models.agreement import vicreg
from usfmae.models.mae import MaskedAutoencoder
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.step import PretrainBatches, PretrainStep

TOLERANCES = {"loss": 1e-6} | dict.fromkeys(
    [f"loss_{name}" for name in ("pixels", "invariance", "variance", "covariance")], 5e-6
)
"""Between one process and two, over six steps; a part before its weight moves more than their sum."""

WHOLE = ["augment.scale=[1, 1]", "augment.aspect=[1, 1]", "augment.flip_across=0"]


@pytest.fixture(scope="module")
def config(small_config) -> PretrainConfig:
    return with_settings(small_config, ["model.agreement.kind=image", "model.agreement.dim=16"])


def lines(run: Path) -> list[dict]:
    return [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "train"]


def network_of(run: Path, config: PretrainConfig) -> MaskedAutoencoder:
    """As its last checkpoint has it."""
    module = MaskedAutoencoder(config.model)
    load_checkpoint(find_checkpoints(run)[-1], module=module)
    return module.eval()


def test_a_second_view_is_another_crop_of_the_image_and_hides_other_patches(small_corpus, config):
    corpus = open_corpus(small_corpus)
    plain = PretrainBatches(corpus, with_settings(config, ["model.agreement.kind=none"]))(1)
    batch = PretrainBatches(corpus, config)(1)
    assert torch.equal(batch[0][:, :1], plain[0])
    assert torch.equal(batch[3][:, :1], plain[3])
    seen = shown(config, batch)
    assert seen.grey.shape == (16, 1, 32, 32)
    assert torch.equal(seen.grey.round().to(torch.uint8)[:, 0], batch[0].transpose(0, 1).flatten(0, 1))
    assert not any(torch.equal(one, other) for one, other in batch[0])
    first, second = seen.hiding.visible.chunk(2)
    assert not torch.equal(first, second)
    assert seen.context == ()


@pytest.mark.parametrize("kind", ["image", "clip", "patient"])
def test_what_comes_with_an_image_is_what_the_setting_says(clips, config, kind):
    corpus = open_corpus(clips)
    words = [*WHOLE, "global_batch=19", f"model.agreement.kind={kind}"]
    views, *_ = PretrainBatches(corpus, with_settings(config, words))(0)
    stored, names = corpus.read(np.arange(19)), corpus.manifest["path"].to_pylist()
    for pair in views.numpy():
        one, two = ((stored == frame).all(axis=(1, 2)).nonzero()[0][0] for frame in pair)
        assert names[one] == names[two]
        assert (one == two) == (kind == "image" or names[one].startswith("still"))


def test_pairs_depend_on_seed_and_step_alone(clips, config):
    corpus, paired = open_corpus(clips), with_settings(config, [*WHOLE, "model.agreement.kind=clip"])
    one, again = (PretrainBatches(corpus, paired) for _ in range(2))
    one(0)
    assert torch.equal(one(3)[0], again(3)[0])
    assert torch.equal(PretrainBatches(corpus, paired, slice(3, 6))(3)[0], one(3)[0][3:6])
    other = PretrainBatches(corpus, with_settings(paired, ["seed=1"]))
    assert not torch.equal(other(3)[0], one(3)[0])


def test_the_loss_is_that_of_both_views_and_of_how_they_agree(small_corpus, config):
    module, batch = MaskedAutoencoder(config.model), PretrainBatches(open_corpus(small_corpus), config)(0)
    vit.start_weights(module, torch.Generator().manual_seed(0))
    loss = PretrainStep(config.input_spec, config)(module, batch)
    seen = shown(config, batch)
    output = module((seen.grey / 255 - config.mean[0]) / config.std[0], seen.hiding)
    expected = vicreg(*output.projected.chunk(2))
    assert loss.parts["pixels"].item() == pytest.approx(output.loss.item(), rel=1e-5)
    for name, value in vars(expected).items():
        assert loss.parts[name].item() == pytest.approx(value.item(), rel=1e-4)
    weighted = config.model.agreement.weighted(expected).item()
    assert loss.total.item() == pytest.approx(output.loss.item() + weighted, rel=1e-5)


@pytest.fixture(scope="module")
def alone(config) -> PretrainConfig:
    """Six steps of 9 pairs."""
    return with_settings(config, ["global_batch=9", "epochs=2.7"])


@pytest.fixture(scope="module")
def runs(alone, small_corpus, pair, tmp_path_factory) -> Path:
    """What one process does, and two that share a batch as 4 and 5 pairs."""
    root = tmp_path_factory.mktemp("ranks")
    pretrain(alone, small_corpus, root / "one")
    parallel = {name: with_settings(alone, [f"loop.parallel={name}"]) for name in ("ddp", "fsdp")}
    pair.train(root, {name: (changed, small_corpus) for name, changed in parallel.items()})
    return root


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_do_what_one_does(runs, parallel):
    one, two = lines(runs / "one"), lines(runs / parallel)
    assert len(losses(runs / "one")) == len(losses(runs / parallel)) == 6
    for name, tolerance in TOLERANCES.items():
        assert [line[name] for line in two] == pytest.approx([line[name] for line in one], abs=tolerance)
    assert abs(one[-1]["loss_variance"] - one[0]["loss_variance"]) > 1e-3  # it learns, so gradients matter


def test_the_parts_stand_in_the_metrics_and_make_up_the_loss(runs):
    for line in lines(runs / "one"):
        terms = [line[f"loss_{name}"] for name in ("invariance", "variance", "covariance")]
        agreement = 0.02 * (25 * terms[0] + 25 * terms[1] + terms[2])
        assert line["loss"] == pytest.approx(line["loss_pixels"] + agreement, rel=1e-5)


def test_the_projector_is_kept_in_checkpoints_and_thrown_away_with_the_decoder(runs, config):
    for run in ("one", "fsdp"):
        assert not [name for name in load_file(runs / run / "weights.safetensors") if "projector" in name]
    kept = load_file(find_checkpoints(runs / "one")[-1].path / "model.safetensors")
    assert kept["projector.0.weight"].shape == (16, SMALL[0])
    alone, shards = (network_of(runs / run, config).projector for run in ("one", "fsdp"))
    for one, two in zip(alone.parameters(), shards.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-4)


def test_a_killed_run_goes_on_to_the_same_bits_of_encoder_and_projector(runs, alone, small_corpus, tmp_path):
    with plug_pulled(PretrainBatches, at=5):
        pretrain(alone, small_corpus, tmp_path / "cut")
    assert find_checkpoints(tmp_path / "cut")[-1].step == 3
    pretrain(alone, small_corpus, tmp_path / "cut", resume=True)
    whole, cut = (
        load_file(find_checkpoints(run)[-1].path / "model.safetensors")
        for run in (runs / "one", tmp_path / "cut")
    )
    assert [name for name in whole if name.startswith("projector.")]
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_run_that_starts_from_one_with_pairs_says_what_begins_at_random(
    runs, config, small_corpus, tmp_path
):
    words = ["global_batch=9", "epochs=0.5"]
    checkpoint = find_checkpoints(runs / "one")[-1].path
    again = pretrain(with_settings(config, words), small_corpus, tmp_path / "again", weights=checkpoint)
    assert set(again["weights"]["loaded"]["fresh"]) == {
        f"projector.{name}" for name in network_of(runs / "one", config).projector.state_dict()
    }
    words.append("model.agreement.kind=none")
    plain = pretrain(with_settings(config, words), small_corpus, tmp_path / "plain", weights=checkpoint)
    assert plain["weights"]["loaded"]["fresh"] == []
    assert "decoder" in plain["made_by"]["inputs"]


def test_a_pool_without_pairs_is_refused_before_anything_is_written(config, small_corpus, tmp_path):
    asked = with_settings(config, ["model.agreement.kind=patient"])
    with pytest.raises(CorpusError, match="none of 20 images has another of its patient"):
        pretrain(asked, small_corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory) -> Corpus:
    """Twelve pictures with a disc and twelve with stripes, each of its own place, size and grey."""
    root, noise = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    for k in range(24):
        picture = noise.integers(0, 60, (40, 40), dtype=np.uint8)
        grey, place, size = (
            int(noise.integers(120, 256)),
            noise.integers(10, 30, 2),
            int(noise.integers(4, 10)),
        )
        if k % 2:
            cv2.circle(picture, place.tolist(), size, grey, -1)
        else:
            picture[:, place[0] % size :: size + 3] = grey
        cv2.imwrite(str(root / f"{k:02d}.png"), picture)
    out = tmp_path_factory.mktemp("corpora") / "drawn"
    build_corpus([Source("drawn", root)], out=out, config=BuildConfig(size_px=32, keep_per_cluster=None))
    return open_corpus(out)


def test_views_of_one_picture_come_together_and_those_of_others_stay_apart(two_classes, config, tmp_path):
    words = [
        "global_batch=24",
        "epochs=60",
        "optim.lr_per_256=0.02",
        "watch.every_epochs=60",
        "augment.scale=[0.7, 1]",
    ]
    learning = with_settings(config, words)
    pretrain(learning, two_classes.folder, tmp_path / "run")
    seen = lines(tmp_path / "run")
    terms = [
        learning.model.agreement.weight * 25 * (line["loss_invariance"] + line["loss_variance"])
        for line in seen
    ]
    assert np.mean(terms[-5:]) < 0.7 * np.mean(terms[:5])
    assert np.mean([line["loss_variance"] for line in seen[-5:]]) < 0.6  # no collapse
    batch = shown(learning, PretrainBatches(two_classes, with_settings(learning, ["seed=7"]))(0))
    images = (batch.grey / 255 - learning.mean[0]) / learning.std[0]
    with torch.no_grad():
        one, other = network_of(tmp_path / "run", learning)(images, batch.hiding).projected.chunk(2)
    apart = torch.cdist(one, other)
    strangers = ~torch.eye(len(one), dtype=torch.bool)
    # 0.16; 0.70 in a network that has learnt nothing.
    assert apart.diagonal().mean() < 0.4 * apart[strangers].mean()
