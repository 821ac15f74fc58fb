"""ROC curves: areas, shapes, bands."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from usfmae.evaluate.predictions import Predictions
from usfmae.evaluate.roc import roc_curve
from usfmae.evaluate.statistics import BootstrapConfig

FEW = BootstrapConfig(num_resamples=200)


def predictions(labels: np.ndarray, probabilities: np.ndarray, per_patient: int = 1) -> Predictions:
    return Predictions(
        classes=tuple(f"class {i}" for i in range(probabilities.shape[1])),
        paths=tuple(map(str, range(len(labels)))),
        groups=tuple(f"patient {i // per_patient}" for i in range(len(labels))),
        folds=("all",) * len(labels),
        labels=labels.astype(np.int64),
        probabilities=probabilities,
    )


def random_predictions(
    num_classes: int, n: int = 300, skill: float = 1.0, per_patient: int = 1
) -> Predictions:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, num_classes, n // per_patient), per_patient)
    shared = np.repeat(rng.standard_normal((n // per_patient, num_classes)), per_patient, axis=0)
    logits = shared + skill * np.eye(num_classes)[labels]
    return predictions(labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), per_patient)


def test_the_curve_by_hand():
    # Scores .9 (sick), .8 (well), .7 (sick), .1 (well): up, right, up, right.
    score = np.array([0.9, 0.8, 0.7, 0.1])
    curve = roc_curve(
        predictions(np.array([1, 0, 1, 0]), np.stack([1 - score, score], axis=1)), bootstrap=FEW
    )
    at = dict(zip(curve.false_positive.round(3), curve.true_positive, strict=True))
    assert at[0.0] == at[0.25] == 0.5
    assert at[0.5] == at[1.0] == 1.0
    assert curve.auroc == 0.75


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_the_area_is_that_of_scikit_learn(num_classes):
    made = random_predictions(num_classes)
    curve = roc_curve(made, bootstrap=FEW)
    scores = made.probabilities[:, 1] if num_classes == 2 else made.probabilities
    expected = roc_auc_score(made.labels, scores, multi_class="ovr", average="macro")
    assert curve.auroc == pytest.approx(expected, abs=1e-12)
    assert np.trapezoid(curve.true_positive, curve.false_positive) == pytest.approx(expected, abs=0.01)


def test_the_other_positive_class_mirrors_the_curve():
    made = random_predictions(2)
    assert roc_curve(made, positive=0, bootstrap=FEW).auroc == pytest.approx(
        roc_curve(made, bootstrap=FEW).auroc
    )


def test_the_band_holds_the_curve_and_both_rise():
    curve = roc_curve(random_predictions(3), bootstrap=FEW)
    for line in (curve.low, curve.true_positive, curve.high):
        assert (np.diff(line) >= -1e-12).all()
    assert (curve.low <= curve.true_positive + 0.02).all()
    assert (curve.true_positive <= curve.high + 0.02).all()


def test_copies_of_a_patients_images_do_not_narrow_the_band():
    alone = roc_curve(random_predictions(2, n=100), bootstrap=FEW)
    copied = roc_curve(random_predictions(2, n=400, per_patient=4), bootstrap=FEW)
    np.testing.assert_allclose(copied.high - copied.low, alone.high - alone.low, atol=1e-9)


def test_equal_scores_are_the_line_of_chance():
    made = predictions(np.arange(40) % 2, np.full((40, 2), 0.5))
    curve = roc_curve(made, bootstrap=FEW)
    np.testing.assert_allclose(curve.true_positive, curve.false_positive)


def test_a_missing_class_has_no_curve():
    assert roc_curve(predictions(np.zeros(5), np.full((5, 2), 0.5)), bootstrap=FEW) is None
