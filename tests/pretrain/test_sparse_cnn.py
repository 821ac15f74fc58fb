"""Runs of a masked convolutional network: repeatable to the bit, the same on two processes, and what they
leave behind is an ordinary network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from in_double import SMALL_NORMS, in_double, small_lite
from plug import plug_pulled
from safetensors import safe_open
from safetensors.torch import load_file
from together import losses

from usfmae.base.config import make_config, with_settings
from usfmae.base.errors import FolderError, SettingError, WeightsError
from usfmae.corpus.shards import open_corpus
from usfmae.engine.augment import whole_batch
from usfmae.engine.devices import to_input
from usfmae.engine.metrics_log import read_metrics
from usfmae.engine.utilisation import Utilisation
from usfmae.models.cnn_weights import (
    LITE_INPUT,
    imagenet_file,
    load_cnn,
    load_cnn_into,
    read_cnn,
    stated_encoder,
)
from usfmae.models.mae import MaeConfig
from usfmae.models.masked_models import build_masked, start_masked
from usfmae.models.sparse_cnn import SparseCnnConfig, SparseEncoderConfig
from usfmae.models.vit import VisionTransformer, ViTConfig
from usfmae.models.weights import read_weights, save_encoder
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.run_folder import load_run_config
from usfmae.pretrain.step import PretrainBatches, PretrainStep
from usfmae.recipes.registry import get_recipe

NAME = "efficientnet-lite0"
LITE_MEAN, LITE_STD = (127 / 255,), (128 / 255,)
SHARED = ["global_batch=5", "epochs=0.75", "loop.checkpoint_steps=9", "watch.every_epochs=9",
          "watch.num_pictures=0", "watch.utilisation=false"]  # fmt: skip
"""3 steps of 5 images, which two processes share as 2 and 3."""


@pytest.fixture(scope="module")
def config(small_config) -> PretrainConfig:
    """5 steps of 8 images of 64 px; 2 of 4 patches are visible."""
    model = SparseCnnConfig(encoder=SparseEncoderConfig(image_px=64), hide_ratio=0.5)
    settings = {"model": model, "mean": LITE_MEAN, "std": LITE_STD, "epochs": 2.0}
    small = small_config.model_copy(update=settings)
    return with_settings(small, ["optim.lr_per_256=1e-2", "watch.every_epochs=2", "watch.num_pictures=2"])


@pytest.fixture(scope="module")
def run(config, small_corpus, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "imagenet"
    pretrain(config, small_corpus, out, weights="imagenet")
    return out


def test_a_run_that_was_stopped_ends_where_an_undisturbed_one_does(run, config, small_corpus, tmp_path):
    shutil.copytree(run, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/checkpoints/step_00000005")
    (tmp_path / "cut/weights.safetensors").unlink()
    record = json.loads((tmp_path / "cut/run.json").read_text())
    (tmp_path / "cut/run.json").write_text(json.dumps({**record, "status": "running"}))
    assert [path.name for path in (tmp_path / "cut/checkpoints").iterdir()] == ["step_00000003"]
    pretrain(config, small_corpus, tmp_path / "cut", weights="imagenet", resume=True)
    ends = [(out / "weights.safetensors").read_bytes() for out in (run, tmp_path / "cut")]
    assert ends[0] == ends[1]
    with pytest.raises(FolderError, match=r"model\.hide_ratio 0\.5 -> 0\.3\)"):
        pretrain(
            with_settings(config, ["model.hide_ratio=0.3"]),
            small_corpus,
            run,
            weights="imagenet",
            resume=True,
        )


def test_views_of_an_image_may_have_to_agree_as_well(config, small_corpus, tmp_path):
    paired = with_settings(config, ["model.agreement.kind=image", "model.agreement.dim=16", "epochs=1.2"])
    pretrain(paired, small_corpus, tmp_path / "whole", weights="imagenet")
    lines = [line for line in read_metrics(tmp_path / "whole/metrics.jsonl") if line["kind"] == "train"]
    for line in lines:
        terms = [line[f"loss_{name}"] for name in ("invariance", "variance", "covariance")]
        agreement = 0.02 * (25 * terms[0] + 25 * terms[1] + terms[2])
        assert line["loss"] == pytest.approx(line["loss_pixels"] + agreement, rel=1e-5)
    with plug_pulled(PretrainBatches, at=3):
        pretrain(paired, small_corpus, tmp_path / "cut", weights="imagenet")
    pretrain(paired, small_corpus, tmp_path / "cut", weights="imagenet", resume=True)
    ends = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "cut")]
    assert ends[0] == ends[1]


@pytest.fixture(scope="module")
def together(config, small_corpus, pair, tmp_path_factory) -> Path:
    """The same run by one process and by two, with DDP and with FSDP2; small, in double precision."""
    root = tmp_path_factory.mktemp("together")
    shared = with_settings(config, SHARED)
    with small_lite(), in_double():
        pretrain(shared, small_corpus, root / "one")
    parallel = {name: with_settings(shared, [f"loop.parallel={name}"]) for name in ("ddp", "fsdp")}
    pair.train(root, {name: (changed, small_corpus) for name, changed in parallel.items()})
    return root


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_do_what_one_does(together, name):
    one, two = losses(together / "one"), losses(together / name)
    assert len(one) == 3
    assert two == pytest.approx(one, abs=1e-6)
    single, shared = (load_file(together / each / "weights.safetensors") for each in ("one", name))
    running = [key for key in single if "running" in key]
    assert len(running) == 2 * SMALL_NORMS
    for key in running:
        assert torch.allclose(single[key], shared[key], rtol=1e-6, atol=1e-6), key


def test_what_is_saved_is_the_published_network_and_says_where_it_comes_from(run, config):
    published = torch.load(imagenet_file(NAME), map_location="cpu", weights_only=True)
    saved = load_file(run / "weights.safetensors")
    assert {n for n in saved if not n.endswith("num_batches_tracked")} == {
        n for n in published if not n.startswith("_fc.") and not n.endswith("num_batches_tracked")
    }
    assert saved["_conv_stem.weight"].shape == (32, 1, 3, 3)
    assert not torch.equal(saved["_bn1.running_mean"], published["_bn1.running_mean"])
    with safe_open(run / "weights.safetensors", framework="pt") as file:
        (about,) = map(json.loads, file.metadata().values())
    assert about["cnn"]["name"] == NAME
    assert about["notes"]["started_from"] == (
        "efficientnet-lite0-57934424.pth, published weights of efficientnet-lite0 (Apache-2.0)"
    )
    assert about["input_spec"] == json.loads((run / "run.json").read_text())["input_spec"]
    loaded = load_cnn(run, NAME)
    assert (loaded.input_spec.channels, loaded.input_spec.image_px) == (1, 64)
    assert (loaded.input_spec.mean, loaded.input_spec.std) == (LITE_MEAN, LITE_STD)
    assert stated_encoder(run) == stated_encoder(run / "checkpoints/step_00000003") == NAME
    last = load_cnn(run / "checkpoints/step_00000005", NAME)
    for (name, one), two in zip(loaded.encoder.named_parameters(), last.encoder.parameters(), strict=True):
        assert torch.equal(one, two), name
    assert read_cnn(run / "checkpoints/step_00000005", NAME).started_from == about["notes"]["started_from"]


def first_outputs(network, images):
    """Of the first convolution, for images as the network is shown them."""
    with torch.no_grad():
        return network._conv_stem(to_input(torch.from_numpy(images), network_spec(), torch.device("cpu")))


def network_spec():
    return LITE_INPUT.model_copy(update={"channels": 1, "image_px": 64, "mean": LITE_MEAN, "std": LITE_STD})


def test_what_is_saved_and_scored_has_moments_of_whole_images(config, small_corpus, tmp_path):
    pool = open_corpus(small_corpus)
    images = whole_batch(pool.read(np.arange(len(pool))), image_px=64)
    seen = []

    def look(encoder, _spec):
        seen.append({name: value.clone() for name, value in encoder.named_buffers()})
        return []

    short = with_settings(config, ["epochs=0.4", "watch.every_epochs=0.4"])
    pretrain(short, small_corpus, tmp_path / "run", weights="imagenet", evaluations=[look])
    saved = load_cnn(tmp_path / "run", NAME).encoder
    outputs = first_outputs(saved, images)
    assert torch.allclose(saved._bn0.running_mean, outputs.mean(dim=(0, 2, 3)), atol=1e-4)
    assert torch.allclose(saved._bn0.running_var, outputs.var(dim=(0, 2, 3)), rtol=1e-3)
    assert all(torch.equal(value, seen[-1][name]) for name, value in saved.named_buffers())
    kept = with_settings(short, ["model.moment_images=0"])
    pretrain(kept, small_corpus, tmp_path / "kept", weights="imagenet")
    own = load_cnn(tmp_path / "kept", NAME).encoder
    assert all(map(torch.equal, own.parameters(), saved.parameters()))
    trained = load_cnn(tmp_path / "run/checkpoints/step_00000001", NAME).encoder
    for (name, one), two in zip(own.named_buffers(), trained.buffers(), strict=True):
        assert torch.equal(one, two), name
    assert not torch.allclose(own._bn1.running_mean, saved._bn1.running_mean, rtol=0.05)


def test_a_run_goes_on_from_a_run_with_its_decoder(run, config, small_corpus, tmp_path):
    record = pretrain(with_settings(config, ["epochs=0.4"]), small_corpus, tmp_path / "on", weights=run)
    assert record["weights"]["decoder"]["checkpoint"] == str(run / "checkpoints/step_00000005")
    assert record["weights"]["loaded"]["fresh"] == []
    assert record["weights"]["started_from"].endswith("(Apache-2.0)")
    assert read_cnn(tmp_path / "on", NAME).notes["started_from"] == record["weights"]["started_from"]
    other = with_settings(config, ["epochs=0.4", "model.decoder.dim=64"])
    weights = run / "checkpoints/step_00000003"
    record = pretrain(other, small_corpus, tmp_path / "other", weights=weights)
    assert record["weights"]["decoder"] == {"why": "that of the run has another decoder.dim"}
    assert "decoder.pred.bias" in record["weights"]["loaded"]["fresh"]


def test_a_random_start_is_none_of_imagenet_and_is_warned_of(config, small_corpus, tmp_path, caplog):
    record = pretrain(with_settings(config, ["epochs=0.4"]), small_corpus, tmp_path / "run")
    assert "starts at random; its recipes are meant for --weights imagenet" in caplog.text
    assert record["weights"] is None
    assert record["num_parameters"]["encoder"] == 3_370_432
    assert read_cnn(tmp_path / "run", NAME).started_from == ""


def folded(spec):
    module = build_masked(SparseCnnConfig())
    file = read_cnn(imagenet_file(NAME), NAME)
    return load_cnn_into(module.encoder, file, decoder=module.decoder, input_spec=spec), module.encoder


@pytest.mark.parametrize("std", [128 / 255, 0.3])
def test_three_channels_fold_into_one_exactly_border_included(std):
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    colour = load_cnn(imagenet_file(NAME), NAME)
    spec = LITE_INPUT.model_copy(update={"channels": 1, "mean": LITE_MEAN, "std": (std,)})
    report, encoder = folded(spec)
    with torch.no_grad():
        wanted = colour.encoder(((grey - 127 / 255) / (128 / 255)).expand(-1, 3, -1, -1))
        found = encoder.eval()((grey - 127 / 255) / std)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert report.resized == {"_conv_stem.weight": "3 channels folded into 1"}


def test_another_mean_is_refused_where_channels_are_folded():
    spec = LITE_INPUT.model_copy(update={"channels": 1, "mean": (0.19,), "std": (0.21,)})
    with pytest.raises(
        WeightsError, match=r"mean was 0\.498, and cannot become grey with a mean of 0\.19"
    ) as e:
        folded(spec)
    assert e.value.hint == f"--set mean=[{127 / 255!r}], or --set model.encoder.channels=3"


def test_weights_of_the_other_kind_are_refused(run, config, small_config, small_corpus, tmp_path):
    vit = tmp_path / "vit.safetensors"
    shape = ViTConfig(size="ti", image_px=32, patch_px=8)
    save_encoder(vit, VisionTransformer(shape), input_spec=small_config.input_spec)
    with pytest.raises(
        WeightsError, match=r"vit\.safetensors: is no efficientnet-lite0: it says that it holds vit"
    ):
        pretrain(config, small_corpus, tmp_path / "a", weights=vit)
    for weights in (run, run / "checkpoints/step_00000005"):
        with pytest.raises(
            WeightsError, match="holds efficientnet-lite0, a convolutional network, and no"
        ) as e:
            pretrain(small_config, small_corpus, tmp_path / "b", weights=weights)
        assert "sparse_cnn_cpu" in e.value.hint
    with pytest.raises(SettingError, match="no ImageNet weights of a ViT are on this machine") as e:
        pretrain(small_config, small_corpus, tmp_path / "c", weights="imagenet")
    assert "sparse_cnn_cpu" in e.value.hint
    with pytest.raises(WeightsError, match="is no resnet-50: it says that it holds efficientnet-lite0"):
        load_cnn(run, "resnet-50")
    assert stated_encoder(vit) == "vit"
    assert stated_encoder(imagenet_file(NAME)) is None
    assert not any((tmp_path / name).exists() for name in "abc")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "loop.accumulate=2",
            r"loop\.accumulate=2 does not go with a convolutional network, which takes its",
        ),
        ("loop.activation_checkpointing=true", r"would see its batch twice"),
        ("loop.compile=blocks", r"changes its layers as it hides"),
        ("loop.on_bad_step=skip", r"has a bad step in its running statistics already"),
        (
            "resolution.start_px=48",
            r"resolution\.start_px=48 is not a multiple of model\.encoder\.patch_px=32",
        ),
        ("model.context=clip", r"--set model\.context: no such setting"),
        ("model.kind=vit", r"kind is mae \(a ViT\) or sparse-cnn"),
    ],
)
def test_what_does_not_go_together_is_refused(config, setting, message):
    with pytest.raises(SettingError, match=message):
        with_settings(config, [setting])


def test_a_typo_names_the_nearest_setting_and_no_kind(config):
    with pytest.raises(SettingError, match=r"model\.encoder\.image_pxs: no such setting") as caught:
        with_settings(config, ["model.encoder.image_pxs=64"])
    assert caught.value.hint == "did you mean model.encoder.image_px?"
    with pytest.raises(SettingError, match=r"^model\.decoder\.dim: .*multiple of 64 \(got 100\)$"):
        with_settings(config, ["model.decoder.dim=100"])
    with pytest.raises(SettingError, match=r"^model\.hiding\.kind: ") as caught:
        with_settings(PretrainConfig(), ["model.hiding.kind=sektor"])
    assert caught.value.hint == "did you mean sector?"


def test_settings_of_a_time_before_there_were_kinds_are_those_of_a_vit(run):
    settings = get_recipe("vit_ti16_cpu").model_dump(mode="json")
    assert settings["model"].pop("kind") == "mae"
    assert make_config(PretrainConfig, settings) == get_recipe("vit_ti16_cpu")
    assert isinstance(make_config(PretrainConfig, {"model": {}}).model, MaeConfig)
    assert isinstance(load_run_config(run).model, SparseCnnConfig)
    with pytest.raises(WeightsError, match="no vision transformer"):
        read_weights(run)


def test_counting_operations_leaves_running_statistics_as_they_are(config, small_corpus):
    module = build_masked(config.model).train()
    start_masked(module, torch.Generator().manual_seed(0))
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    batch = PretrainBatches(open_corpus(small_corpus), config)(0)
    utilisation = Utilisation(PretrainStep(config.input_spec, config), "fp32")
    utilisation.see(module, batch)
    assert utilisation.flops_per_image > 1e6
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
