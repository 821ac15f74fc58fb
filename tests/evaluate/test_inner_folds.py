import numpy as np

from usfmae.evaluate.inner_folds import inner_folds


def dealt(labels, groups, seed=0):
    return inner_folds(np.array(labels), groups, seed=seed, purpose="test")


def test_each_row_is_asked_once_and_no_group_is_on_both_sides():
    rng = np.random.default_rng(0)
    groups = [f"p{one}" for one in rng.integers(0, 40, 150)]
    labels = np.array([int(group[1:]) % 3 for group in groups])
    folds = dealt(labels, groups)
    assert len(folds) == 5
    assert sorted(np.concatenate([asked for _, asked in folds])) == list(range(150))
    names = np.array(groups)
    for learnt, asked in folds:
        assert sorted([*learnt, *asked]) == list(range(150))
        assert not set(names[learnt]) & set(names[asked])
        assert set(labels[learnt]) == {0, 1, 2}
        assert set(labels[asked]) == {0, 1, 2}


def test_the_order_of_the_images_does_not_matter_but_the_seed_does():
    groups = [f"p{one}" for one in range(30)]
    labels = [one % 2 for one in range(30)]
    turned = dealt(labels[::-1], groups[::-1])
    sides = {frozenset(groups[row] for row in asked) for _, asked in dealt(labels, groups)}
    assert {frozenset(groups[::-1][row] for row in asked) for _, asked in turned} == sides
    assert {frozenset(groups[row] for row in asked) for _, asked in dealt(labels, groups, 1)} != sides


def test_a_class_of_two_patients_is_learnt_in_every_part():
    labels = [0] * 8 + [1] * 2
    folds = dealt(labels, [f"p{one}" for one in range(10)])
    assert len(folds) == 5
    assert all(set(np.array(labels)[learnt]) == {0, 1} for learnt, _ in folds)


def test_few_patients_make_few_parts():
    assert len(dealt([0, 0, 1, 1], ["a", "b", "c", "d"])) == 2
    assert len(dealt([0, 1, 0, 1, 0, 1], ["a", "a", "b", "b", "c", "c"])) == 3


def test_a_class_within_one_patient_leaves_nothing_to_choose_on():
    assert dealt([0, 0, 0, 1, 1], ["a", "b", "c", "d", "d"]) == []
    assert dealt([0, 1, 0, 1], ["a"] * 4) == []
