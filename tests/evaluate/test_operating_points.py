import hashlib

import numpy as np
import pytest
from scipy import stats

from usfmae.base.errors import LeakError
from usfmae.evaluate.metrics import score
from usfmae.evaluate.operating_points import RATES, at_threshold, choose_threshold
from usfmae.evaluate.statistics import BootstrapConfig, score_with_intervals

CONFIG = BootstrapConfig(num_resamples=400)

# Positives .9, .8, .6, .4 and negatives .7, .5, .4, .2, .1; thresholds with sensitivity and specificity:
# .9 1/4 1   .8 2/4 1   .7 2/4 4/5   .6 3/4 4/5   .5 3/4 3/5   .4 1 2/5   .2 1 1/5   .1 1 0
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.6, 0.4, 0.7, 0.5, 0.4, 0.2, 0.1])


def two_sided(positive):
    return np.stack([1 - positive, positive], axis=1)


def names_of(num_images, *, where="test"):
    return [f"{where}/{number}.png" for number in range(num_images)]


def chosen(rule, at_least=None):
    return choose_threshold(LABELS, two_sided(SCORES), names_of(9, where="val"), rule=rule, at_least=at_least)


def guesses(num_images, *, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num_images)
    return labels, two_sided(1 / (1 + np.exp(-rng.normal(1.5 * (2 * labels - 1), 1.5))))


@pytest.mark.parametrize(
    ("rule", "at_least", "value", "sensitivity", "specificity"),
    [
        ("sensitivity", 0.75, 0.6, 3 / 4, 4 / 5),
        ("sensitivity", 0.76, 0.4, 1, 2 / 5),
        ("sensitivity", 1.0, 0.4, 1, 2 / 5),
        ("sensitivity", 0.01, 0.9, 1 / 4, 1),
        ("specificity", 0.8, 0.6, 3 / 4, 4 / 5),
        ("specificity", 0.5, 0.5, 3 / 4, 3 / 5),
        ("specificity", 1.0, 0.8, 2 / 4, 1),
        ("youden", None, 0.6, 3 / 4, 4 / 5),
    ],
)
def test_thresholds_by_hand(rule, at_least, value, sensitivity, specificity):
    found = chosen(rule, at_least)
    assert found.value == value
    assert (found.sensitivity, found.specificity) == pytest.approx((sensitivity, specificity))


def test_where_no_threshold_is_specific_enough_nothing_is_called():
    found = choose_threshold(
        np.array([0, 1]), two_sided(np.array([0.9, 0.1])), ["a", "b"], rule="specificity", at_least=0.9
    )
    assert (found.value, found.sensitivity, found.specificity) == (np.inf, 0, 1)
    assert found.record()["threshold"] is None
    point = at_threshold(found, LABELS, two_sided(SCORES), np.arange(9), names_of(9), config=CONFIG)
    assert point.rates["ppv"].record()["why"] == "not defined: no image is called positive"


def test_of_equal_youden_indices_the_more_sensitive_is_taken():
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])  # .9 and .7 both reach 1.5
    assert choose_threshold(labels, two_sided(scores), list("abcd"), rule="youden").value == 0.7


def test_a_wanted_share_survives_rounding():
    labels, scores = np.repeat([1, 0], 10), np.concatenate([np.arange(10), np.zeros(10)]) / 10
    found = choose_threshold(labels, two_sided(scores), names_of(20), rule="sensitivity", at_least=0.1)
    assert found.value == 0.9  # 1 - 9 / 10 is a little below 0.1


def test_rates_on_test_images_by_hand():
    # At .6: of 3 positives .7 and .6 are called, of 4 negatives .65.
    labels, scores = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([0.7, 0.6, 0.5, 0.65, 0.3, 0.2, 0.1])
    point = at_threshold(
        chosen("youden"), labels, two_sided(scores), np.arange(7), names_of(7), config=CONFIG
    )
    values = [point.rates[name].value for name in RATES]
    assert values == pytest.approx([2 / 3, 3 / 4, 2 / 3, 3 / 4])
    counts = (
        point.num_true_positive,
        point.num_false_positive,
        point.num_false_negative,
        point.num_true_negative,
    )
    assert counts == (2, 1, 1, 3)
    record = point.record()
    assert (record["rule"], record["threshold"], record["num_groups"]) == ("youden", 0.6, 7)
    assert record["sensitivity"]["value"] == pytest.approx(2 / 3)


