"""A classifier that begins where a linear probe of its encoder ends."""

import numpy as np
import pytest
import torch
from plug import plug_pulled
from small_finetune import FOLDS, outcome, tiny

from usfmae.base.files import read_json
from usfmae.engine.optim import OptimConfig
from usfmae.evaluate.finetune import finetune
from usfmae.evaluate.fold_training import FinetuneBatches
from usfmae.evaluate.frozen import LinearProbeConfig, evaluate_linear_probe
from usfmae.evaluate.head_start import NEVER, put_probe
from usfmae.evaluate.linear_probe import fit_fixed_probe
from usfmae.evaluate.predictions import read_predictions
from usfmae.models.classifier import Classifier, pool_tokens
from usfmae.models.vit import VisionTransformer, ViTConfig


def network(num_classes):
    generator = torch.Generator().manual_seed(1)
    encoder = VisionTransformer(ViTConfig(size="ti", image_px=16, patch_px=8)).eval()
    return Classifier(encoder, num_classes, pool="mean", generator=generator).eval()


@pytest.mark.parametrize("classes", [(0, 1), (0, 1, 2), (0, 2)])
def test_the_head_says_what_the_probe_says(classes):
    """Of three classes the middle one may have no training image."""
    num_classes = max(classes) + 1
    module, rng = network(num_classes), np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(40, 1, 16, 16)).astype(np.float32))
    labels = rng.permutation(np.resize(classes, 40))
    with torch.inference_mode():
        features = pool_tokens(module.encoder(images), "mean").numpy()
    probe = fit_fixed_probe(features, labels, num_classes=num_classes, c=1.0)
    put_probe(module, probe)
    with torch.inference_mode():
        logits = module(images)
    wanted = probe.probabilities(features)
    learnt = list(classes)
    np.testing.assert_allclose(logits[:, learnt].softmax(dim=1).numpy(), wanted[:, learnt], atol=1e-5)
    assert wanted.min() < 0.4 < wanted.max()  # it does say something
    if num_classes > len(classes):
        assert (logits[:, 1] == NEVER).all()


def test_without_a_step_that_matters_fine_tuning_answers_as_the_linear_probe_does(task, weights, tmp_path):
    still = OptimConfig(lr_per_256=1e-12, betas=(0.9, 0.999))
    begun = tiny(task, head_start="probe", balanced=True, optim=still)
    finetune(task, weights, out=tmp_path / "begun", config=begun)
    probed = LinearProbeConfig(task=task.config, bootstrap=begun.bootstrap, balanced=True, threads=1)
    evaluate_linear_probe(task, weights, out=tmp_path / "probed", config=probed)
    said = read_predictions(tmp_path / "begun/predictions.csv")
    wanted = read_predictions(tmp_path / "probed/predictions.csv")
    assert said.paths == wanted.paths
    np.testing.assert_allclose(said.probabilities, wanted.probabilities, atol=1e-4)
    folds = read_json(tmp_path / "begun/result.json")["folds"]
    chosen = [fold["head_start"]["c"] for fold in folds]
    assert chosen == [fold["c"] for fold in read_json(tmp_path / "probed/result.json")["folds"]]


def test_resumed_it_ends_where_an_uninterrupted_run_does(task, weights, tmp_path):
    config = tiny(task, head_start="probe")
    finetune(task, weights, out=tmp_path / "whole", config=config)
    with plug_pulled(FinetuneBatches, at=4):
        finetune(task, weights, out=tmp_path / "r", config=config)
    finetune(task, weights, out=tmp_path / "r", config=config, resume=True)
    assert outcome(tmp_path / "r") == outcome(tmp_path / "whole")
    plain = tmp_path / "plain"
    finetune(task, weights, out=plain, config=tiny(task))
    assert outcome(plain)[-1] != outcome(tmp_path / "whole")[-1]
    assert all("head_start" not in read_json(plain / f"folds/{fold}/fold.json") for fold in FOLDS)
