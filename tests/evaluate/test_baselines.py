"""Networks from elsewhere go the same way as ours: the same splits, steps, files and intervals."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from plug import plug_pulled

from usfmae.base.errors import SettingError
from usfmae.base.files import read_json
from usfmae.cli.main import main
from usfmae.engine.augment import AugmentConfig
from usfmae.engine.loop import LoopConfig
from usfmae.evaluate.finetune import finetune
from usfmae.evaluate.finetune_config import FinetuneConfig
from usfmae.evaluate.fold_training import FinetuneBatches
from usfmae.evaluate.protocol import TaskConfig, load_task
from usfmae.evaluate.start import open_start, shown_to
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.models.classifier import load_classifier
from usfmae.models.cnn_weights import imagenet_file, read_cnn
from usfmae.models.vit import ViTConfig

NETWORK = ViTConfig(size="ti", image_px=32, patch_px=8)


def test_a_convolutional_start_is_drawn_from_the_seed_and_sees_grey():
    first, again, other = (
        open_start("scratch", network=NETWORK, encoder="efficientnet-lite0", seed=seed) for seed in (0, 0, 1)
    )
    assert (first.init, first.input_spec.channels, first.input_spec.image_px) == ("scratch", 1, 32)
    stems = [start.encoder.state_dict()["_conv_stem.weight"] for start in (first, again, other)]
    assert torch.equal(stems[0], stems[1])
    assert not torch.equal(stems[0], stems[2])


def test_imagenet_weights_see_three_channels_shown_as_the_task_shows_them():
    start = open_start("imagenet", network=NETWORK, encoder="efficientnet-lite0", image_px=64, fit="stretch")
    assert (start.init, start.input_spec.channels, start.input_spec.image_px) == ("imagenet", 3, 64)
    assert start.input_spec.fit == "stretch"
    assert len(start.sha256) == 64
    assert shown_to("imagenet", encoder="efficientnet-lite0") == ("pad", "none")


def test_a_file_of_the_published_layout_is_imagenets_only_if_it_is_the_published_one(tmp_path, caplog):
    # An own network trained with torchvision's or the package's code has the names of ImageNet's file.
    caplog.set_level(logging.WARNING, logger="usfmae")
    published = imagenet_file("efficientnet-lite0")
    copy, own = Path(shutil.copy(published, tmp_path / "lite.pth")), tmp_path / "own.pth"
    start = open_start(copy, network=NETWORK, encoder="efficientnet-lite0")
    assert (start.init, start.licence.words, caplog.text) == ("imagenet", "Apache-2.0", "")
    state = torch.load(published, weights_only=True)
    torch.save(state | {"_conv_stem.weight": state["_conv_stem.weight"] + 1}, own)
    start = open_start(own, network=NETWORK, encoder="efficientnet-lite0", fit="stretch")
    assert (start.init, start.licence.commercial, start.input_spec.fit) == ("pretrained", None, "stretch")
    assert start.licence.words.startswith("not known")
    assert "own.pth: is none of the published ImageNet files of efficientnet-lite0" in caplog.text
    assert read_cnn(own, "efficientnet-lite0").started_from == (
        "own.pth, a file of efficientnet-lite0 of unknown pretraining"
    )


def test_a_vit_has_no_imagenet_weights_here():
    with pytest.raises(SettingError, match="no ImageNet weights of a ViT"):
        open_start("imagenet", network=NETWORK)


def test_the_shape_of_a_vit_is_not_that_of_a_convolutional_network(weights):
    with pytest.raises(SettingError, match="--like gives the shape of a ViT; resnet-50 has its own"):
        open_start("scratch", network=NETWORK, encoder="resnet-50", like=weights)


def small(task):
    return FinetuneConfig(
        task=task.config,
        encoder="efficientnet-lite0",
        bootstrap=BootstrapConfig(num_resamples=100),
        network=NETWORK,
        augment=AugmentConfig(scale=(0.8, 1.0)),
        loop=LoopConfig(checkpoint_steps=2, log_steps=1, precision="fp32"),
        epochs=2.0,
        batch=8,
        threads=1,
    )


def test_a_resumed_convolutional_run_ends_where_an_uninterrupted_one_does(fake_bus_bra, tmp_path):
    # Running means of batch norm are part of a checkpoint: without them the resumed run ends elsewhere.
    task = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(2,)))
    finetune(task, "scratch", out=tmp_path / "whole", config=small(task))

    with plug_pulled(FinetuneBatches, at=4):
        finetune(task, "scratch", out=tmp_path / "broken", config=small(task))
    finetune(task, "scratch", out=tmp_path / "broken", config=small(task), resume=True)
    ends = [
        (tmp_path / name / "folds/fold-2/classifier.safetensors").read_bytes() for name in ("whole", "broken")
    ]
    assert ends[0] == ends[1]


def test_moments_taken_anew_change_the_test_and_nothing_that_was_learnt(fake_bus_bra, tmp_path):
    task = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(2,)))
    found = {}
    for num_images in (0, 20):
        config = small(task).model_copy(update={"moment_images": num_images})
        finetune(task, "scratch", out=tmp_path / str(num_images), config=config)
        loaded = load_classifier(tmp_path / str(num_images) / "folds/fold-2/classifier.safetensors")
        found[num_images] = loaded.network.state_dict()
    moments = {name for name in found[0] if "running_" in name or name.endswith("num_batches_tracked")}
    changed = {name for name in found[0] if not torch.equal(found[0][name], found[20][name])}
    assert changed == moments
    with plug_pulled(FinetuneBatches, at=9):  # ten batches of training, then three for the moments
        finetune(task, "scratch", out=tmp_path / "broken", config=config)
    finetune(task, "scratch", out=tmp_path / "broken", config=config, resume=True)
    again = load_classifier(tmp_path / "broken/folds/fold-2/classifier.safetensors").network.state_dict()
    assert all(torch.equal(again[name], found[20][name]) for name in moments)


def evaluate(*words):
    return main(["evaluate", *map(str, words)])


def test_a_user_compares_with_an_imagenet_network(fake_bus_bra, tmp_path, capsys):
    words = ("--task", "bus-bra", "--data", fake_bus_bra, "--encoder", "efficientnet-lite0")
    words = (*words, "--weights", "imagenet", "--set", "image_px=32", "--set", "task.folds=[2]")
    words = (*words, "--set", "bootstrap.num_resamples=100", "--out", tmp_path / "knn")
    assert evaluate("knn", *words) == 0
    assert "knn, efficientnet-lite0 imagenet" in capsys.readouterr().out
    result = read_json(tmp_path / "knn/result.json")
    assert (result["encoder"], result["init"]) == ("efficientnet-lite0", "imagenet")
    assert result["contamination"] == {"checked": False, "why": "ImageNet weights have seen photographs"}
    assert "efficientnet-lite0 imagenet" in (tmp_path / "knn/report.html").read_text()


def test_what_an_own_convolutional_file_has_seen_is_not_guessed(fake_bus_bra, tmp_path):
    state = torch.load(imagenet_file("efficientnet-lite0"), weights_only=True)
    torch.save(state | {"_conv_stem.weight": state["_conv_stem.weight"] + 1}, tmp_path / "own.pth")
    words = ("--task", "bus-bra", "--data", fake_bus_bra, "--encoder", "efficientnet-lite0")
    words = (*words, "--weights", tmp_path / "own.pth", "--set", "image_px=32", "--set", "task.folds=[2]")
    words = (*words, "--set", "bootstrap.num_resamples=100", "--out", tmp_path / "knn")
    assert evaluate("knn", *words) == 0
    result = read_json(tmp_path / "knn/result.json")
    assert (result["init"], result["contamination"]["why"]) == (
        "pretrained", "no corpus was given to compare with"
    )  # fmt: skip


def test_a_misspelt_network_names_the_nearest(fake_bus_bra, tmp_path, capsys):
    words = ("--task", "bus-bra", "--data", fake_bus_bra, "--encoder", "resnet50", "--weights", "scratch")
    assert evaluate("knn", *words, "--out", tmp_path / "knn") == 2
    assert "resnet-50" in capsys.readouterr().err
