"""Means over seeds: one seed is the plain score, several are their mean on the same drawn patients."""

import numpy as np
import pytest

from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.over_seeds import difference_over_seeds, score_over_seeds
from usfmae.evaluate.statistics import BootstrapConfig, paired_difference, score_with_intervals

CONFIG = BootstrapConfig(num_resamples=200)


@pytest.fixture
def answers():
    """Classes, three seeds of probabilities, and patients with three images each."""
    rng = np.random.default_rng(4)
    labels = np.arange(60) % 2
    right = np.eye(2)[labels]
    seeds = [0.3 * right + 0.7 * rng.dirichlet((1, 1), size=60) for _ in range(3)]
    return labels, seeds, np.arange(60) // 3


def test_one_seed_is_the_plain_score(answers):
    labels, seeds, groups = answers
    plain = score_with_intervals(labels, seeds[0], groups, config=CONFIG).metrics
    assert score_over_seeds(labels, seeds[:1], groups, config=CONFIG) == plain
    apart = paired_difference(labels, seeds[0], seeds[1], groups, config=CONFIG)
    assert difference_over_seeds(labels, seeds[:1], seeds[1:2], groups, config=CONFIG) == apart


def test_the_number_is_the_mean_of_the_seeds_in_any_order(answers):
    labels, seeds, groups = answers
    together = score_over_seeds(labels, seeds, groups, config=CONFIG)
    turned = score_over_seeds(labels, seeds[::-1], groups, config=CONFIG)
    for name in METRICS:
        alone = [
            score_with_intervals(labels, one, groups, config=CONFIG).metrics[name].value for one in seeds
        ]
        assert together[name].value == pytest.approx(np.mean(alone))
        assert turned[name].value == pytest.approx(together[name].value)


def test_seeds_that_agree_add_nothing_and_more_of_them_change_nothing(answers):
    labels, seeds, groups = answers
    alone = score_over_seeds(labels, seeds[:1], groups, config=CONFIG)
    thrice = score_over_seeds(labels, seeds[:1] * 3, groups, config=CONFIG)
    for name in METRICS:
        assert thrice[name].record() == pytest.approx(alone[name].record())


def test_the_spread_of_seeds_is_that_of_their_mean():
    """Every patient alike, so that nothing but seeds varies: all right, all wrong, all right, all right."""
    labels = np.arange(40) % 2
    right, wrong = np.eye(2)[labels], np.eye(2)[1 - labels]
    config = BootstrapConfig(num_resamples=20_000, level=0.6827)
    found = score_over_seeds(labels, [right, wrong, right, right], np.arange(40) // 2, config=config)[
        "accuracy"
    ]
    standard_error = np.std([1, 0, 1, 1], ddof=1) / 2  # .25
    assert found.value == 0.75
    draws = 1 - np.random.default_rng(0).binomial(3, 1 / 4, size=200_000) / 3
    assert draws.std() == pytest.approx(standard_error, rel=0.01)
    assert (found.low, found.high) == pytest.approx(np.quantile(draws, [0.15865, 0.84135]))


def test_seeds_that_drew_the_same_labels_are_compared_with_each_other():
    """Both methods follow the draw, the second always one image better: no doubt is left about which is."""
    labels = np.arange(40) % 2
    right = np.eye(2)[labels]
    first, second = [], []
    for num_wrong in (2, 10, 18):
        for side, num in ((first, num_wrong), (second, num_wrong - 1)):
            side.append(np.where((np.arange(40) < num)[:, None], 1 - right, right))
    gain = difference_over_seeds(labels, first, second, np.zeros(40, int) + np.arange(40), config=CONFIG)
    assert gain["accuracy"].value == pytest.approx(1 / 40)
    assert gain["accuracy"].low > -1e-12
    alone = score_over_seeds(labels, first, np.arange(40), config=CONFIG)["accuracy"]
    assert alone.high - alone.low > 0.3


def test_a_difference_turns_its_sign_with_the_sides_and_takes_other_numbers_of_seeds(answers):
    labels, seeds, groups = answers
    there = difference_over_seeds(labels, seeds, seeds[:2], groups, config=CONFIG)["auroc"]
    back = difference_over_seeds(labels, seeds[:2], seeds, groups, config=CONFIG)["auroc"]
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    means = [
        score_over_seeds(labels, some, groups, config=CONFIG)["auroc"].value for some in (seeds, seeds[:2])
    ]
    assert there.value == pytest.approx(means[1] - means[0])
