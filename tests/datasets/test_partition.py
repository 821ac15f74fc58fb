from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.datasets.partition import deal_groups, groups_by_class

IMAGES = st.lists(st.tuples(st.integers(0, 40), st.integers(-1, 4)), min_size=1, max_size=120)
SHARES = st.sampled_from([(0.8, 0.2), (0.7, 0.1, 0.2), (0.5, 0.5), (0.97, 0.03)])


def dealt(images, shares, seed=0):
    groups = [f"p{group}" for group, _ in images]
    labels = np.array([label for _, label in images], dtype=np.int64)
    return groups, deal_groups(groups, labels, shares, seed=seed, purpose="test")


@given(IMAGES, SHARES, st.integers(0, 5))
@settings(deadline=None)
def test_no_group_is_parted(images, shares, seed):
    groups, sides = dealt(images, shares, seed)
    assert all(
        len({s for g, s in zip(groups, sides.tolist(), strict=True) if g == group}) == 1 for group in groups
    )
    assert set(sides.tolist()) <= set(range(len(shares)))


@given(IMAGES, SHARES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_files_does_not_matter(images, shares, random):
    order = list(range(len(images)))
    random.shuffle(order)
    _, sides = dealt(images, shares)
    _, shuffled = dealt([images[index] for index in order], shares)
    assert sides[order].tolist() == shuffled.tolist()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), SHARES, st.integers(0, 5))
@settings(deadline=None)
def test_single_images_meet_the_shares_to_one_image_per_class(sizes, shares, seed):
    images = [(1000 * label + i, label) for label, size in enumerate(sizes) for i in range(size)]
    _, sides = dealt(images, shares, seed)
    for label, size in enumerate(sizes):
        counted = Counter(side for side, (_, of) in zip(sides.tolist(), images, strict=True) if of == label)
        for side, share in enumerate(shares):
            # never above its share by a whole image; below by at most what the others were rounded up
            assert -len(shares) < counted[side] - share * size < 1


def test_ten_images_by_hand():
    # 70/10/20 of 10: 7, 1 and 2.
    _, sides = dealt([(patient, 0) for patient in range(10)], (0.7, 0.1, 0.2))
    assert np.bincount(sides).tolist() == [7, 1, 2]


def test_every_side_gets_one_of_three():
    # Shares of three images are 2.1, 0.3 and 0.6; rounding to nearest would leave validation empty.
    _, sides = dealt([(patient, 0) for patient in range(3)], (0.7, 0.1, 0.2))
    assert sorted(sides.tolist()) == [0, 1, 2]


def test_a_patient_with_most_images_goes_to_the_largest_side():
    images = [(0, 0)] * 60 + [(patient, 0) for patient in range(1, 41)]
    for seed in range(20):
        _, sides = dealt(images, (0.7, 0.1, 0.2), seed)
        assert sides[0] == 0
        assert np.bincount(sides).tolist() == [70, 10, 20]


@given(st.lists(st.integers(1, 50), min_size=3, max_size=8), st.integers(0, 5))
@settings(deadline=None)
def test_no_side_stays_empty_if_there_are_groups_enough(sizes, seed):
    images = [(group, 0) for group, size in enumerate(sizes) for _ in range(size)]
    _, sides = dealt(images, (0.7, 0.1, 0.2), seed)
    assert set(sides.tolist()) == {0, 1, 2}


def test_another_seed_and_another_purpose_deal_otherwise():
    groups = [f"p{i}" for i in range(50)]
    labels = np.zeros(50, dtype=np.int64)
    base = deal_groups(groups, labels, (0.5, 0.5), seed=0, purpose="val")
    assert deal_groups(groups, labels, (0.5, 0.5), seed=0, purpose="val").tolist() == base.tolist()
    assert deal_groups(groups, labels, (0.5, 0.5), seed=1, purpose="val").tolist() != base.tolist()
    assert deal_groups(groups, labels, (0.5, 0.5), seed=0, purpose="test").tolist() != base.tolist()


def test_the_deal_is_the_same_on_every_machine():
    # A golden value: if it moves, every carved split moves, and results stop being comparable.
    _, sides = dealt([(patient, patient % 2) for patient in range(12)], (0.7, 0.1, 0.2))
    assert "".join(map(str, sides.tolist())) == "000000021120"


def test_a_group_of_two_classes_counts_as_the_rarer():
    labels = np.array([0, 0, 0, 1, 0], dtype=np.int64)
    by_class = groups_by_class(["a", "b", "c", "c", "d"], labels, seed=0, purpose="test")
    assert {label: sorted(groups) for label, groups in by_class.items()} == {0: ["a", "b", "d"], 1: ["c"]}


def test_shares_must_make_one():
    with pytest.raises(ValueError, match="sum to 1"):
        deal_groups(["a"], np.zeros(1, dtype=np.int64), (0.5, 0.4), seed=0, purpose="test")
    with pytest.raises(ValueError, match="2 groups for 1 labels"):
        deal_groups(["a", "b"], np.zeros(1, dtype=np.int64), (0.5, 0.5), seed=0, purpose="test")
