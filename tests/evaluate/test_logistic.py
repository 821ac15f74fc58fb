import logging

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from usfmae.evaluate import logistic
from usfmae.evaluate.logistic import NEAR, fit_logistic

GRID = (1e-4, 1e-2, 1.0, 10.0)


def like_a_network(num, width, num_classes, *, seed=0):
    """Features after a ReLU whose directions have very different lengths, and classes that overlap."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(5)
    labels = rng.integers(0, num_classes, num)
    length = 1 / np.arange(1, width + 1)
    centres = 0.5 * fixed.normal(size=(num_classes, width)) * length
    hidden = (rng.normal(size=(num, width)) * length + centres[labels]) @ fixed.normal(size=(width, width))
    return np.maximum(hidden, 0).astype(np.float32), labels


def theirs(train, labels, test, c, weight=None):
    scaler = StandardScaler().fit(train.astype(float))
    model = LogisticRegression(C=c, max_iter=100_000, tol=1e-9, class_weight=weight)
    model.fit(scaler.transform(train.astype(float)), labels)
    return model.predict_proba(scaler.transform(test.astype(float)))


@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize(
    ("num", "width", "num_classes"), [(60, 150, 2), (60, 150, 4), (300, 40, 2), (300, 40, 4)]
)
def test_it_agrees_with_scikit_learn_whichever_side_is_longer(num, width, num_classes, weight):
    train, labels = like_a_network(num, width, num_classes)
    keep = (labels > 0) | (np.arange(num) % 3 == 0)
    train, labels = train[keep], labels[keep]
    test, _ = like_a_network(50, width, num_classes, seed=1)
    models = fit_logistic(train, labels, GRID, balanced=weight is not None)
    for c, model in zip(GRID, models, strict=True):
        expected = theirs(train, labels, test, c, weight)
        np.testing.assert_allclose(model.probabilities(test, num_classes), expected, atol=3e-5)


def test_a_penalty_alone_gives_what_it_gives_in_a_row():
    train, labels = like_a_network(80, 120, 3)
    for c, model in zip(GRID, fit_logistic(train, labels, GRID), strict=True):
        (alone,) = fit_logistic(train, labels, [c])
        np.testing.assert_allclose(model.probabilities(train, 3), alone.probabilities(train, 3), atol=2e-5)


def test_a_loose_fit_is_near_enough_to_compare_losses():
    train, labels = like_a_network(80, 120, 3)
    test, truth = like_a_network(80, 120, 3, seed=1)
    for exact, near in zip(
        fit_logistic(train, labels, GRID), fit_logistic(train, labels, GRID, tolerance=NEAR), strict=True
    ):
        losses = [
            -np.log(model.probabilities(test, 3)[np.arange(80), truth]).mean() for model in (exact, near)
        ]
        assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_scale_shift_and_turning_change_nothing_but_what_standardising_does():
    train, labels = like_a_network(80, 30, 2)
    test, _ = like_a_network(20, 30, 2, seed=1)
    rng = np.random.default_rng(0)
    factor, shift = rng.uniform(0.1, 100, 30), rng.normal(size=30) * 50
    (plain,) = fit_logistic(train, labels, [0.1])
    (moved,) = fit_logistic(train * factor + shift, labels, [0.1])
    np.testing.assert_allclose(
        moved.probabilities(test * factor + shift, 2), plain.probabilities(test, 2), atol=1e-6
    )


def test_constant_and_repeated_features_are_harmless():
    train, labels = like_a_network(40, 6, 2)
    test, _ = like_a_network(20, 6, 2, seed=1)
    wide = [np.concatenate([one, one, np.full((len(one), 2), 7.0)], axis=1) for one in (train, test)]
    (model,) = fit_logistic(wide[0], labels, [1.0])
    np.testing.assert_allclose(
        model.probabilities(wide[1], 2), theirs(wide[0], labels, wide[1], 1.0), atol=1e-5
    )


def test_features_that_say_nothing_leave_the_shares_of_the_classes():
    labels = np.array([0, 0, 0, 2])
    (model,) = fit_logistic(np.ones((4, 3)), labels, [1.0])
    np.testing.assert_allclose(model.probabilities(np.zeros((1, 3)), 3), [[0.75, 0, 0.25]], atol=1e-6)


def test_classes_far_apart_stay_finite():
    train = np.repeat([[-1e6, 3.0], [1e6, 3.0]], 10, axis=0)
    for model in fit_logistic(train, np.repeat([0, 1], 10), [1.0, 1e9]):
        told = model.probabilities(1e3 * train, 2)
        assert np.isfinite(told).all()
        assert told[0, 0] == told[-1, 1] == 1


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="images of two classes, not of 1"):
        fit_logistic(np.ones((4, 3)), np.zeros(4, np.int64), [1.0])
    with pytest.raises(ValueError, match="must be positive and ascend"):
        fit_logistic(np.ones((4, 3)), np.arange(4), [1.0, 0.1])
    with pytest.raises(ValueError, match="not finite numbers"):
        fit_logistic(np.full((4, 3), np.nan), np.arange(4), [1.0])


def test_a_fit_that_does_not_settle_is_told(monkeypatch, caplog):
    monkeypatch.setattr(logistic, "MAX_STEPS", 3)
    with caplog.at_level(logging.WARNING, logger="usfmae"):
        fit_logistic(*like_a_network(80, 120, 3), [10.0])
    assert "C=10 has not settled after 3 steps" in caplog.text
