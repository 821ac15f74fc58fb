"""Mixup and averaged weights in whole fine-tunings."""

import numpy as np
import pytest
from plug import plug_pulled
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score
from small_finetune import FOLDS, outcome, tiny

from usfmae.base.files import read_json
from usfmae.engine.ema import EmaConfig
from usfmae.engine.loop import LoopConfig
from usfmae.engine.metrics_log import read_metrics
from usfmae.evaluate.finetune import finetune
from usfmae.evaluate.finetune_config import FinetuneConfig
from usfmae.evaluate.fold_training import FinetuneBatches, class_probabilities
from usfmae.evaluate.predictions import read_predictions
from usfmae.models.classifier import load_classifier


def both(task):
    return tiny(task, mixup=0.4, ema=EmaConfig(decay=0.5), balanced=True)


def classifiers(out):
    return [(out / f"folds/{fold}/classifier.safetensors").read_bytes() for fold in FOLDS]


@pytest.fixture(scope="module")
def with_both(task, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "both"
    finetune(task, weights, out=out, config=both(task))
    return out


@pytest.fixture(scope="module")
def plain(task, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "plain"
    finetune(task, weights, out=out, config=tiny(task))
    return out


# Batches are counted over both folds (5 each): broken before a checkpoint, after one, and in the second fold.
@pytest.mark.parametrize("broken_batch", [4, 8])
def test_with_both_a_resumed_run_ends_where_an_uninterrupted_one_does(
    task, weights, with_both, tmp_path, broken_batch
):
    with plug_pulled(FinetuneBatches, at=broken_batch):
        finetune(task, weights, out=tmp_path / "r", config=both(task))
    finetune(task, weights, out=tmp_path / "r", config=both(task), resume=True)
    assert outcome(tmp_path / "r") == outcome(with_both)


def test_an_average_that_keeps_nothing_changes_nothing(task, weights, plain, tmp_path):
    finetune(task, weights, out=tmp_path / "r", config=tiny(task, ema=EmaConfig(decay=0.0)))
    assert outcome(tmp_path / "r") == outcome(plain)


def test_the_average_is_what_is_tested_kept_and_watched_and_training_does_not_feel_it(
    task, weights, plain, tmp_path
):
    finetune(task, weights, out=tmp_path / "r", config=tiny(task, ema=EmaConfig(decay=0.5)))
    assert classifiers(tmp_path / "r") != classifiers(plain)
    assert outcome(tmp_path / "r")[-1] == outcome(plain)[-1]  # losses
    loaded = load_classifier(tmp_path / "r/folds/fold-2/classifier.safetensors")
    split = task.splits[0]
    found = class_probabilities(loaded.network, task.images[split.test], input_spec=loaded.input_spec)
    said = read_predictions(tmp_path / "r/folds/fold-2/predictions.csv")
    np.testing.assert_allclose(found, said.probabilities, atol=1e-6)
    seen = class_probabilities(loaded.network, task.images[split.val], input_spec=loaded.input_spec)
    last = [
        line["value"]
        for line in read_metrics(tmp_path / "r/metrics.jsonl")
        if line["kind"] == "watch" and line["fold"] == "fold-2" and line["metric"] == "val_auroc"
    ][-1]
    assert last == pytest.approx(roc_auc_score(task.labels[split.val], seen[:, 1]))


def test_mixup_changes_what_is_learnt(plain, with_both):
    assert outcome(with_both)[-1] != outcome(plain)[-1]
    assert read_json(with_both / "result.json")["made_by"]["settings"]["mixup"] == 0.4


def test_a_batch_norm_before_the_classifier_refuses_one_image_at_a_time():
    with pytest.raises(ValidationError, match="takes the mean and spread of the images in memory at once"):
        FinetuneConfig(batch=1)
    with pytest.raises(ValidationError, match="here 1"):
        FinetuneConfig(batch=16, loop=LoopConfig(accumulate=16))
    assert FinetuneConfig(batch=1, head_norm="none").batch == 1
