import fcntl
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from plug import plug_pulled
from small_finetune import FOLDS, outcome, tiny

from usfmae.base.errors import FolderError, TrainingError
from usfmae.base.files import read_json
from usfmae.base.input_spec import InputSpec
from usfmae.base.interrupt import Interrupted
from usfmae.engine.metrics_log import read_metrics
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import AugmentConfig
from usfmae.evaluate import fold_training
from usfmae.evaluate.finetune import finetune
from usfmae.evaluate.finetune_config import CNN_LR_PER_256, FinetuneConfig, finetune_defaults
from usfmae.evaluate.fold_training import (
    FinetuneBatches,
    FinetuneStep,
    balancing_weights,
    class_probabilities,
)
from usfmae.evaluate.predictions import read_predictions
from usfmae.evaluate.protocol import TaskConfig, load_task
from usfmae.models.classifier import load_classifier
from usfmae.models.vit import ViTConfig


@pytest.fixture(scope="module")
def undisturbed(task, weights, tmp_path_factory):
    """A short fine-tuning of two folds that nothing interrupted."""
    out = tmp_path_factory.mktemp("results") / "undisturbed"
    finetune(task, weights, out=out, config=tiny(task))
    return out


def test_it_learns_to_tell_the_fake_lesions_apart(fake_bus_bra, tmp_path):
    task = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=64, folds=(2,)))
    config = tiny(
        task,
        network=ViTConfig(size="ti", image_px=32, patch_px=8),
        optim=OptimConfig(lr_per_256=0.1, warmup_epochs=1.0, betas=(0.9, 0.999)),
        epochs=12.0,
        drop_path=0.0,
        label_smoothing=0.0,
    )
    result = finetune(task, "scratch", out=tmp_path / "r", config=config)
    losses = [line["loss"] for line in read_metrics(tmp_path / "r/metrics.jsonl") if line["kind"] == "train"]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
    assert result["metrics"]["auroc"]["value"] > 0.85


def test_the_result_holds_all_folds_with_intervals(undisturbed, task):
    result = read_json(undisturbed / "result.json")
    assert (result["method"], result["init"], result["epochs"]) == ("finetune", "pretrained", 2.0)
    predictions = read_predictions(undisturbed / "predictions.csv")
    tested = {task.items[index].name for split in task.splits for index in split.test.tolist()}
    assert set(predictions.paths) == tested
    for record in (result, *result["folds"]):
        for metric in record["metrics"].values():
            assert metric["low"] <= metric["value"] <= metric["high"]
    assert result["image_px"] == 16  # of the weights; the settings leave it open
    assert all(fold["images_per_s"] > 0 for fold in result["folds"])
    assert result["seconds"] == pytest.approx(sum(fold["seconds"] for fold in result["folds"]))


def test_the_curve_shows_validation_of_each_fold(undisturbed):
    lines = read_metrics(undisturbed / "metrics.jsonl")
    watched = [line for line in lines if line["kind"] == "watch"]
    assert {line["fold"] for line in lines} == set(FOLDS)
    assert {line["metric"] for line in watched} == {"val_macro_f1", "val_auroc"}
    assert all(0 <= line["value"] <= 1 for line in watched)


def test_the_kept_classifier_says_what_the_table_says(undisturbed, task):
    loaded = load_classifier(undisturbed / "folds/fold-2/classifier.safetensors")
    assert loaded.classes == task.classes
    assert loaded.network.encoder.config.drop_path == tiny(task).drop_path
    found = class_probabilities(
        loaded.network, task.images[task.splits[0].test], input_spec=loaded.input_spec
    )
    said = read_predictions(undisturbed / "folds/fold-2/predictions.csv")
    np.testing.assert_allclose(found, said.probabilities, atol=1e-6)
    assert not (undisturbed / "folds/fold-2/checkpoints").exists()


