import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from usfmae.evaluate.inner_folds import inner_folds
from usfmae.evaluate.linear_probe import C_GRID, fit_fixed_probe, fit_linear_probe


def clouds(num, *, distance, seed, num_classes=2, width=6):
    """Normal clouds whose centres are `distance` apart along their own axis, on an odd scale."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num)
    features = rng.normal(size=(num, width))
    features[np.arange(num), labels] += distance
    return (1000 * features + 5000).astype(np.float32), labels


def alone(labels):
    """Every image its own patient."""
    return [f"p{row}" for row in range(len(labels))]


def theirs(train, labels, test, c, weight=None):
    scaler = StandardScaler().fit(train.astype(float))
    model = LogisticRegression(C=c, max_iter=10_000, tol=1e-8, class_weight=weight)
    model.fit(scaler.transform(train.astype(float)), labels)
    return model.predict_proba(scaler.transform(test.astype(float)))


@pytest.mark.parametrize("balanced", [False, True])
def test_it_is_logistic_regression_on_standardised_features_with_the_best_out_of_fold_loss(balanced):
    train, labels = clouds(150, distance=1.5, seed=0)
    kept = (labels == 0) | (np.arange(150) % 3 == 0)
    train, labels = train[kept], labels[kept]
    test, _ = clouds(20, distance=1.5, seed=2)
    groups = [f"p{row // 2}" for row in range(len(labels))]
    probe = fit_linear_probe(train, labels, groups, num_classes=2, balanced=balanced, seed=3)

    weight = "balanced" if balanced else None
    counts = np.bincount(labels)[labels]
    losses = {}
    for c in C_GRID:
        told = np.zeros((len(labels), 2))
        for learnt, asked in inner_folds(labels, groups, seed=3, purpose="penalty"):
            told[asked] = theirs(train[learnt], labels[learnt], train[asked], c, weight)
        losses[c] = log_loss(labels, told, sample_weight=1 / counts if balanced else None)
    assert probe.cv_log_loss == pytest.approx(losses, rel=1e-4)
    assert probe.num_parts == 5
    assert probe.c == min(losses, key=losses.get)
    expected = theirs(train, labels, test, probe.c, weight)
    np.testing.assert_allclose(probe.probabilities(test), expected, atol=1e-5)


def test_hard_problems_get_a_strong_penalty_and_easy_ones_a_weak_one():
    def chosen(distance):
        train, labels = clouds(60, distance=distance, seed=0, width=30)
        return fit_linear_probe(train, labels, alone(labels), num_classes=2).c

    assert chosen(0.0) <= 1e-2
    assert chosen(30.0) >= 1


def test_a_patient_learnt_by_heart_does_not_weaken_the_penalty():
    # Each patient has four like images and a class by chance: told by patient, there is nothing to learn;
    # told by image, the patient's other images give the class away.
    rng = np.random.default_rng(0)
    own = rng.normal(size=(40, 30)).repeat(4, axis=0)
    train = (own + 0.1 * rng.normal(size=own.shape)).astype(np.float32)
    labels = rng.integers(0, 2, 40).repeat(4)
    patients = [f"p{row // 4}" for row in range(160)]
    assert fit_linear_probe(train, labels, patients, num_classes=2).c <= 1e-2
    assert fit_linear_probe(train, labels, alone(labels), num_classes=2).c >= 1


def test_a_class_that_training_does_not_hold_gets_probability_zero():
    train, labels = clouds(60, distance=3, seed=0)
    probe = fit_linear_probe(train, 2 * labels, alone(labels), num_classes=4)
    probabilities = probe.probabilities(train)
    assert probabilities.shape == (60, 4)
    assert probabilities[:, [1, 3]].max() == 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == 2 * labels).mean() > 0.9


def test_where_a_class_lies_within_one_patient_nothing_is_chosen_and_a_note_says_so():
    train, labels = clouds(60, distance=3, seed=0)
    groups = ["same" if label else f"p{row}" for row, label in enumerate(labels)]
    probe = fit_linear_probe(train, labels, groups, num_classes=2)
    assert (probe.c, probe.cv_log_loss, probe.num_parts) == (0.1, {}, 0)
    assert "was not chosen but fixed (C = 0.1)" in probe.record()["note"]
    fixed = fit_fixed_probe(train, labels, num_classes=2)
    np.testing.assert_array_equal(probe.probabilities(train), fixed.probabilities(train))


def test_the_record_says_how_the_penalty_was_chosen():
    train, labels = clouds(60, distance=1, seed=0)
    probe = fit_linear_probe(train, labels, alone(labels), num_classes=2)
    record = probe.record()
    assert list(record) == ["c", "c_chosen_by", "cv_log_loss"]
    assert record["c_chosen_by"] == "cross-validation inside the training images, 5 parts of whole groups"
    assert list(record["cv_log_loss"]) == ["0.0001", "0.001", "0.01", "0.1", "1", "10"]


def test_equal_seeds_choose_alike_and_images_may_come_in_any_order():
    train, labels = clouds(60, distance=1, seed=0)
    groups = alone(labels)
    first = fit_linear_probe(train, labels, groups, num_classes=2, seed=1).cv_log_loss
    turned = fit_linear_probe(train[::-1], labels[::-1], groups[::-1], num_classes=2, seed=1).cv_log_loss
    assert turned == pytest.approx(first, rel=1e-5)
    assert fit_linear_probe(train, labels, groups, num_classes=2, seed=2).cv_log_loss != first


def test_balancing_moves_the_border_towards_the_frequent_class():
    train, labels = clouds(400, distance=1, seed=0)
    rare = np.flatnonzero((labels == 0) | (np.arange(400) % 8 == 0))
    train, labels = train[rare], labels[rare]
    test, truth = clouds(200, distance=1, seed=1)
    found = {
        balanced: fit_fixed_probe(train, labels, num_classes=2, balanced=balanced)
        .probabilities(test)[truth == 1, 1]
        .mean()
        for balanced in (False, True)
    }
    assert found[True] > found[False] + 0.2
