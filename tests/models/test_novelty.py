from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf

from usfmae.base.errors import WeightsError
from usfmae.models import novelty
from usfmae.models.array_file import write_arrays
from usfmae.models.novelty import (
    fit_knn_distance,
    fit_mahalanobis,
    ledoit_wolf_shrinkage,
    load_novelty,
    save_novelty,
    with_threshold,
)


def two_classes(number=60, width=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, number)
    spread = rng.normal(size=(width, width))
    return rng.normal(size=(number, width)) @ spread + 4 * labels[:, None], labels


def test_mahalanobis_by_hand():
    # Mean (1, 2); deviations (-+1, 0) and (0, -+2) give variances 1/2 and 2, no covariance.
    # The point (2, 4) is 1 and 2 away: 1 / 0.5 + 4 / 2 = 4, distance 2.
    features = np.array([[0.0, 2.0], [2.0, 2.0], [1.0, 0.0], [1.0, 4.0]])
    scorer = fit_mahalanobis(features, shrinkage=0.0)
    np.testing.assert_allclose(scorer.scores(np.array([[2.0, 4.0], [1.0, 2.0]])), [2, 0], atol=1e-12)
    # Half shrunk towards 1.25 on the diagonal: variances 0.875 and 1.625.
    half = fit_mahalanobis(features, shrinkage=0.5).scores(np.array([[2.0, 4.0]]))
    np.testing.assert_allclose(half, np.sqrt(1 / 0.875 + 4 / 1.625))


def test_mahalanobis_is_that_of_scipy_to_the_nearest_class():
    features, labels = two_classes()
    means = [features[labels == one].mean(axis=0) for one in (0, 1)]
    apart = features - np.array(means)[labels]
    precision = np.linalg.inv(apart.T @ apart / len(features))
    cases = np.random.default_rng(1).normal(2, 3, size=(20, 5))
    expected = [min(mahalanobis(case, mean, precision) for mean in means) for case in cases]
    ours = fit_mahalanobis(features, labels, shrinkage=0.0).scores(cases)
    np.testing.assert_allclose(ours, expected, rtol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_without_shrinkage_invertible_linear_maps_change_nothing(seed):
    rng = np.random.default_rng(seed)
    features, labels = two_classes(seed=seed)
    cases = rng.normal(2, 3, size=(9, 5))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0] @ np.diag(rng.uniform(0.1, 10, 5))
    before = fit_mahalanobis(features, labels, shrinkage=0.0).scores(cases)
    after = fit_mahalanobis(features @ turn + 7, labels, shrinkage=0.0).scores(cases @ turn + 7)
    np.testing.assert_allclose(after, before, rtol=1e-6)


@pytest.mark.parametrize(("number", "width"), [(200, 5), (30, 5), (12, 40)])
def test_the_shrinkage_is_that_of_scikit_learn(number, width):
    rng = np.random.default_rng(number)
    rows = rng.normal(size=(number, width)) * np.linspace(0.2, 3, width)
    apart = rows - rows.mean(axis=0)
    covariance, weight = ledoit_wolf(apart, assume_centered=True)
    assert 0 < weight < 1
    assert ledoit_wolf_shrinkage(apart) == pytest.approx(weight)
    scorer = fit_mahalanobis(rows)
    np.testing.assert_allclose(
        np.linalg.inv(scorer.whiten.T @ scorer.whiten), covariance, rtol=1e-6, atol=1e-9
    )


def test_mean_squared_distance_of_training_images_is_the_number_of_features():
    # trace(C^-1 C) = d, for the distances to their own mean.
    features = np.random.default_rng(0).normal(size=(50, 4))
    scores = fit_mahalanobis(features, shrinkage=0.0).scores(features)
    assert (scores**2).mean() == pytest.approx(4)


def test_knn_distance_by_hand():
    # At length 1: (1, 0), (0.6, 0.8), (0, 1). From (1, 0): 0, sqrt(0.8), sqrt(2).
    bank = np.array([[3.0, 0.0], [3.0, 4.0], [0.0, 0.1]])
    for k, expected in ((1, 0.0), (2, np.sqrt(0.8)), (3, np.sqrt(2))):
        scores = fit_knn_distance(bank, k=k).scores(np.array([[9.0, 0.0]]))
        np.testing.assert_allclose(scores, [expected], rtol=1e-6)


