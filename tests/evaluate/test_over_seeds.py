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


def test_the_number_is_the_mean_of_the_seeds_and_their_order_does_not_matter(answers):
    labels, seeds, groups = answers
    together = score_over_seeds(labels, seeds, groups, config=CONFIG)
    turned = score_over_seeds(labels, seeds[::-1], groups, config=CONFIG)
    for name in METRICS:
        alone = [
            score_with_intervals(labels, one, groups, config=CONFIG).metrics[name].value for one in seeds
        ]
        assert together[name].value == pytest.approx(np.mean(alone))
        assert turned[name].record() == pytest.approx(together[name].record())


def test_a_mean_is_surer_than_its_seeds(answers):
    labels, seeds, groups = answers
    together = score_over_seeds(labels, seeds, groups, config=CONFIG)["accuracy"]
    alone = [score_over_seeds(labels, [one], groups, config=CONFIG)["accuracy"] for one in seeds]
    assert together.high - together.low < min(one.high - one.low for one in alone)


def test_a_difference_turns_its_sign_with_the_sides_and_takes_other_numbers_of_seeds(answers):
    labels, seeds, groups = answers
    there = difference_over_seeds(labels, seeds, seeds[:2], groups, config=CONFIG)["auroc"]
    back = difference_over_seeds(labels, seeds[:2], seeds, groups, config=CONFIG)["auroc"]
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    means = [
        score_over_seeds(labels, some, groups, config=CONFIG)["auroc"].value for some in (seeds, seeds[:2])
    ]
    assert there.value == pytest.approx(means[1] - means[0])
