import numpy as np
import pytest
from scipy import stats

from usfmae.evaluate.folds_and_seeds import corrected_t_test, mean_over_runs

FIVE = 1 / 4
"""Test images per training image in five folds."""


def test_a_mean_over_five_folds_by_hand():
    # .70, .72, .74, .76, .78: mean .74, variance .001. Error sqrt((1/5 + 1/4) * .001) = .021213, and t with
    # 4 degrees of freedom leaves 2.5 % above 2.7764: bounds .74 -+ .058897.
    found = mean_over_runs(np.array([[0.70, 0.72, 0.74, 0.76, 0.78]]), test_to_train_ratio=FIVE)
    assert found.mean.value == pytest.approx(0.74)
    assert (found.mean.low, found.mean.high) == pytest.approx((0.681103, 0.798897), abs=1e-6)
    assert found.spread_folds == pytest.approx(np.sqrt(0.001))
    assert found.spread_seeds is None
    assert found.record()["num_folds"] == 5


def test_a_corrected_t_test_by_hand():
    # The gains' mean is .02, their variance .00025; error sqrt(.45 * .00025) = .010607, t = 1.8856.
    gains = np.array([[0.01, 0.03, 0.02, 0.04, 0.0]])
    first = np.array([[0.70, 0.72, 0.74, 0.76, 0.78]])
    found = corrected_t_test(first, first + gains, test_to_train_ratio=FIVE)
    assert found.t == pytest.approx(1.8856, abs=1e-4)
    assert found.degrees_of_freedom == 4
    assert found.p == pytest.approx(2 * stats.t.sf(1.8856, 4), abs=1e-5)
    assert found.difference.value == pytest.approx(0.02)
    assert found.difference.low < 0 < found.difference.high
    assert found.record()["test"] == "corrected-resampled-t"


def test_repeated_cross_validation_by_hand():
    # Bouckaert and Frank: 2 x 2 folds with gains 1, 2, 3, 6; mean 3, variance 14/3, folds of a half.
    # t = 3 / sqrt((1/4 + 1) * 14/3) = 1.2421 with 3 degrees of freedom.
    first = np.zeros((2, 2))
    found = corrected_t_test(
        first, np.array([[1.0, 2], [3, 6]]), test_to_train_ratio=1.0, folds_drawn_anew=True
    )
    assert found.t == pytest.approx(1.2421, abs=1e-4)
    assert found.degrees_of_freedom == 3


def test_without_the_correction_it_would_be_the_usual_t_test():
    first, second = np.random.default_rng(0).random((2, 1, 10))
    found = corrected_t_test(first, second, test_to_train_ratio=1e-12)
    usual = stats.ttest_rel(second[0], first[0])
    assert (found.t, found.p) == pytest.approx((usual.statistic, usual.pvalue))
    bounds = usual.confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((bounds.low, bounds.high))


def test_seeds_on_the_same_folds_are_averaged_and_add_no_folds():
    # Over seeds the folds have .71, .75, .79: variance .0016, error sqrt((1/3 + 1/2) * .0016) = .036515,
    # t with 2 degrees of freedom 4.3027.
    scores = np.array([[0.70, 0.74, 0.78], [0.72, 0.76, 0.80]])
    found = mean_over_runs(scores, test_to_train_ratio=1 / 2)
    assert found.mean.high - found.mean.value == pytest.approx(4.3027 * 0.036515, abs=1e-5)
    assert found.spread_seeds == pytest.approx(0.02 / np.sqrt(2))
    assert found.spread_folds == pytest.approx(0.04)
    copied = mean_over_runs(np.repeat(scores, 10, axis=0), test_to_train_ratio=1 / 2)
    assert (copied.mean.low, copied.mean.high) == pytest.approx((found.mean.low, found.mean.high))
    wrong = mean_over_runs(np.repeat(scores, 10, axis=0), test_to_train_ratio=1 / 2, folds_drawn_anew=True)
    assert wrong.mean.high - wrong.mean.low < 0.5 * (found.mean.high - found.mean.low)


def test_the_corrected_test_raises_few_false_alarms_where_the_usual_one_raises_many():
    # Nadeau and Bengio's case: a learner is the mean of its training half, its score on the other half. Two
    # of them look at different noise; ten random halves of the same 40 images, no true difference.
    corrected, usual = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        images = rng.normal(size=(2, 40))
        runs = []
        for _ in range(10):
            order = rng.permutation(40)
            train, test = order[:20], order[20:]
            learnt = images[:, train].mean(axis=1, keepdims=True)
            runs.append(((images[:, test] - learnt) ** 2).mean(axis=1))
        first, second = np.array(runs).T
        found = corrected_t_test(first[None], second[None], test_to_train_ratio=1.0, folds_drawn_anew=True)
        corrected.append(found.p < 0.05)
        usual.append(stats.ttest_rel(first, second).pvalue < 0.05)
    assert np.mean(corrected) < 0.08
    assert np.mean(usual) > 0.2


def test_a_fold_without_a_class_is_named_and_not_left_out():
    scores = np.array([[0.7, np.nan, 0.8], [0.7, 0.7, 0.8]])
    found = mean_over_runs(scores, test_to_train_ratio=1 / 2)
    assert found.mean.value is None
    assert found.mean.why == "not defined in 1 of 6 runs: a class has no image there"
    tested = corrected_t_test(scores, scores, test_to_train_ratio=1 / 2)
    assert (tested.t, tested.p) == (None, None)


def test_no_certainty_is_made_up():
    one = np.array([[0.7], [0.8]])
    found = mean_over_runs(one, test_to_train_ratio=FIVE)
    assert (found.mean.value, found.mean.low) == (0.75, None)
    assert "one fold only" in found.mean.why
    same = np.full((2, 5), 0.7)
    assert corrected_t_test(same, same, test_to_train_ratio=FIVE).p == 1
    all_alike = corrected_t_test(same, same + 0.1, test_to_train_ratio=FIVE)
    assert all_alike.difference.value == pytest.approx(0.1)
    assert all_alike.p is None


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one run"):
        mean_over_runs(np.zeros((0, 5)), test_to_train_ratio=FIVE)
    with pytest.raises(ValueError, match="more than 0, got 0"):
        mean_over_runs(np.zeros((1, 5)), test_to_train_ratio=0)
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        mean_over_runs(np.zeros((1, 5)), test_to_train_ratio=FIVE, level=95)
