import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from usfmae.evaluate.linear_probe import C_GRID, fit_linear_probe


def clouds(num, *, distance, seed, num_classes=2, width=6):
    """Normal clouds whose centres are `distance` apart along their own axis, on an odd scale."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num)
    features = rng.normal(size=(num, width))
    features[np.arange(num), labels] += distance
    return (1000 * features + 5000).astype(np.float32), labels


def test_it_is_logistic_regression_on_standardised_features_with_the_best_validation_loss():
    train, train_labels = clouds(120, distance=1.5, seed=0)
    val, val_labels = clouds(60, distance=1.5, seed=1)
    test, _ = clouds(20, distance=1.5, seed=2)
    probe = fit_linear_probe(train, train_labels, val, val_labels, num_classes=2)

    scaler = StandardScaler().fit(train.astype(float))
    losses = {}
    for c in C_GRID:
        model = LogisticRegression(C=c, max_iter=5000).fit(
            scaler.transform(train.astype(float)), train_labels
        )
        losses[c] = log_loss(val_labels, model.predict_proba(scaler.transform(val.astype(float))))
    assert probe.val_log_loss == pytest.approx(losses, rel=1e-4)
    assert probe.c == min(losses, key=losses.get)
    best = LogisticRegression(C=probe.c, max_iter=5000).fit(
        scaler.transform(train.astype(float)), train_labels
    )
    theirs = best.predict_proba(scaler.transform(test.astype(float)))
    np.testing.assert_allclose(probe.probabilities(test), theirs, atol=1e-4)


def test_hard_problems_get_a_strong_penalty_and_easy_ones_a_weak_one():
    def chosen(distance):
        train, val = (
            clouds(40, distance=distance, seed=0, width=30),
            clouds(200, distance=distance, seed=1, width=30),
        )
        return fit_linear_probe(*train, *val, num_classes=2).c

    assert chosen(0.0) <= 1e-3
    assert chosen(30.0) >= 1


def test_a_class_that_training_does_not_hold_gets_probability_zero():
    train, labels = clouds(60, distance=3, seed=0)
    probe = fit_linear_probe(train, 2 * labels, train, 2 * labels, num_classes=4)
    probabilities = probe.probabilities(train)
    assert probabilities.shape == (60, 4)
    assert probabilities[:, [1, 3]].max() == 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == 2 * labels).mean() > 0.9


def test_without_validation_nothing_is_chosen():
    train, labels = clouds(60, distance=3, seed=0)
    probe = fit_linear_probe(train, labels, train[:0], labels[:0], num_classes=2)
    assert (probe.c, probe.val_log_loss) == (0.1, {})


def test_balancing_moves_the_border_towards_the_frequent_class():
    train, labels = clouds(400, distance=1, seed=0)
    rare = np.flatnonzero((labels == 0) | (np.arange(400) % 8 == 0))
    train, labels = train[rare], labels[rare]
    test, truth = clouds(200, distance=1, seed=1)
    found = {
        balanced: fit_linear_probe(train, labels, train[:0], labels[:0], num_classes=2, balanced=balanced)
        .probabilities(test)[truth == 1, 1]
        .mean()
        for balanced in (False, True)
    }
    assert found[True] > found[False] + 0.2
