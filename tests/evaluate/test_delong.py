import numpy as np
import pytest
from scipy import stats

from usfmae.evaluate.delong import auroc_covariance, delong_test
from usfmae.evaluate.metrics import score
from usfmae.evaluate.statistics import BootstrapConfig, paired_difference

# Albumin, total protein, K-G score and outcome (0: surgery did not help) of the 43 patients of DeLong et al.
# (1988, table 1) with all three tests; the same 43 are an example of SAS/STAT's LOGISTIC procedure.
PATIENTS = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
3.8 5.7  5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
2.3 4.4  6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
3.1 6.6  6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
3.7 6.1  5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
3.3 5.7  6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


def two_sided(scores):
    return np.stack([-scores, scores], axis=1)


def delongs_patients():
    albumin, protein, kg, helped = np.array(PATIENTS.split(), dtype=float).reshape(-1, 4).T
    labels = (helped == 0).astype(int)
    return labels, [two_sided(-albumin), two_sided(kg), two_sided(-protein)]


def clustered(num_patients, *, seed=0, same_label=False, num_classes=2):
    """Images 1 to 4 of each patient, whose scores share the patient's own shift."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_patients), rng.integers(1, 5, num_patients))
    labels = rng.integers(0, num_classes, num_patients if same_label else len(groups))
    labels = labels[groups] if same_label else labels
    shared = rng.normal(size=(num_patients, num_classes))[groups]
    found = []
    for skill in (0.8, 1.2):
        noise = rng.normal(size=(len(groups), num_classes))
        found.append(skill * np.eye(num_classes)[labels] + shared + 0.7 * noise)
    return labels, found[0], found[1], groups


def test_the_areas_and_the_test_of_delongs_own_patients():
    # SAS/STAT's documentation has chi-square 2.5340 with 2 degrees of freedom, p = .2817, for all three.
    # The rest was worked out from the 12 x 31 pairs one by one, as the paper defines it: areas .7366
    # (SE .0927), .7258 (.1028), .6478 (.1000); albumin against K-G score .0108 (from -.1761 to .1976,
    # p = .9102), protein against it -.0780 (from -.2830 to .1271, p = .4561).
    labels, tests = delongs_patients()
    areas, covariance = auroc_covariance(labels, tests)
    assert areas == pytest.approx([0.7366, 0.7258, 0.6478], abs=5e-5)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([0.0927, 0.1028, 0.1000], abs=5e-5)

    contrasts = np.array([[1, -1, 0], [0, -1, 1]])
    apart = contrasts @ areas
    chi_square = apart @ np.linalg.solve(contrasts @ covariance @ contrasts.T, apart)
    assert chi_square == pytest.approx(2.5340, abs=5e-5)
    assert stats.chi2.sf(chi_square, 2) == pytest.approx(0.2817, abs=5e-5)

    albumin = delong_test(labels, tests[1], tests[0])
    bounds = (albumin.difference.value, albumin.difference.low, albumin.difference.high)
    assert bounds == pytest.approx((0.0108, -0.1761, 0.1976), abs=5e-5)
    assert albumin.p == pytest.approx(0.9102, abs=5e-5)
    protein = delong_test(labels, tests[1], tests[2])
    bounds = (protein.difference.value, protein.difference.low, protein.difference.high)
    assert bounds == pytest.approx((-0.0780, -0.2830, 0.1271), abs=5e-5)
    assert protein.p == pytest.approx(0.4561, abs=5e-5)
    assert protein.z == pytest.approx(-np.sqrt(0.5554), abs=5e-4)


def test_the_area_of_hanley_and_mcneils_images_rated_in_five_steps():
    # Hanley and McNeil 1982, table I: 58 normal and 51 abnormal CT images; Stata's roctab prints the area
    # .8932, SE .0307 and the bounds .83295 and .95339.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    ratings = np.concatenate([np.repeat(np.arange(5), normal), np.repeat(np.arange(5), abnormal)])
    labels = np.repeat([0, 1], [58, 51])
    scores = two_sided(ratings.astype(float))
    area, variance = auroc_covariance(labels, [scores])
    half_width = 1.959964 * np.sqrt(variance[0, 0])
    assert area[0] == pytest.approx(0.8932, abs=5e-5)
    assert (area[0] - half_width, area[0] + half_width) == pytest.approx((0.83295, 0.95339), abs=5e-6)
    # Ours are symmetric in log(a / (1 - a)) instead: 2.1236 -+ 1.96 * .030717 / (.8932 * .1068).
    found = delong_test(labels, scores, scores).first
    log_odds = [np.log(bound / (1 - bound)) for bound in (found.low, found.value, found.high)]
    assert log_odds == pytest.approx([2.1236 - 0.6311, 2.1236, 2.1236 + 0.6311], abs=5e-4)


def test_a_table_worked_by_hand():
    # Positives 3, 2, 1 (first) and 3, 3, 1 (second), negatives 2, 0 both times. Pairs ordered rightly:
    # first  3: 1, 1   2: .5, 1   1: 0, 1    area 4.5/6 = .75
    # second 3: 1, 1   3: 1, 1    1: 0, 1    area 5/6
    # Placements of positives: 1, .75, .5 and 1, 1, .5; of negatives: .5, 1 and 2/3, 1.
    # Difference of placements: positives 0, .25, 0 (variance 1/48), negatives 1/6, 0 (variance 1/72);
    # variance of the difference: 1/48/3 + 1/72/2 = 1/144 + 1/144 = 1/72, so z = (1/12) * sqrt(72) = .7071.
    labels = np.array([1, 1, 1, 0, 0])
    first = two_sided(np.array([3.0, 2, 1, 2, 0]))
    second = two_sided(np.array([3.0, 3, 1, 2, 0]))
    found = delong_test(labels, first, second)
    assert (found.first.value, found.second.value) == pytest.approx((3 / 4, 5 / 6))
    assert found.z == pytest.approx(np.sqrt(0.5))
    assert found.p == pytest.approx(2 * stats.norm.sf(np.sqrt(0.5)))
    # Two patients now: A has positives 1 and 2 and negative 2, B the rest.
    # Sums of the difference's (placement - mean): positives A (0 - 1/12) + (1/4 - 1/12) = 1/12, B -1/12;
    # negatives A 1/6 - 1/12 = 1/12, B -1/12. All with factor 2 / (2 - 1):
    # 2/9 * 2/144 + 2/4 * 2/144 + 2 * 2/6 * 2/144 = (4/9 + 1 + 4/3) / 144 = 25/1296.
    grouped = delong_test(labels, first, second, np.array([7, 7, 9, 7, 9]))
    assert grouped.z == pytest.approx((1 / 12) / np.sqrt(25 / 1296))
    assert grouped.record()["test"] == "delong-obuchowski"
    assert found.record()["test"] == "delong"


def test_with_one_image_per_patient_the_clustered_variance_is_delongs():
    labels, tests = delongs_patients()
    shuffled = np.random.default_rng(0).permutation(len(labels)) + 1000
    plain, grouped = auroc_covariance(labels, tests)[1], auroc_covariance(labels, tests, shuffled)[1]
    assert grouped == pytest.approx(plain, rel=1e-12)


def test_copies_of_a_patients_image_add_no_certainty():
    labels, tests = delongs_patients()
    copied = np.repeat(labels, 3), np.repeat(tests[0], 3, axis=0), np.repeat(tests[1], 3, axis=0)
    once = delong_test(labels, tests[0], tests[1])
    grouped = delong_test(*copied, np.repeat(np.arange(len(labels)), 3))
    assert grouped.z == pytest.approx(once.z)
    assert grouped.num_groups == 43
    assert delong_test(*copied).z == pytest.approx(once.z * np.sqrt(3), rel=0.05)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_areas_are_those_of_the_metrics(num_classes):
    labels, first, second, groups = clustered(60, num_classes=num_classes)
    found = delong_test(labels, first, second, groups)
    assert found.first.value == pytest.approx(score(labels, first)["auroc"])
    assert found.second.value == pytest.approx(score(labels, second)["auroc"])


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("same_label", [True, False])
def test_bounds_agree_with_those_of_drawn_patients(same_label, num_classes):
    labels, first, second, groups = clustered(300, same_label=same_label, num_classes=num_classes)
    tested = delong_test(labels, first, second, groups).difference
    drawn = paired_difference(labels, first, second, groups, config=BootstrapConfig(num_resamples=1000))[
        "auroc"
    ]
    width = drawn.high - drawn.low
    assert tested.high - tested.low == pytest.approx(width, rel=0.1)
    assert tested.low == pytest.approx(drawn.low, abs=0.1 * width)


def test_p_is_spread_evenly_where_nothing_differs():
    # 300 experiments of 60 patients with 1 to 4 images; the classifiers are equally good.
    grouped, ungrouped = [], []
    for seed in range(300):
        labels, first, _, groups = clustered(60, seed=seed, same_label=True)
        rng = np.random.default_rng([seed, 1])
        shift = rng.normal(size=(60, 2))[groups]  # the second one errs otherwise, patient by patient
        second = 0.8 * np.eye(2)[labels] + shift + 0.7 * rng.normal(size=first.shape)
        grouped.append(delong_test(labels, first, second, groups).p)
        ungrouped.append(delong_test(labels, first, second).p)
    assert np.mean(np.array(grouped) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.array(ungrouped) < 0.05) > 0.1  # what ignoring the patients would claim


def test_swapping_classes_or_classifiers_only_turns_signs():
    labels, first, second, groups = clustered(50)
    found = delong_test(labels, first, second, groups)
    back = delong_test(labels, second, first, groups)
    assert (back.z, back.difference.low) == pytest.approx((-found.z, -found.difference.high))
    probabilities = [two_sided(scores[:, 1] - scores[:, 0]) for scores in (first, second)]
    zero, one = (delong_test(labels, *probabilities, groups, positive=side) for side in (0, 1))
    assert zero.z == pytest.approx(one.z)


def test_a_classifier_does_not_differ_from_itself():
    labels, first, _, groups = clustered(30)
    found = delong_test(labels, first, first, groups)
    assert (found.difference.value, found.difference.low, found.z, found.p) == (0, 0, 0, 1)


def test_no_certainty_is_made_up():
    labels = np.array([0, 0, 1, 1])
    right = two_sided(np.array([1.0, 2, 3, 4]))
    found = delong_test(labels, -right, right)
    assert (found.difference.value, found.p, found.second.low) == (1, None, None)
    assert "placed alike" in found.difference.why

    lone = delong_test(labels, right, two_sided(np.array([1.0, 3, 2, 4])), np.array([0, 1, 2, 2]))
    assert lone.second.value == 0.75
    assert lone.p is None
    assert "one patient only" in lone.second.why

    nobody = delong_test(np.zeros(4, int), right, right)
    assert nobody.first.record()["why"] == "not defined: a class has no image here"


def test_bad_input_is_refused():
    labels, first, second, _ = clustered(10)
    with pytest.raises(ValueError, match="not a finite number"):
        delong_test(labels, first, np.full_like(second, np.nan))
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        delong_test(labels, first, second, level=95)


def test_of_several_seeds_the_mean_auroc_is_compared_on_their_mean_placements():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 60)
    groups = np.arange(60) // 2
    told = [np.stack([1 - s, s], 1) for s in rng.random((4, 60)) * 0.5 + labels * 0.2]
    both = delong_test(labels, told[:2], told[2:], groups)
    alone = [delong_test(labels, told[k], told[k + 2], groups) for k in range(2)]
    mean = np.mean([one.difference.value for one in alone])
    assert both.difference.value == pytest.approx(mean, abs=1e-12)
    areas, covariance = auroc_covariance(labels, told, groups)
    contrast = np.array([-0.5, -0.5, 0.5, 0.5])
    z = (contrast @ areas) / np.sqrt(contrast @ covariance @ contrast)
    assert both.z == pytest.approx(z, rel=1e-12)
    assert delong_test(labels, [told[0]] * 3, [told[2]], groups).p == pytest.approx(alone[0].p, rel=1e-9)


def test_one_seed_in_a_list_is_that_seed():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, 40)
    one, other = (rng.dirichlet(np.ones(3), 40) for _ in range(2))
    assert delong_test(labels, [one], [other]) == delong_test(labels, one, other)
