from itertools import product

import numpy as np
import pytest
from scipy import stats

from usfmae.evaluate import paired_tests
from usfmae.evaluate.metrics import score
from usfmae.evaluate.paired_tests import (
    PermutationConfig,
    holm_correction,
    mcnemar_test,
    permutation_test,
    wilcoxon_test,
)

CONFIG = PermutationConfig(num_permutations=2000)


def answers(labels, *, wrong):
    """Certain answers that are wrong at the given places."""
    said = labels.copy()
    said[list(wrong)] = 1 - said[list(wrong)]
    return np.eye(2)[said]


def guesses(num_images, *, seed, num_classes=2):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    return labels, *(rng.dirichlet(np.ones(num_classes), num_images) for _ in range(2))


def test_mcnemar_by_hand():
    # 2 images are right with the first only, 8 with the second only: of 10 tosses of a coin, 2 or fewer or
    # 8 or more heads come with probability 2 * (1 + 10 + 45) / 1024.
    labels = np.tile([0, 1], 20)
    found = mcnemar_test(
        labels, answers(labels, wrong=range(2, 14)), answers(labels, wrong=[0, 1, 10, 11, 12, 13])
    )
    assert (found.num_only_first, found.num_only_second) == (2, 8)
    assert found.p == pytest.approx(112 / 1024)
    assert found.record()["test"] == "mcnemar-exact"


def test_mcnemar_over_patients_by_hand():
    # Gains per patient: 2, 1, 0, -1. Sum 2, squares 6, factor 4/3: z = 2 / sqrt(8) = 0.7071.
    labels = np.zeros(6, int)
    groups = np.array([5, 5, 6, 7, 8, 8])
    found = mcnemar_test(labels, answers(labels, wrong=[0, 1, 2]), answers(labels, wrong=[4]), groups)
    assert found.p == pytest.approx(2 * stats.norm.sf(np.sqrt(0.5)))
    assert found.num_groups == 4
    assert found.record()["test"] == "mcnemar-obuchowski"


def test_mcnemar_over_patients_of_one_image_is_mcnemars_but_for_a_factor():
    labels, first, second = guesses(300, seed=0)
    exact = mcnemar_test(labels, first, second)
    found = mcnemar_test(labels, first, second, np.arange(300))
    b, c = exact.num_only_first, exact.num_only_second
    assert found.p == pytest.approx(stats.chi2.sf((b - c) ** 2 / (b + c) * 299 / 300, 1))
    assert found.p == pytest.approx(exact.p, abs=0.07)  # the exact p is larger by about a term


def test_copies_of_a_patients_image_are_no_news_to_tests_over_patients():
    labels, first, second = guesses(60, seed=1)
    groups = np.arange(60)
    copied = [np.repeat(part, 5, axis=0) for part in (labels, first, second, groups)]
    once = mcnemar_test(labels, first, second, groups).p
    assert mcnemar_test(*copied).p == pytest.approx(once)
    assert mcnemar_test(*copied[:3]).p < 0.1 * once
    assert (
        permutation_test(*copied, config=CONFIG).p
        == permutation_test(labels, first, second, groups, config=CONFIG).p
    )


@pytest.mark.parametrize("seed", range(3))
def test_swapping_single_images_is_mcnemars_exact_test(seed):
    labels, first, second = guesses(20, seed=seed)
    found = permutation_test(labels, first, second, np.arange(20), metric="accuracy", config=CONFIG)
    assert found.is_exact
    assert found.num_permutations == 2**found.num_groups_differing
    assert found.p == pytest.approx(mcnemar_test(labels, first, second).p)


