import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from usfmae.base.errors import LeakError
from usfmae.evaluate.calibration import (
    CalibrationConfig,
    at_temperature,
    brier_score,
    calibration,
    fit_temperature,
    reliability_curve,
)
from usfmae.evaluate.statistics import BootstrapConfig

FAST = BootstrapConfig(num_resamples=200)


def names_of(num_images, *, where="val"):
    return [f"{where}/{number}.png" for number in range(num_images)]


def two_sided(positive):
    positive = np.array(positive, dtype=float)
    return np.stack([1 - positive, positive], axis=1)


def honest(num_images, *, num_classes=4, seed=0):
    """Labels that are drawn from the very probabilities."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(num_classes), num_images)
    labels = (probabilities.cumsum(axis=1) > rng.random((num_images, 1))).argmax(axis=1)
    return labels, probabilities


def test_a_curve_of_two_bins_by_hand():
    # Up to .5: .1, .3, .5 with one of three true, gap .3 - 1/3; above: .6, .9 with both true, gap .75 - 1.
    # ECE (3 * 1/30 + 2 * 1/4) / 5 = .12, MCE .25. Brier (.01 + .09 + .25 + .16 + .01) / 5 = .104.
    labels = np.array([0, 0, 1, 1, 1])
    found = calibration(
        labels, two_sided([0.1, 0.3, 0.5, 0.6, 0.9]), np.arange(5), config=CalibrationConfig(num_bins=2)
    )
    assert found.curve.said == pytest.approx([0.3, 0.75])
    assert found.curve.found == pytest.approx([1 / 3, 1])
    assert found.curve.num_images.tolist() == [3, 2]
    assert found.curve.expected_error == pytest.approx(0.12)
    assert found.curve.maximum_error == pytest.approx(0.25)
    assert found.brier.value == pytest.approx(0.104)
    assert found.brier.low < 0.104 < found.brier.high
    record = found.record()
    assert (record["num_bins"], record["curve"]["num_images"]) == (2, [3, 2])


def test_bins_of_equal_mass_by_hand():
    # Six values in three bins of two; .2 twice stays together and the first bin takes three.
    said = np.array([0.9, 0.1, 0.2, 0.2, 0.6, 0.7])
    curve = reliability_curve(said, said > 0.15, config=CalibrationConfig(num_bins=3, bins="equal_mass"))
    assert curve.num_images.tolist() == [3, 1, 2]
    assert curve.said == pytest.approx([0.5 / 3, 0.6, 0.8])
    assert curve.found == pytest.approx([2 / 3, 1, 1])
    even = reliability_curve(
        np.arange(100) / 100, np.arange(100) > 50, config=CalibrationConfig(num_bins=10, bins="equal_mass")
    )
    assert even.num_images.tolist() == [10] * 10


def test_a_value_on_an_edge_belongs_to_the_bin_below():
    said = np.array([0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 1.0])
    curve = reliability_curve(said, said > 2, config=CalibrationConfig(num_bins=10))
    assert curve.said == pytest.approx([0.05, 0.2, 0.3, 0.6, 0.7, 1.0])


@pytest.mark.parametrize("bins", ["equal_width", "equal_mass"])
def test_perfect_calibration_has_no_error(bins):
    config = CalibrationConfig(num_bins=5, bins=bins)
    exact = reliability_curve(
        np.repeat([0.25, 0.5, 0.75], 4), np.array([1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0]) > 0, config=config
    )
    assert exact.expected_error == 0
    assert exact.maximum_error == 0
    labels, probabilities = honest(30_000)
    found = calibration(labels, probabilities, np.arange(30_000) // 500, config=config, bootstrap=FAST)
    assert found.curve.expected_error < 0.015


def test_sure_answers_that_are_wrong_have_the_largest_error():
    labels = np.array([0, 1, 0, 1])
    found = calibration(labels, np.eye(2)[1 - labels], np.arange(4), bootstrap=FAST)
    assert (found.curve.expected_error, found.curve.maximum_error, found.brier.value) == (1, 1, 1)


def test_more_than_two_classes_are_judged_by_their_confidence():
    # The largest are .5 (right) and .6 (wrong), in one bin each: gaps .5 and .6.
    probabilities = np.array([[0.5, 0.3, 0.2], [0.6, 0.2, 0.2]])
    found = calibration(np.array([0, 1]), probabilities, np.arange(2), bootstrap=FAST)
    assert found.curve.expected_error == pytest.approx(0.55)


def test_which_class_is_positive_turns_the_curve():
    labels, probabilities = honest(50, num_classes=2)
    one = calibration(labels, probabilities, np.arange(50), positive=1, bootstrap=FAST).curve
    zero = calibration(labels, probabilities, np.arange(50), positive=0, bootstrap=FAST).curve
    assert zero.said[::-1] == pytest.approx(1 - one.said)
    last = calibration(labels, probabilities, np.arange(50), bootstrap=FAST).curve
    assert last.said.tolist() == one.said.tolist()


@pytest.mark.parametrize("num_classes", [2, 4])
def test_brier_scores_are_scikit_learns(num_classes):
    labels, probabilities = honest(200, num_classes=num_classes)
    said = probabilities[:, 1] if num_classes == 2 else probabilities
    assert brier_score(labels, probabilities) == pytest.approx(brier_score_loss(labels, said))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_temperature_is_found_again(temperature):
    labels, probabilities = honest(10_000)
    spoilt = at_temperature(probabilities, 1 / temperature)
    found = fit_temperature(labels, spoilt, names_of(10_000))
    assert found.value == pytest.approx(temperature, rel=0.05)
    assert found.likelihood_after >= found.likelihood_before
    mended = found.apply(spoilt, names_of(10_000, where="test"))
    assert mended == pytest.approx(probabilities, abs=0.03)


def test_a_temperature_by_hand():
    # One kind of image, said to be .8; 3 of 5 are. Best is .6: odds 4 become 1.5, T = log 4 / log 1.5.
    labels = np.array([1, 1, 1, 0, 0])
    found = fit_temperature(labels, two_sided([0.8] * 5), names_of(5))
    assert found.value == pytest.approx(np.log(4) / np.log(1.5), rel=1e-4)
    assert found.apply(two_sided([0.8]), ["test.png"])[0] == pytest.approx([0.4, 0.6], abs=1e-5)
    assert found.likelihood_after == pytest.approx(0.6 * np.log(0.6) + 0.4 * np.log(0.4))


def test_a_temperature_keeps_the_order_of_the_classes_and_the_sum():
    _, probabilities = honest(300)
    for temperature in (0.1, 0.7, 3.0, 40.0):
        other = at_temperature(probabilities, temperature)
        assert (np.argsort(other, axis=1) == np.argsort(probabilities, axis=1)).all()
        assert other.sum(axis=1) == pytest.approx(np.ones(300))
    assert at_temperature(probabilities, 1.0) == pytest.approx(probabilities)


def test_a_sure_mistake_does_not_break_the_fit():
    found = fit_temperature(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], names_of(3))
    assert np.isfinite(found.likelihood_before)
    assert 1 < found.value < 50


def test_a_temperature_is_not_judged_on_the_images_it_was_fitted_on():
    labels, probabilities = honest(10)
    found = fit_temperature(labels, probabilities, names_of(10))
    with pytest.raises(
        LeakError, match=r"temperature .* was chosen on 2 of these 3 images \(first: val/0.png\)"
    ):
        found.apply(probabilities[:3], ["test/0.png", "val/4.png", "val/0.png"])
    assert len(found.record()["fitted_on"]["sha256"]) == 64


def test_bad_input_is_refused():
    labels, probabilities = honest(10)
    with pytest.raises(ValueError, match="10 of 10 images do not sum to 1"):
        brier_score(labels, probabilities * 2)
    with pytest.raises(ValueError, match="probabilities from 0 to 1"):
        calibration(labels, np.log(probabilities), np.arange(10))
    with pytest.raises(ValueError, match="10 images need as many different names, got 1"):
        fit_temperature(labels, probabilities, ["a.png"] * 10)
    with pytest.raises(ValueError, match="3 images need as many different names, got 2"):
        fit_temperature(labels, probabilities, names_of(10)).apply(probabilities[:3], ["a", "b"])