@pytest.mark.parametrize("broken_batch", [3, 9])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    task, weights, undisturbed, tmp_path, broken_batch
):
    # Batches are counted over both folds (5 each), so one run breaks in the first fold and one in the second.
    with plug_pulled(FinetuneBatches, at=broken_batch):
        finetune(task, weights, out=tmp_path / "r", config=tiny(task))
    assert not (tmp_path / "r/result.json").exists()
    finetune(task, weights, out=tmp_path / "r", config=tiny(task), resume=True)
    assert outcome(tmp_path / "r") == outcome(undisturbed)


def test_ctrl_c_says_stopped_and_resumes(task, weights, undisturbed, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:

        def interrupted(*_args, **_options):
            raise Interrupted("stopped after step 1")

        patched.setattr(fold_training, "train", interrupted)
        with pytest.raises(Interrupted, match="stopped after step 1"):
            finetune(task, weights, out=tmp_path / "r", config=tiny(task))
    assert read_json(tmp_path / "r/run.json")["status"] == "stopped"
    assert read_json(tmp_path / "r/folds/fold-2/spent.json")["seconds"] > 0
    finetune(task, weights, out=tmp_path / "r", config=tiny(task), resume=True)
    assert read_json(tmp_path / "r/run.json")["status"] == "finished"
    assert outcome(tmp_path / "r") == outcome(undisturbed)


def test_two_processes_share_the_folds(task, weights, undisturbed, tmp_path):
    out = tmp_path / "r"
    (out / "folds/fold-2").mkdir(parents=True)
    shutil.copy(undisturbed / "run.json", out)  # as the process that came first has written it
    with (out / "folds/fold-2/lock").open("w") as other_process:
        fcntl.flock(other_process, fcntl.LOCK_EX)
        record = finetune(task, weights, out=out, config=tiny(task), resume=True)
    assert record["waiting_for"] == ["fold-2"]
    assert (out / "folds/fold-3/fold.json").exists()
    assert not (out / "result.json").exists()
    finetune(task, weights, out=out, config=tiny(task), resume=True)
    assert outcome(out) == outcome(undisturbed)


def test_a_loss_that_is_not_a_number_stops_the_run(task, weights, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(
            FinetuneStep, "__call__", lambda _self, module, _batch: module.classifier.bias.sum() * np.nan
        )
        with pytest.raises(TrainingError, match="not a finite number at step 0"):
            finetune(task, weights, out=tmp_path / "r", config=tiny(task))
    assert (tmp_path / "r/folds/fold-2/bad_batch.safetensors").exists()


def test_another_setting_is_another_run(task, weights, undisturbed):
    with pytest.raises(
        FolderError, match=r"other settings or inputs \(epochs 2.0 -> 3.0; optim.head_lr_ratio"
    ):
        finetune(
            task,
            weights,
            out=undisturbed,
            config=tiny(
                task,
                epochs=3.0,
                optim=OptimConfig(lr_per_256=4e-3, layer_decay=0.5, betas=(0.9, 0.999), warmup_epochs=3.0),
            ),
            resume=True,
        )
    same = finetune(task, weights, out=undisturbed, config=tiny(task, threads=2), resume=True)
    assert same == read_json(undisturbed / "result.json")


def test_a_config_for_another_task_is_refused(task, weights, tmp_path):
    with pytest.raises(ValueError, match="not loaded with"):
        finetune(task, weights, out=tmp_path / "r", config=FinetuneConfig())


def test_smoothed_loss_by_hand():
    # Two classes, logits 0: each costs ln 2, whatever the smoothing. Weights 3 and 1 make the mean 2 ln 2.
    class Zeros(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(2))

        def forward(self, images):
            return self.bias.expand(len(images), 2)

    step = FinetuneStep(InputSpec(image_px=8), torch.tensor([3.0, 1.0]), 0.1)
    loss = step(Zeros(), (torch.zeros(2, 8, 8, dtype=torch.uint8), torch.tensor([0, 1])))
    assert loss.item() == pytest.approx(2 * np.log(2))


def test_balanced_classes_weigh_the_same_in_all():
    labels = np.array([0] * 6 + [2] * 3)
    weights = balancing_weights(labels, 3, True).numpy()
    assert weights.tolist() == pytest.approx([0.75, 1.0, 1.5])  # 6 * 0.75 = 3 * 1.5 = 4.5
    assert weights[labels].mean() == pytest.approx(1)
    assert balancing_weights(labels, 3, False).tolist() == [1, 1, 1]


def test_batches_depend_on_the_step_alone(task):
    batches = FinetuneBatches(task.images, task.labels, 16, 8, AugmentConfig(), seed=3)
    stream = batches.from_step(0)
    one_by_one = [next(stream) for _ in range(6)]
    resumed = next(batches.from_step(5))
    assert all(torch.equal(a, b) for a, b in zip(resumed, one_by_one[5], strict=True))
    seen = np.concatenate([labels.numpy() for _, labels in one_by_one[: len(task.labels) // 8]])
    assert np.bincount(seen).tolist()[0] <= np.bincount(task.labels)[0]


def test_every_step_crops_anew(task):
    one = slice(0, 1)
    batches = FinetuneBatches(task.images[one], task.labels[one], 16, 4, AugmentConfig(), seed=3)
    assert not torch.equal(batches(0)[0], batches(1)[0])


def test_another_seed_starts_elsewhere(task, weights, tmp_path):
    starts = []
    for seed in (0, 1):
        out = tmp_path / f"{seed}"
        finetune(task, "scratch", out=out, config=tiny(task, seed=seed, epochs=0.1), like=weights)
        starts.append([(out / f"folds/{fold}/classifier.safetensors").read_bytes() for fold in FOLDS])
    assert len({*starts[0], *starts[1]}) == 4  # each fold has a start of its own, too


def test_a_mirrored_test_is_the_mean_of_both_sides(undisturbed, task):
    loaded = load_classifier(undisturbed / "folds/fold-2/classifier.safetensors")
    images = task.images[:5]
    plain, turned = (
        class_probabilities(loaded.network, side, input_spec=loaded.input_spec)
        for side in (images, np.ascontiguousarray(images[:, :, ::-1]))
    )
    both = class_probabilities(loaded.network, images, input_spec=loaded.input_spec, mirror=True)
    np.testing.assert_allclose(both, (plain + turned) / 2, atol=1e-6)


def test_each_kind_of_network_and_start_has_its_rates():
    pretrained, drawn = (finetune_defaults(start) for start in (Path("run"), "scratch"))
    assert pretrained == finetune_defaults("imagenet", "dinov2") == FinetuneConfig()
    assert (pretrained.optim.lr_per_256, pretrained.optim.head_lr_ratio) == (1.6e-3, 20)
    # A head at 2e-3 to 3e-3 with batches of 16, whatever the encoder's rate.
    assert (drawn.optim.lr_per_256, drawn.optim.head_lr_ratio) == (4.8e-3, 10)
    given, drawn = (finetune_defaults(start, "efficientnet-lite0") for start in ("imagenet", "scratch"))
    for network, rate in ((given, CNN_LR_PER_256), (drawn, CNN_LR_PER_256 / 2)):
        assert (network.optim.lr_per_256, network.optim.head_lr_ratio) == (rate, 1)
        assert (network.head_norm, network.epochs, network.batch) == ("none", 30, 16)


def test_a_short_run_warms_up_for_a_tenth_of_its_steps(task, weights, tmp_path):
    # 22 images in batches of 8, 20 epochs, 55 steps: the warm-up of 3 epochs is cut to 2, 5.5 steps.
    config = tiny(task, epochs=20.0, watch_epochs=20.0, optim=OptimConfig(warmup_epochs=3.0, lr_per_256=1e-6))
    finetune(task, weights, out=tmp_path / "out", config=config)
    rates = [line["lr"] for line in read_metrics(tmp_path / "out/metrics.jsonl") if line["kind"] == "train"]
    assert rates.index(max(rates)) == 5
