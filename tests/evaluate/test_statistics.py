import numpy as np
import pytest
from scipy import stats

from usfmae.evaluate import statistics
from usfmae.evaluate.metrics import METRICS, score
from usfmae.evaluate.statistics import BootstrapConfig, paired_difference, score_with_intervals

CONFIG = BootstrapConfig(num_resamples=400)


def guesses(num_images, *, num_classes=2, skill=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    probabilities = rng.dirichlet(np.ones(num_classes), num_images)
    probabilities[np.arange(num_images), labels] += skill
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_every_interval_holds_its_value(num_classes, method):
    labels, probabilities = guesses(200, num_classes=num_classes)
    scored = score_with_intervals(
        labels, probabilities, np.arange(200) // 2, config=BootstrapConfig(method=method)
    )
    assert tuple(scored.metrics) == METRICS
    assert scored.num_groups == 100
    plain = score(labels, probabilities)
    for name, interval in scored.metrics.items():
        assert interval.value == pytest.approx(plain[name])
        assert interval.low < interval.value < interval.high
        assert interval.high - interval.low < 0.25
    assert len(scored.f1_per_class) == num_classes


def test_the_interval_of_accuracy_is_the_binomial_one():
    # 300 single-image patients, 210 right: the normal approximation gives 0.7 +/- 1.96 * 0.0265.
    labels = np.tile([0, 1], 150)
    right = np.arange(300) < 210
    probabilities = np.eye(2)[np.where(right, labels, 1 - labels)]
    interval = score_with_intervals(
        labels, probabilities, np.arange(300), config=BootstrapConfig(num_resamples=4000)
    ).metrics["accuracy"]
    half_width = 1.96 * np.sqrt(0.7 * 0.3 / 300)
    assert interval.low == pytest.approx(0.7 - half_width, abs=0.006)
    assert interval.high == pytest.approx(0.7 + half_width, abs=0.006)


def test_bca_agrees_with_scipy():
    labels, probabilities = guesses(60)
    right = (probabilities.argmax(axis=1) == labels).astype(float)
    ours = score_with_intervals(
        labels, probabilities, np.arange(60), config=BootstrapConfig(num_resamples=20_000, method="bca")
    ).metrics["accuracy"]
    theirs = stats.bootstrap(
        (right,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.018)  # one image is 0.0167


def test_bca_quantiles_by_hand():
    # Half of the draws lie below the value: no bias. Leaving one out gives 0, 3, 3, whose mean is 2, so the
    # acceleration is (8 - 1 - 1) / (6 * (4 + 1 + 1)^1.5) = 0.0680.
    # The lower quantile is Phi(-1.96 / (1 + 0.0680 * 1.96)) = Phi(-1.7295), the upper Phi(2.2613).
    drawn = np.array([-2.0, -1.0, 1.0, 2.0])
    ratios = statistics._bca_ratios(0.0, drawn, np.array([0.0, 3.0, 3.0]), np.array([0.025, 0.975]))
    assert ratios == pytest.approx([0.04186, 0.98813], abs=1e-4)


def test_patients_left_out_in_parts_give_nearly_the_bounds_of_one_by_one(monkeypatch):
    labels, probabilities = guesses(600, skill=0.8)
    accurate = {}
    for parts in (600, 100):
        monkeypatch.setattr(statistics, "MAX_LEFT_OUT", parts)
        scored = score_with_intervals(labels, probabilities, np.arange(600), config=BootstrapConfig())
        accurate[parts] = scored.metrics["auroc"]
    one_by_one, in_parts = accurate[600], accurate[100]
    width = one_by_one.high - one_by_one.low
    assert (in_parts.low, in_parts.high) == pytest.approx((one_by_one.low, one_by_one.high), abs=width / 100)
    plain = score_with_intervals(
        labels, probabilities, np.arange(600), config=BootstrapConfig(method="percentile")
    ).metrics["auroc"]
    assert abs(plain.low - one_by_one.low) > 2 * abs(in_parts.low - one_by_one.low)


def test_copies_of_a_patients_image_add_no_certainty():
    labels, probabilities = guesses(80)
    patients = np.arange(80)
    once = score_with_intervals(labels, probabilities, patients, config=CONFIG)
    copied = [np.repeat(part, 4, axis=0) for part in (labels, probabilities, patients)]
    grouped = score_with_intervals(*copied, config=CONFIG)
    ungrouped = score_with_intervals(copied[0], copied[1], np.arange(320), config=CONFIG)
    for name in METRICS:
        assert grouped.metrics[name].low == pytest.approx(once.metrics[name].low)
        honest = grouped.metrics[name].high - grouped.metrics[name].low
        naive = ungrouped.metrics[name].high - ungrouped.metrics[name].low
        assert honest > 1.5 * naive  # sqrt(4) = 2 in the limit


def test_the_same_seed_draws_the_same_interval_in_parts_or_at_once(monkeypatch):
    labels, probabilities = guesses(50)
    groups = np.arange(50) // 3
    for method in ("percentile", "bca"):
        config = BootstrapConfig(num_resamples=300, method=method)
        whole = score_with_intervals(labels, probabilities, groups, config=config)
        with monkeypatch.context() as patched:
            patched.setattr(statistics, "MAX_CELLS", 50 * 7)
            assert score_with_intervals(labels, probabilities, groups, config=config) == whole
    other = score_with_intervals(
        labels, probabilities, groups, config=BootstrapConfig(num_resamples=300, seed=1)
    )
    assert other.metrics["auroc"].low != whole.metrics["auroc"].low


def test_resamples_that_lose_a_class_are_counted_and_left_out():
    # One of 6 patients is malignant; a resample misses it with probability (5/6)^6 = 0.335.
    labels = np.array([0, 0, 0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.4, 0.6], [0.45, 0.55]])
    scored = score_with_intervals(labels, probabilities, np.arange(6), config=BootstrapConfig())
    assert scored.num_skipped == pytest.approx(335, abs=50)
    assert scored.metrics["auroc"].low is not None


def test_no_interval_is_made_up():
    labels, probabilities = guesses(6)
    labels[:2] = [0, 1]
    one_patient = score_with_intervals(labels, probabilities, np.zeros(6, int), config=CONFIG)
    assert one_patient.metrics["accuracy"].value is not None
    assert one_patient.metrics["accuracy"].low is None
    assert "one patient" in one_patient.metrics["accuracy"].why

    two_patients = score_with_intervals(
        np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), np.arange(2), config=CONFIG
    )  # only the draw (patient 1, patient 2) holds both classes: one half of all
    assert two_patients.num_skipped == pytest.approx(200, abs=50)

    rare = np.zeros(40, int)
    rare[:4] = [1, 2, 3, 4]
    five_classes = score_with_intervals(rare, np.eye(5)[rare], np.arange(40), config=CONFIG)
    assert five_classes.metrics["accuracy"].low is None
    assert "lost a class" in five_classes.metrics["accuracy"].why


