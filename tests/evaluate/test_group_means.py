import numpy as np
import pytest
from scipy import stats

from usfmae.evaluate.group_means import mean_with_interval
from usfmae.evaluate.statistics import BootstrapConfig, score_with_intervals

CONFIG = BootstrapConfig(num_resamples=2000)


def test_the_interval_of_independent_images_is_that_of_the_normal_approximation():
    # Standard error of 400 draws of deviation 2: 0.1, so the interval is about the mean -+ 0.196.
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = mean_with_interval(values, np.arange(400), config=CONFIG)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_copies_of_an_image_of_a_patient_make_nothing_surer():
    values, groups = np.random.default_rng(1).normal(size=60), np.arange(60)
    once = mean_with_interval(values, groups, config=CONFIG)
    copied = mean_with_interval(np.tile(values, 9), np.tile(groups, 9), config=CONFIG)
    assert copied.low == pytest.approx(once.low)
    assert copied.high == pytest.approx(once.high)


def test_accuracy_is_the_mean_of_right_answers_with_the_interval_of_statistics():
    # The draws of patients are the same for equal seeds, so the bounds are the same to the last digits.
    rng = np.random.default_rng(2)
    labels, groups = np.tile([0, 1], 40), rng.integers(0, 20, 80)  # patients of unequal weight
    probabilities = rng.dirichlet([1, 1], 80)
    right = (probabilities.argmax(axis=1) == labels).astype(float)
    accuracy = score_with_intervals(labels, probabilities, groups, config=CONFIG).metrics["accuracy"]
    found = mean_with_interval(right, groups, config=CONFIG)
    assert (found.value, found.low, found.high) == pytest.approx(
        (accuracy.value, accuracy.low, accuracy.high)
    )


def test_one_patient_has_no_interval():
    found = mean_with_interval(np.array([1.0, 3.0]), np.array([7, 7]), config=CONFIG)
    assert (found.value, found.low, found.high) == (2.0, None, None)
    assert "one patient" in found.why


@pytest.mark.parametrize("values", [[], [1.0, np.nan]])
def test_nothing_and_not_a_number_have_no_mean(values):
    with pytest.raises(ValueError, match=f"here are {len(values)}"):
        mean_with_interval(np.array(values), np.arange(len(values)), config=CONFIG)


@pytest.mark.parametrize(("method", "theirs"), [("bca", "BCa"), ("percentile", "percentile")])
def test_the_interval_of_skewed_numbers_is_that_of_scipy(method, theirs):
    values = np.random.default_rng(3).lognormal(0, 1, 120)
    config = BootstrapConfig(num_resamples=20_000, method=method)
    found = mean_with_interval(values, np.arange(120), config=config)
    wanted = stats.bootstrap(
        (values,), np.mean, method=theirs, n_resamples=20_000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(wanted), abs=0.015)