def test_a_training_image_has_knn_distance_0_and_others_have_not(monkeypatch):
    rng = np.random.default_rng(0)
    bank, others = rng.normal(size=(40, 16)).astype(np.float32), rng.normal(size=(11, 16)).astype(np.float32)
    scorer = fit_knn_distance(bank, k=1)
    assert scorer.scores(bank).max() == 0
    whole = scorer.scores(others)
    assert whole.min() > 0.1
    monkeypatch.setattr(novelty, "QUERIES_AT_ONCE", 4)
    np.testing.assert_allclose(scorer.scores(others), whole, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_knn_distance_grows_with_k_and_knows_directions_only(seed, scale):
    rng = np.random.default_rng(seed)
    bank, cases = rng.normal(size=(12, 4)), rng.normal(size=(5, 4))
    by_k = np.array([fit_knn_distance(bank, k=k).scores(cases) for k in range(1, 13)])
    assert (np.diff(by_k, axis=0) >= -1e-6).all()
    np.testing.assert_allclose(fit_knn_distance(scale * bank, k=3).scores(cases / scale), by_k[2], atol=1e-5)


@pytest.mark.parametrize("keep_ratio", [0.5, 0.9, 0.95, 1.0])
def test_the_threshold_keeps_the_share_that_was_asked_for_and_not_one_more(keep_ratio):
    features, labels = two_classes()
    validation = two_classes(number=40, seed=5)[0]
    for scorer in (fit_mahalanobis(features, labels), fit_knn_distance(features, k=3)):
        novel = with_threshold(scorer, validation, keep_ratio=keep_ratio).is_novel(validation)
        assert (~novel).sum() == round(keep_ratio * 40)


def test_far_pictures_and_features_that_are_no_numbers_are_novel():
    features, labels = two_classes()
    detector = with_threshold(fit_mahalanobis(features, labels), features)
    strange = np.stack([np.full(5, 1e3), np.full(5, np.nan), features.mean(axis=0)])
    assert detector.is_novel(strange).tolist() == [True, True, False]


@pytest.mark.parametrize("sha256", [None, "ab" * 32])
def test_a_file_gives_back_the_same_detector(tmp_path, sha256):
    features, labels = two_classes()
    for scorer in (fit_mahalanobis(features, labels), fit_knn_distance(features, k=3)):
        before = with_threshold(scorer, features[:20], weights_sha256=sha256)
        for name in ("a.npz", "b.npz"):
            save_novelty(tmp_path / name, before)
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
        after = load_novelty(tmp_path / "a.npz")
        assert type(after.scorer) is type(scorer)
        assert (after.threshold, after.keep_ratio, after.weights_sha256) == (before.threshold, 0.95, sha256)
        np.testing.assert_array_equal(after.scores(features), before.scores(features))


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "novelty.npz"
    with pytest.raises(WeightsError, match=r"novelty\.npz: no such novelty detector"):
        load_novelty(path)
    write_arrays(path, {"threshold": np.array(1.0)}, kind="novelty detector")
    with pytest.raises(WeightsError, match="cannot be read as a novelty detector"):
        load_novelty(path)
    write_arrays(path, {"threshold": np.array(1.0)}, kind="feature bank")
    with pytest.raises(WeightsError, match="is no novelty detector of usfmae"):
        load_novelty(path)


def test_bad_arguments_are_refused():
    features, labels = two_classes()
    with pytest.raises(ValueError, match="6 images of 2 classes are too few for 5 features"):
        fit_mahalanobis(features[:6], np.array([0, 1, 0, 1, 0, 1]), shrinkage=0.0)
    with pytest.raises(ValueError, match=r"shrinkage must lie between 0 and 1, not 1\.5"):
        fit_mahalanobis(features, labels, shrinkage=1.5)
    with pytest.raises(ValueError, match="all alike"):
        fit_mahalanobis(np.ones((9, 2)))
    with pytest.raises(ValueError, match="here are 0"):
        fit_mahalanobis(np.ones((0, 2)))
    with pytest.raises(ValueError, match="k=61 with 60 training images"):
        fit_knn_distance(features, k=61)
    with pytest.raises(ValueError, match="no finite numbers"):
        fit_knn_distance(np.full((3, 2), np.inf), k=1)
    with pytest.raises(ValueError, match=r"keep_ratio=0\.95 of 0 validation images"):
        with_threshold(fit_knn_distance(features, k=1), features[:0])
    detector = with_threshold(fit_mahalanobis(features), features)
    for one in (detector, replace(detector, scorer=fit_knn_distance(features))):
        with pytest.raises(ValueError, match="pictures have 4 features, the detector knows 5"):
            one.scores(features[:, :4])