def test_all_swaps_are_what_they_are_one_by_one():
    labels, first, second = guesses(14, seed=3, num_classes=3)
    groups = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 4, 5, 5, 5]) * 10
    found = permutation_test(labels, first, second, groups, config=CONFIG)
    drawn = []
    for sides in product([False, True], repeat=6):
        swapped = np.array(sides)[groups // 10][:, None]
        one, other = np.where(swapped, second, first), np.where(swapped, first, second)
        drawn.append(score(labels, other)["macro_f1"] - score(labels, one)["macro_f1"])
    assert found.difference == pytest.approx(drawn[0])
    assert found.p == pytest.approx(np.mean(np.abs(drawn) >= abs(drawn[0]) - 1e-12))
    assert 0 < found.p < 1


def test_random_swaps_come_near_all_swaps(monkeypatch):
    labels, first, second = guesses(16, seed=4)
    groups = np.arange(16) // 2
    exact = permutation_test(labels, first, second, groups, config=CONFIG)
    monkeypatch.setattr(paired_tests, "MAX_EXACT", 0)
    found = permutation_test(labels, first, second, groups, config=CONFIG)
    assert (exact.is_exact, found.is_exact) == (True, False)
    assert found.p == pytest.approx(exact.p, abs=0.04)
    monkeypatch.setattr(paired_tests, "MAX_CELLS", 999)  # in parts as at once
    assert permutation_test(labels, first, second, groups, config=CONFIG) == found


def test_random_swaps_never_say_never():
    labels = np.tile([0, 1], 30)
    found = permutation_test(
        labels,
        answers(labels, wrong=range(60)),
        answers(labels, wrong=[]),
        np.arange(60),
        config=PermutationConfig(num_permutations=999),
    )
    assert found.p == 1 / 1000
    assert found.difference == 1


def test_p_of_swaps_is_spread_evenly_where_nothing_differs():
    # 100 experiments, 40 patients with 3 images each, on which a classifier is right or wrong altogether.
    p_values, careless = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = np.repeat(rng.integers(0, 2, 40), 3)
        first, second = (
            answers(labels, wrong=np.flatnonzero(np.repeat(rng.random(40) < 0.3, 3))) for _ in "ab"
        )
        config = PermutationConfig(num_permutations=100)
        p_values.append(permutation_test(labels, first, second, np.arange(120) // 3, config=config).p)
        careless.append(mcnemar_test(labels, first, second).p)
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.05)
    assert np.mean(np.array(careless) < 0.05) > 0.15


def test_a_classifier_does_not_differ_from_itself():
    labels, first, _ = guesses(20, seed=0)
    groups = np.arange(20) // 2
    assert mcnemar_test(labels, first, first).p == 1
    assert mcnemar_test(labels, first, first, groups).p == 1
    found = permutation_test(labels, first, first, groups, config=CONFIG)
    assert (found.difference, found.p, found.num_groups_differing) == (0, 1, 0)
    assert wilcoxon_test(np.array([0.7, 0.8]), np.array([0.7, 0.8])).p == 1


def test_an_undefined_metric_has_no_p():
    labels = np.ones(4, int)
    found = permutation_test(
        labels,
        answers(labels, wrong=[0]),
        answers(labels, wrong=[]),
        np.arange(4),
        metric="specificity",
        config=CONFIG,
    )
    assert (found.difference, found.p) == (None, None)


def test_only_decisions_are_tested_by_swapping():
    labels, first, second = guesses(10, seed=0)
    with pytest.raises(ValueError, match=r"macro_f1, accuracy.* not auroc"):
        permutation_test(labels, first, second, np.arange(10), metric="auroc", config=CONFIG)


def test_five_folds_that_agree_are_not_enough_for_wilcoxon():
    first = np.array([0.70, 0.71, 0.72, 0.73, 0.74])
    found = wilcoxon_test(first, first + np.array([0.01, 0.02, 0.03, 0.04, 0.05]))
    assert found.p == pytest.approx(2 / 32)
    assert found.p == found.smallest_p
    assert (found.num_better, found.num_worse, found.num_folds) == (5, 0, 5)


def test_wilcoxon_with_ties_and_without_a_difference_by_hand():
    # Gains .1, .1, -.1, .2 (as binary fractions no two alike) and one fold alike: ranks 2, 2, -2, 4. Sums of
    # ranks at most 2 or at least 8: none or one of the three 2s, and the reverse: 8 of 16 signs.
    first = np.array([0.2, 0.3, 0.8, 0.4, 0.34])
    second = np.array([0.3, 0.4, 0.7, 0.6, 0.34])
    found = wilcoxon_test(first, second)
    assert found.p == pytest.approx(8 / 16)
    assert (found.num_better, found.num_worse, found.num_folds) == (3, 1, 5)


def test_wilcoxon_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for num_folds in (10, 30):
        first, second = rng.random((2, num_folds))
        assert wilcoxon_test(first, second).p == pytest.approx(stats.wilcoxon(first, second).pvalue)


def test_wilcoxon_needs_numbers():
    with pytest.raises(ValueError, match="a finite number in each"):
        wilcoxon_test(np.array([0.5, np.nan]), np.array([0.5, 0.6]))


def test_holm_by_hand():
    # Sorted .005, .01, .03, .04 times 4, 3, 2, 1: .02, .03, .06, .04; the last may not fall below .06.
    found = holm_correction([0.01, 0.04, 0.03, 0.005])
    assert found.adjusted == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert found.record() == {
        "correction": "holm",
        "p": [0.01, 0.04, 0.03, 0.005],
        "adjusted": list(found.adjusted),
    }
    assert holm_correction([0.6, 0.7]).adjusted == (1, 1)
    assert holm_correction([0.03]).adjusted == (0.03,)
    assert holm_correction([]).adjusted == ()


def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni():
    p = np.random.default_rng(0).random(20) ** 3
    adjusted = np.array(holm_correction(p.tolist()).adjusted)
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(20 * p, 1)).all()


def test_holm_takes_p_values_only():
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm_correction([0.1, float("nan")])


def test_a_single_fold_that_differs_proves_nothing():
    assert wilcoxon_test(np.array([0.7, 0.8]), np.array([0.7, 0.9])).p == 1
    assert wilcoxon_test(np.array([0.7]), np.array([0.9])).p == 1


def test_of_several_seeds_a_patient_changes_sides_in_all_at_once():
    # Five patients of one image, two seeds each; all 32 swaps by hand.
    labels = np.array([0, 0, 1, 1, 1])
    first = [np.eye(2)[answers] for answers in ([0, 1, 0, 1, 0], [1, 0, 0, 1, 1])]
    second = [np.eye(2)[answers] for answers in ([0, 0, 1, 1, 1], [0, 0, 1, 0, 1])]

    def change(swapped):
        sides = [np.where(np.array(swapped)[:, None], b, a) for a, b in zip(first, second, strict=True)]
        others = [np.where(np.array(swapped)[:, None], a, b) for a, b in zip(first, second, strict=True)]
        before, after = (np.mean([score(labels, p)["accuracy"] for p in side]) for side in (sides, others))
        return after - before

    changes = [change(swapped) for swapped in product([False, True], repeat=5)]
    found = permutation_test(
        labels, first, second, np.arange(5), metric="accuracy", config=PermutationConfig()
    )
    assert found.difference == pytest.approx(changes[0])
    assert found.p == pytest.approx(np.mean(np.abs(changes) >= abs(changes[0]) - 1e-9))
    with pytest.raises(ValueError, match="shorter"):
        permutation_test(labels, first, second[:1], np.arange(5), config=PermutationConfig())