def test_an_undefined_metric_says_why():
    scored = score_with_intervals(
        np.array([0, 0, 1, 1]), np.eye(3)[[0, 1, 1, 1]], np.arange(4), config=CONFIG
    )
    record = scored.metrics["auroc"].record()
    assert record == {
        "value": None,
        "low": None,
        "high": None,
        "why": "not defined: a class has no image here",
    }
    assert "why" not in scored.metrics["accuracy"].record()


def test_a_classifier_does_not_differ_from_itself():
    labels, probabilities = guesses(60)
    differences = paired_difference(labels, probabilities, probabilities, np.arange(60), config=CONFIG)
    assert all((gap.value, gap.low, gap.high) == (0, 0, 0) for gap in differences.values())


def test_pairing_sees_a_gain_that_two_intervals_cannot():
    # The second classifier repairs 8 of the first one's errors and breaks nothing.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    wrong = np.arange(200) < 60
    first = np.eye(2)[np.where(wrong, 1 - labels, labels)]
    second = np.eye(2)[np.where(wrong & (np.arange(200) >= 8), 1 - labels, labels)]
    gap = paired_difference(labels, first, second, np.arange(200), config=CONFIG)["accuracy"]
    assert gap.value == pytest.approx(0.04)
    assert gap.low > 0
    before = score_with_intervals(labels, first, np.arange(200), config=CONFIG).metrics["accuracy"]
    after = score_with_intervals(labels, second, np.arange(200), config=CONFIG).metrics["accuracy"]
    assert before.high > after.low
