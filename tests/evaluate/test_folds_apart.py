"""Folds that were scored by networks of their own: what is ranked is ranked within a fold."""

import numpy as np
import pytest
from sklearn import metrics as peer

from usfmae.evaluate.delong import auroc_covariance, delong_test
from usfmae.evaluate.metrics import METRICS, score, score_resamples
from usfmae.evaluate.predictions import Predictions, fold_ids
from usfmae.evaluate.roc import roc_curve
from usfmae.evaluate.statistics import BootstrapConfig, paired_difference, score_with_intervals

RANKINGS = ("auroc", "average_precision")


def answers(num_images, *, num_classes=2, seed=0, scale=(0.3, 3.0)):
    """Folds of unequal size whose networks are unequally bold; labels, probabilities, folds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    folds = (np.arange(num_images) >= num_images // 3).astype(int)
    logits = rng.normal(size=(num_images, num_classes)) + np.eye(num_classes)[labels]
    logits = logits * np.array(scale)[folds][:, None]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), folds


def test_two_networks_on_two_scales_by_hand():
    """Each ranks its two images rightly; the first's malignant image has a lower score than the second's
    benign one, which is no error of either."""
    labels, malignant = np.array([0, 1, 0, 1]), np.array([0.1, 0.3, 0.7, 0.9])
    probabilities, folds = np.stack([1 - malignant, malignant], axis=1), np.array([0, 0, 1, 1])
    assert score(labels, probabilities)["auroc"] == 0.75
    found = score(labels, probabilities, folds=folds)
    assert (found["auroc"], found["average_precision"]) == (1.0, 1.0)
    assert found["accuracy"] == 0.5  # what is called is not ranked


@pytest.mark.parametrize("num_classes", [2, 4])
def test_a_ranking_is_the_mean_of_the_folds_weighed_by_pairs_or_by_images_of_the_class(num_classes):
    labels, probabilities, folds = answers(120, num_classes=num_classes)
    ranked = [1] if num_classes == 2 else range(num_classes)
    areas, precisions = [], []
    for one in ranked:
        parts = [(labels[folds == k] == one, probabilities[folds == k, one]) for k in (0, 1)]
        pairs = [found.sum() * (~found).sum() for found, _ in parts]
        areas.append(np.average([peer.roc_auc_score(*part) for part in parts], weights=pairs))
        precise = [peer.average_precision_score(*part) for part in parts]
        precisions.append(np.average(precise, weights=[found.sum() for found, _ in parts]))
    found = score(labels, probabilities, folds=folds)
    assert found["auroc"] == pytest.approx(np.mean(areas))
    assert found["average_precision"] == pytest.approx(np.mean(precisions))
    pooled = score(labels, probabilities)
    assert {name for name in METRICS if found[name] != pooled[name]} == set(RANKINGS)


def test_one_fold_is_no_folds_to_the_bit():
    labels, probabilities, _ = answers(60)
    weights = np.random.default_rng(1).integers(0, 3, (5, 60)).astype(float)
    plain = score_resamples(labels, probabilities, weights)
    alone = score_resamples(labels, probabilities, weights, folds=np.full(60, 7))
    for name in METRICS:
        np.testing.assert_array_equal(alone[name], plain[name])
    assert delong_test(labels, probabilities, probabilities[::-1], folds=np.full(60, 7)) == delong_test(
        labels, probabilities, probabilities[::-1]
    )


def test_a_fold_without_a_class_has_no_pair_and_no_say():
    labels, probabilities, folds = answers(60)
    folds = np.where(labels == 0, folds, 1)  # fold 0 has the first class alone
    inside = folds == 1
    found = score(labels, probabilities, folds=folds)
    alone = score(labels[inside], probabilities[inside])
    assert [found[name] for name in RANKINGS] == pytest.approx([alone[name] for name in RANKINGS])
    nowhere = score(labels, probabilities, folds=labels)
    assert np.isnan([nowhere[name] for name in RANKINGS]).all()
    area, covariance = auroc_covariance(labels, [probabilities], folds=labels)
    assert np.isnan(area).all()
    assert np.isnan(covariance).all()


@pytest.mark.parametrize("num_classes", [2, 3])
def test_delongs_areas_are_those_of_the_metrics_and_folds_vary_independently(num_classes):
    labels, first, folds = answers(600, num_classes=num_classes)
    _, second, _ = answers(600, num_classes=num_classes, seed=5)
    found = delong_test(labels, first, second, folds=folds)
    assert found.first.value == pytest.approx(score(labels, first, folds=folds)["auroc"])
    assert found.second.value == pytest.approx(score(labels, second, folds=folds)["auroc"])
    if num_classes == 2:
        parts = [folds == k for k in (0, 1)]
        pairs = np.array([(labels[p] == 1).sum() * (labels[p] == 0).sum() for p in parts])
        variances = [auroc_covariance(labels[p], [first[p], second[p]])[1] for p in parts]
        together = np.einsum("k,kij->ij", (pairs / pairs.sum()) ** 2, variances)
        _, covariance = auroc_covariance(labels, [first, second], folds=folds)
        assert covariance == pytest.approx(together, rel=0.01)  # but for the small-sample factors


def test_bounds_of_delong_agree_with_those_of_drawn_patients():
    labels, probabilities, folds = answers(900, seed=3)
    patients = np.arange(900) // 2
    config = BootstrapConfig(num_resamples=2000)
    drawn = score_with_intervals(labels, probabilities, patients, config=config, folds=folds)
    exact = delong_test(labels, probabilities, probabilities, patients, folds=folds).first
    assert (exact.low, exact.high) == pytest.approx(
        (drawn.metrics["auroc"].low, drawn.metrics["auroc"].high), abs=0.004
    )


def test_scales_of_networks_do_not_matter():
    labels, first, folds = answers(200)
    _, second, _ = answers(200, seed=2)
    tempered = second**0.2 / (second**0.2).sum(axis=1, keepdims=True)
    second = np.where((folds == 0)[:, None], second, tempered)
    config = BootstrapConfig(num_resamples=100)
    before = paired_difference(labels, first, second, np.arange(200), config=config, folds=folds)
    after = paired_difference(labels, first, tempered, np.arange(200), config=config, folds=folds)
    for name in METRICS:
        assert after[name] == before[name]


def test_the_area_under_the_mean_curve_is_the_auroc():
    labels, probabilities, folds = answers(300)
    names = tuple(f"fold-{fold}" for fold in folds)
    paths = tuple(map(str, range(300)))
    made = Predictions(("benign", "malignant"), paths, paths, names, labels, probabilities)
    np.testing.assert_array_equal(fold_ids(made), folds)
    curve = roc_curve(made, bootstrap=BootstrapConfig(num_resamples=100))
    assert curve.auroc == score(labels, probabilities, folds=folds)["auroc"]
    assert np.trapezoid(curve.true_positive, curve.false_positive) == pytest.approx(curve.auroc, abs=0.005)


def test_networks_are_told_apart_where_either_table_has_two():
    def table(folds):
        zeros = np.zeros(len(folds), np.int64)
        paths = tuple(map(str, range(len(folds))))
        return Predictions(("a", "b"), paths, paths, tuple(folds), zeros, np.eye(2)[zeros])

    assert fold_ids(table("aabb")).tolist() == [0, 0, 1, 1]
    assert fold_ids(table("aabb"), table("xyxx")).tolist() == [0, 1, 2, 2]
