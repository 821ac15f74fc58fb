import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.evaluate.patient_fusion import bags_of, fuse_probabilities, mean_features
from usfmae.evaluate.predictions import Predictions, per_group

PROBABILITIES = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
BAGS = bags_of(["b", "a", "b"], np.array([0, 0, 0]))


def test_by_hand():
    assert BAGS.names == ("b", "a")
    assert [members.tolist() for members in BAGS.members] == [[0, 2], [1]]
    np.testing.assert_allclose(fuse_probabilities(PROBABILITIES, BAGS), [[0.55, 0.45], [0.5, 0.5]])
    largest = fuse_probabilities(PROBABILITIES, BAGS, how="max")
    np.testing.assert_allclose(largest, [[0.9 / 1.7, 0.8 / 1.7], [0.5, 0.5]])
    # Odds 9 and 1/4: their geometric mean is 1.5.
    odds = fuse_probabilities(PROBABILITIES, BAGS, how="log-odds")
    np.testing.assert_allclose(odds, [[0.6, 0.4], [0.5, 0.5]])
    np.testing.assert_allclose(mean_features(np.array([[1.0], [7.0], [3.0]]), BAGS), [[2.0], [7.0]])


def test_the_worst_finding_decides_else_the_most_frequent():
    groups, labels = ["a", "a", "a", "b", "b", "b"], np.array([0, 0, 1, 2, 2, 0])
    bags = bags_of(groups, labels, positive=1)
    assert bags.labels.tolist() == [1, 2]
    assert bags.num_mixed == 2
    assert bags_of(groups, labels).labels.tolist() == [0, 2]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["mean", "max", "log-odds"]))
def test_rows_sum_to_one_and_the_order_of_pictures_does_not_matter(seed, how):
    rng = np.random.default_rng(seed)
    groups, labels = [f"p{one}" for one in rng.integers(0, 6, 20)], rng.integers(0, 3, 20)
    probabilities, order = rng.dirichlet([0.3] * 3, 20), rng.permutation(20)
    bags, shuffled = bags_of(groups, labels), bags_of([groups[i] for i in order], labels[order])
    fused = fuse_probabilities(probabilities, bags, how=how)
    np.testing.assert_allclose(fused.sum(axis=1), 1)
    again = dict(
        zip(shuffled.names, fuse_probabilities(probabilities[order], shuffled, how=how), strict=True)
    )
    for name, row in zip(bags.names, fused, strict=True):
        np.testing.assert_allclose(again[name], row)


def test_the_mean_is_what_results_report_per_patient():
    rng = np.random.default_rng(0)
    groups, labels = tuple(f"p{one}" for one in rng.integers(0, 6, 20)), rng.integers(0, 2, 20)
    probabilities = rng.dirichlet([1, 1], 20)
    names = tuple(map(str, range(20)))
    reported, mixed = per_group(
        Predictions(("x", "y"), names, groups, ("f",) * 20, labels, probabilities), positive=1
    )
    bags = bags_of(groups, labels, positive=1)
    assert (bags.names, bags.num_mixed) == (reported.groups, mixed)
    np.testing.assert_array_equal(bags.labels, reported.labels)
    np.testing.assert_allclose(fuse_probabilities(probabilities, bags), reported.probabilities)


def test_a_picture_that_is_sure_of_two_contradictions_is_no_division_by_zero():
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    bags = bags_of(["a", "a"], np.array([0, 0]))
    np.testing.assert_allclose(fuse_probabilities(sure, bags, how="log-odds"), [[0.5, 0.5]])


def test_chosen_bags_come_in_the_order_asked_for():
    chosen = BAGS.chosen([1, 0])
    assert chosen.names == ("a", "b")
    assert chosen.members[1].tolist() == [0, 2]


def test_groups_and_labels_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="1 groups for 2 labels"):
        bags_of(["a"], np.array([0, 1]))
