import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as peer

from usfmae.evaluate.metrics import (
    METRICS,
    confusion_matrix,
    f1_per_class,
    predicted_classes,
    score,
    score_resamples,
)


def two_columns(positive):
    positive = np.asarray(positive, dtype=float)
    return np.stack([1 - positive, positive], axis=1)


def test_binary_metrics_by_hand():
    # Called malignant (over 0.5): images 2, 3, 4. Truth: 1, 2, 3 malignant, so TP 2, FN 1, FP 1, TN 2.
    labels = np.array([0, 1, 1, 1, 0, 0])
    scored = score(labels, two_columns([0.1, 0.4, 0.6, 0.9, 0.8, 0.2]))
    assert scored["accuracy"] == pytest.approx(4 / 6)
    assert scored["sensitivity"] == pytest.approx(2 / 3)
    assert scored["specificity"] == pytest.approx(2 / 3)
    assert scored["macro_f1"] == pytest.approx(2 / 3)  # both classes: 2 * 2 / (3 + 3)
    # Of 9 pairs (malignant, benign) the malignant one ranks higher in 3 + 2 + 2 = 7.
    assert scored["auroc"] == pytest.approx(7 / 9)
    # Ranked: malignant, benign, malignant, malignant: (1/1 + 2/3 + 3/4) / 3.
    assert scored["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_the_stated_class_is_the_positive_one():
    labels = np.array([0, 0, 0, 1, 1])
    probabilities = two_columns([0.1, 0.2, 0.9, 0.8, 0.3])  # benign: 2 of 3 right; malignant: 1 of 2
    assert score(labels, probabilities)["sensitivity"] == pytest.approx(1 / 2)
    assert score(labels, probabilities, positive=0)["sensitivity"] == pytest.approx(2 / 3)
    assert score(labels, probabilities, positive=0)["specificity"] == pytest.approx(1 / 2)


def test_confusion_counts_truth_down_and_prediction_across():
    found = confusion_matrix(np.array([0, 0, 2, 1]), np.array([0, 1, 2, 1]), num_classes=3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_perfect_predictions_score_one():
    labels = np.array([0, 1, 2, 2, 1, 0])
    assert score(labels, np.eye(3)[labels]) == pytest.approx(dict.fromkeys(METRICS, 1.0))


def test_equal_scores_rank_like_a_coin():
    scored = score(np.array([0, 1, 0, 1]), np.full((4, 2), 0.5))
    assert scored["auroc"] == pytest.approx(0.5)


labelled = st.integers(2, 5).flatmap(
    lambda num_classes: st.integers(num_classes, 30).flatmap(
        lambda num_images: st.tuples(
            st.permutations([*range(num_classes), *([0] * (num_images - num_classes))]).map(np.array),
            hnp.arrays(float, (num_images, num_classes), elements=st.integers(0, 6).map(lambda n: n / 6)),
            hnp.arrays(float, (3, num_images), elements=st.integers(1, 4).map(float)),
        )
    )
)


@settings(max_examples=60, deadline=None)
@given(labelled)
def test_every_metric_is_scikit_learns(drawn):
    labels, probabilities, weights = drawn
    num_classes = probabilities.shape[1]
    scored = score_resamples(labels, probabilities, weights)
    ours_f1 = f1_per_class(labels, probabilities, weights)
    predicted = predicted_classes(probabilities)
    ranked = [1] if num_classes == 2 else range(num_classes)
    for row, weight in enumerate(weights):
        given_weight = {"sample_weight": weight}
        theirs = {
            "macro_f1": peer.f1_score(labels, predicted, average="macro", **given_weight),
            "accuracy": peer.accuracy_score(labels, predicted, **given_weight),
            "balanced_accuracy": peer.balanced_accuracy_score(labels, predicted, **given_weight),
            "auroc": np.mean(
                [peer.roc_auc_score(labels == k, probabilities[:, k], **given_weight) for k in ranked]
            ),
            "average_precision": np.mean(
                [
                    peer.average_precision_score(labels == k, probabilities[:, k], **given_weight)
                    for k in ranked
                ]
            ),
        }
        if num_classes == 2:
            theirs["sensitivity"] = peer.recall_score(labels, predicted, pos_label=1, **given_weight)
            theirs["specificity"] = peer.recall_score(labels, predicted, pos_label=0, **given_weight)
        for name, value in theirs.items():
            assert scored[name][row] == pytest.approx(value, abs=1e-12), name
        alone = peer.f1_score(
            labels, predicted, average=None, labels=range(num_classes), zero_division=0, **given_weight
        )
        assert np.nan_to_num(ours_f1[row]) == pytest.approx(alone)


@settings(max_examples=30, deadline=None)
@given(labelled, st.randoms())
def test_the_order_of_the_images_does_not_matter(drawn, random):
    labels, probabilities, _ = drawn
    order = list(range(len(labels)))
    random.shuffle(order)
    assert score(labels[order], probabilities[order]) == pytest.approx(score(labels, probabilities))


@settings(max_examples=30, deadline=None)
@given(labelled)
def test_a_weight_of_two_is_the_image_twice(drawn):
    labels, probabilities, weights = drawn
    repeats = weights[0].astype(int)
    repeated = score(np.repeat(labels, repeats), np.repeat(probabilities, repeats, axis=0))
    weighted = score_resamples(labels, probabilities, weights)
    assert {name: values[0] for name, values in weighted.items()} == pytest.approx(repeated)


def test_a_class_without_images_leaves_only_the_rankings_undefined():
    scored = score(np.array([0, 1, 1, 0]), np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]] * 2))
    assert np.isnan(scored["auroc"])
    assert np.isnan(scored["average_precision"])
    assert scored["accuracy"] == pytest.approx(0.5)
    assert scored["sensitivity"] == pytest.approx(0.5)


def test_one_class_alone_has_no_specificity():
    scored = score(np.array([1, 1]), two_columns([0.7, 0.2]))
    assert np.isnan(scored["specificity"])
    assert np.isnan(scored["auroc"])
    assert np.isnan(scored["average_precision"])
    assert scored["sensitivity"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [[1.0], [1.0]], "at least two classes"),
        ([0, 2], [[0.5, 0.5]] * 2, "labels from 0 to 1"),
        ([0, -1], [[0.5, 0.5]] * 2, "labels from 0 to 1"),
        ([0, 1], [[0.5, np.nan]] * 2, "not a finite number"),
    ],
)
def test_nonsense_is_refused(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        score(np.array(labels), np.array(probabilities))


def test_a_thousand_resamples_of_1500_images_take_less_than_a_second():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, 1500), rng.dirichlet([1, 1], 1500)
    weights = rng.integers(0, 3, (1000, 1500)).astype(float)
    start = time.process_time()
    score_resamples(labels, probabilities, weights)
    assert time.process_time() - start < 1.0