def test_bounds_are_those_of_the_metrics_at_one_half():
    labels, probabilities = guesses(200)
    groups = np.arange(200) // 2
    half = choose_threshold(
        np.array([0, 1]), two_sided(np.array([0.2, 0.5])), ["a", "b"], rule="sensitivity", at_least=1
    )
    point = at_threshold(half, labels, probabilities, groups, names_of(200), config=CONFIG)
    scored = score_with_intervals(labels, probabilities, groups, config=CONFIG).metrics
    for name in ("sensitivity", "specificity"):
        assert point.rates[name] == scored[name]
    assert point.rates["sensitivity"].value == pytest.approx(score(labels, probabilities)["sensitivity"])


def test_bounds_of_predictive_values_are_the_binomial_ones():
    labels, probabilities = guesses(2000)
    point = at_threshold(
        chosen("youden"), labels, probabilities, np.arange(2000), names_of(2000), config=CONFIG
    )
    called = point.num_true_positive + point.num_false_positive
    for name, count in (("ppv", called), ("npv", 2000 - called)):
        found = point.rates[name]
        half_width = 1.96 * np.sqrt(found.value * (1 - found.value) / count)
        assert found.high - found.low == pytest.approx(2 * half_width, rel=0.15)


def test_a_rate_of_one_is_not_certain_and_counts_patients():
    # 10 positive patients of 2 images, all found: Clopper and Pearson's lower bound of 10 in 10 is .6915.
    labels = np.repeat([1, 0], 20)
    scores = np.where(labels == 1, 0.9, 0.1)
    point = at_threshold(
        chosen("youden"), labels, two_sided(scores), np.arange(40) // 2, names_of(40), config=CONFIG
    )
    exact = stats.binomtest(10, 10).proportion_ci(0.95, method="exact")
    found = point.rates["sensitivity"]
    assert (found.value, found.low, found.high) == pytest.approx((1, exact.low, 1))
    none = at_threshold(
        chosen("youden"), labels, two_sided(1 - scores), np.arange(40) // 2, names_of(40), config=CONFIG
    ).rates["sensitivity"]
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, 1 - exact.low))


def test_a_threshold_is_not_judged_on_the_images_it_was_chosen_on():
    reused = [*names_of(8), "val/3.png"]
    with pytest.raises(
        LeakError, match=r"threshold 0.6 \(youden\) was chosen on 1 of these 9 images \(first: val/3.png\)"
    ):
        at_threshold(chosen("youden"), LABELS, two_sided(SCORES), np.arange(9), reused, config=CONFIG)


def test_the_fingerprint_is_of_the_names_in_any_order():
    names = names_of(9, where="val")
    found = [
        choose_threshold(
            LABELS[order], two_sided(SCORES[order]), [names[i] for i in order], rule="youden"
        ).chosen_on.sha256
        for order in (np.arange(9), np.arange(9)[::-1])
    ]
    assert found[0] == found[1] == hashlib.sha256("\n".join(names).encode()).hexdigest()
    other = choose_threshold(LABELS, two_sided(SCORES), names_of(9), rule="youden").chosen_on.sha256
    assert other != found[0]


def test_one_of_many_classes_is_found_against_all_others():
    labels = np.array([2, 2, 0, 1])
    probabilities = np.array([[0.1, 0.1, 0.8], [0.2, 0.2, 0.6], [0.5, 0.2, 0.3], [0.1, 0.8, 0.1]])
    found = choose_threshold(labels, probabilities, list("abcd"), rule="youden", positive=2)
    assert (found.value, found.sensitivity, found.specificity) == (0.6, 1, 1)
    with pytest.raises(ValueError, match="which of 3 classes is to be found"):
        choose_threshold(labels, probabilities, list("abcd"), rule="youden")


def test_bad_input_is_refused():
    scores, names = two_sided(SCORES), names_of(9)
    with pytest.raises(ValueError, match="images on both sides, got 0 of 9"):
        choose_threshold(np.zeros(9, int), scores, names, rule="youden")
    with pytest.raises(ValueError, match=r"not for youden = 0\.9"):
        choose_threshold(LABELS, scores, names, rule="youden", at_least=0.9)
    with pytest.raises(ValueError, match="not for sensitivity = None"):
        choose_threshold(LABELS, scores, names, rule="sensitivity")
    with pytest.raises(ValueError, match="above 0 and at most at 1, got 90"):
        choose_threshold(LABELS, scores, names, rule="sensitivity", at_least=90)
    with pytest.raises(ValueError, match="not a finite number"):
        choose_threshold(LABELS, scores * np.nan, names, rule="youden")
