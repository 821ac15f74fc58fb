from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.base.errors import DatasetError, LeakError
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.record import Item, LabelledSet
from usfmae.datasets.registry import read_dataset
from usfmae.datasets.splits import Split, check_no_leak, label_fraction, labels_per_class, official_splits


def items_of(*rows: tuple[str, int, str, str | None, int | None]) -> tuple[Item, ...]:
    return tuple(
        Item(Path(name), label, group, split=split, fold=fold, name=name)
        for name, label, group, split, fold in rows
    )


def set_of(items: tuple[Item, ...], group_kind: str = "near-duplicate cluster") -> LabelledSet:
    return LabelledSet("made-up", Path("root"), ("a", "b"), items, (), group_kind)  # type: ignore[arg-type]


def plain_set(num_groups: int, *, group_kind: str = "patient") -> LabelledSet:
    return set_of(
        items_of(*((f"{i}.png", i % 2, f"p{i // 2}", None, None) for i in range(2 * num_groups))), group_kind
    )


def index(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def test_without_anything_official_images_are_dealt_70_10_20():
    (split,) = official_splits(plain_set(100))
    assert split.name == "grouped-70-10-20"
    assert [len(split.train), len(split.val), len(split.test)] == [140, 20, 40]


def test_the_test_side_does_not_depend_on_the_validation_side():
    rows = [(f"{i}.png", i % 2, f"p{i}", "train", None) for i in range(60)]
    small, large = (official_splits(set_of(items_of(*rows)), val_ratio=ratio)[0] for ratio in (0.1, 0.3))
    assert small.test.tolist() == large.test.tolist()
    assert len(small.val) < len(large.val)


def test_only_official_train_images_are_carved_and_say_so():
    rows = [(f"{i}.png", i % 2, f"c{i // 3}", "train", None) for i in range(90)]
    (split,) = official_splits(set_of(items_of(*rows)))
    assert split.name == "carved-from-train"
    assert (
        "no official test images are here: 18 were carved from train by near-duplicate cluster"
        in split.notes[0]
    )
    assert len(split.test) == 18


def test_official_sides_are_taken_as_listed():
    sides = ["train", "train", "train", "val", "test"]
    rows = [(f"{i}.png", i % 2, f"p{i}", sides[i % 5], None) for i in range(50)]
    (split,) = official_splits(set_of(items_of(*rows), "patient"))
    assert split.name == "official"
    assert split.notes == ()
    assert split.val.tolist() == list(range(3, 50, 5))
    assert split.test.tolist() == list(range(4, 50, 5))


def test_folds_are_each_tested_once_and_validation_is_carved_by_patient():
    rows = [(f"{i:03}.png", (i // 3) % 2, f"p{i // 3}", None, (i // 3) % 4 + 2) for i in range(120)]
    splits = official_splits(set_of(items_of(*rows), "patient"))
    assert [split.name for split in splits] == ["fold-2", "fold-3", "fold-4", "fold-5"]
    assert sorted(i for split in splits for i in split.test.tolist()) == list(range(120))
    for split in splits:
        assert sorted([*split.train, *split.val, *split.test]) == list(range(120))
        assert {i // 3 for i in split.train.tolist()}.isdisjoint({i // 3 for i in split.val.tolist()})
        assert len(split.val) == pytest.approx(0.15 * 90, abs=3)


def test_images_in_no_fold_are_left_out_and_counted():
    rows = [(f"{i:03}.png", i % 2, f"p{i}", None, None if i < 5 else i % 3 + 1) for i in range(60)]
    splits = official_splits(set_of(items_of(*rows), "patient"))
    for split in splits:
        assert split.notes == ("5 images are in no fold and are not used",)
        assert sorted([*split.train, *split.val, *split.test]) == list(range(5, 60))


def test_a_single_fold_cannot_be_tested():
    rows = [(f"{i}.png", i % 2, f"p{i}", None, 3) for i in range(20)]
    with pytest.raises(DatasetError, match="only fold 3 is here"):
        official_splits(set_of(items_of(*rows), "patient"))


def test_too_few_groups_are_refused_with_their_number():
    with pytest.raises(
        DatasetError,
        match=r"root: 2 groups \(patient\) are too few for train, validation and test; val would stay empty",
    ):
        official_splits(plain_set(2))


def test_official_folds_that_part_a_patient_are_refused(tmp_path):
    fake_dataset("bus-bra", tmp_path / "fake", num_patients=24, leaking_patients=3)
    with pytest.raises(LeakError, match=r"split fold-\d: [1-3] of 24 groups are on two sides \(first: '\d+'"):
        official_splits(read_dataset("bus-bra", tmp_path / "fake"))


def test_near_duplicates_over_official_sides_are_named_and_can_be_left_out():
    rows = [(f"{i:02}.png", i % 2, f"c{i}", "train" if i < 30 else "test", None) for i in range(40)]
    rows[33] = ("33.png", 1, "c5", "test", None)
    rows[37] = ("37.png", 1, "c11", "test", None)
    (split,) = official_splits(set_of(items_of(*rows)))
    assert split.known_leaks.tolist() == [33, 37]
    assert "2 validation and test images are near-duplicates of images on another side" in split.notes[-1]
    assert split.test.tolist() == list(range(30, 40))  # the published test side stays whole
    clean = split.without_known_leaks()
    assert clean.test.tolist() == [30, 31, 32, 34, 35, 36, 38, 39]
    assert clean.train.tolist() == split.train.tolist()
    assert clean.name == "official-without-near-duplicates"
    check_no_leak(clean, [row[2] for row in rows])


def test_a_patient_on_two_official_sides_is_no_known_leak_but_an_error():
    rows = [(f"{i}.png", i % 2, f"p{i}", "train" if i < 30 else "test", None) for i in range(40)]
    rows[33] = ("33.png", 1, "p5", "test", None)
    with pytest.raises(LeakError, match=r"1 of 39 groups are on two sides \(first: 'p5' in .* and test\)"):
        official_splits(set_of(items_of(*rows), "patient"))


def test_leaks_are_counted_and_the_first_is_named():
    groups = ["a", "b", "c", "a", "b", "d"]
    with pytest.raises(
        LeakError, match=r"split s: 2 of 4 groups are on two sides \(first: 'a' in train and val\)"
    ):
        check_no_leak(Split("s", index(0, 1), index(3), index(2, 4, 5)), groups)
    check_no_leak(Split("s", index(0, 1, 3, 4), index(2), index(5)), groups)


def test_an_image_on_two_sides_is_a_leak():
    with pytest.raises(LeakError, match=r"1 images stand twice \(first: number 1\)"):
        check_no_leak(Split("s", index(0, 1), index(1), index(2)), ["a", "b", "c"])


def test_known_leaks_excuse_nothing_else():
    groups = ["a", "b", "a", "b"]
    split = Split("s", index(0, 1), index(), index(2, 3), known_leaks=index(2))
    with pytest.raises(LeakError, match=r"1 of 2 groups are on two sides \(first: 'b'"):
        check_no_leak(split, groups)


def test_a_training_image_cannot_be_excused():
    split = Split("s", index(0, 1), index(), index(2), known_leaks=index(0))
    with pytest.raises(LeakError, match="'a' in train and test"):
        check_no_leak(split, ["a", "b", "a"])


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=20, max_size=80),
    st.integers(0, 3),
    st.sampled_from([0.05, 0.1, 0.15, 0.4]),
    st.sampled_from(["nothing", "train", "folds"]),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_any_split_covers_parts_no_group_and_ignores_file_order(images, seed, val_ratio, given_as, random):
    rows = [
        (
            f"{number:03}.png",
            label,
            f"p{group}",
            "train" if given_as == "train" else None,
            group % 3 + 1 if given_as == "folds" else None,
        )
        for number, (group, label) in enumerate(images)
    ]
    whole = set_of(items_of(*rows))
    try:
        splits = official_splits(whole, seed=seed, val_ratio=val_ratio)
    except DatasetError as error:
        assert "too few" in error.message or "only fold" in error.message  # noqa: PT017
        return
    random.shuffle(rows)
    shuffled = set_of(items_of(*rows))
    again = official_splits(shuffled, seed=seed, val_ratio=val_ratio)
    for split, other in zip(splits, again, strict=True):
        assert sorted([*split.train, *split.val, *split.test]) == list(range(len(images)))
        check_no_leak(split, whole.groups)
        assert split.sha256(whole.items) == other.sha256(shuffled.items)
        assert split.to_json(whole.items) == other.to_json(shuffled.items)


def test_a_split_file_lists_names_below_the_root_wherever_that_lies(tmp_path):
    hashes = []
    for place in ("here", "there/deeper"):
        fake_dataset("busi", tmp_path / place)
        labelled_set = read_dataset("busi", tmp_path / place)
        (split,) = official_splits(labelled_set)
        written = split.to_json(labelled_set.items)
        assert list(written) == ["name", "train", "val", "test"]
        assert all(name.startswith(("benign/", "malignant/", "normal/")) for name in written["test"])
        hashes.append(split.sha256(labelled_set.items))
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 64


def test_the_hash_sees_sides_but_not_the_name_of_the_split():
    items = plain_set(3).items
    split = Split("a", index(0, 1), index(2, 3), index(4, 5))
    assert replace(split, name="b").sha256(items) == split.sha256(items)
    assert replace(split, val=split.test, test=split.val).sha256(items) != split.sha256(items)


def test_a_tenth_of_the_labels_keeps_classes_groups_and_the_other_sides():
    labelled_set = plain_set(200)
    (split,) = official_splits(labelled_set)
    tenth = label_fraction(split, labelled_set.labels, labelled_set.groups, 0.1, 0)
    # 280 training images in pairs; each pair (one of either class) stands under class 0: 28 images.
    assert len(tenth.train) == 28
    assert np.bincount(labelled_set.labels[tenth.train]).tolist() == [14, 14]
    assert set(tenth.train.tolist()) < set(split.train.tolist())
    assert tenth.test.tolist() == split.test.tolist()
    assert tenth.val.tolist() == split.val.tolist()
    assert tenth.name == "grouped-70-10-20-0.1-labels"
    assert tenth.notes[-1] == "28 of 280 training labels are used"
    kept = {labelled_set.groups[i] for i in tenth.train.tolist()}
    assert len(kept) == 14  # both images of each


def test_small_fractions_lie_in_larger_ones_and_no_class_vanishes():
    labelled_set = plain_set(60)
    (split,) = official_splits(labelled_set)
    before: set[int] = set()
    for ratio in (0.001, 0.05, 0.1, 0.5, 1.0):
        part = label_fraction(split, labelled_set.labels, labelled_set.groups, ratio, 3)
        assert before <= set(part.train.tolist())
        assert set(labelled_set.labels[part.train].tolist()) == {0, 1}
        before = set(part.train.tolist())
    assert before == set(split.train.tolist())


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01])
def test_a_fraction_that_is_none_is_refused(ratio):
    labelled_set = plain_set(20)
    (split,) = official_splits(labelled_set)
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        label_fraction(split, labelled_set.labels, labelled_set.groups, ratio, 0)


@pytest.mark.parametrize("val_ratio", [0.0, 1.0])
def test_a_validation_share_that_is_none_is_refused(val_ratio):
    with pytest.raises(ValueError, match="between 0 and 1"):
        official_splits(plain_set(20), val_ratio=val_ratio)


def test_so_many_per_class_are_whole_groups_and_nested():
    labelled_set = plain_set(200)
    (split,) = official_splits(labelled_set)
    before: set[int] = set()
    for num in (1, 5, 20):
        few = labels_per_class(split, labelled_set.labels, labelled_set.groups, num, 0)
        counts = np.bincount(labelled_set.labels[few.train])
        assert (counts >= num).all()
        assert (counts <= num + 1).all()
        assert before <= set(few.train.tolist())
        assert few.test.tolist() == split.test.tolist()
        assert few.name == f"grouped-70-10-20-{num}-per-class"
        before = set(few.train.tolist())
    everything = labels_per_class(split, labelled_set.labels, labelled_set.groups, 10_000, 0)
    assert everything.train.tolist() == split.train.tolist()
    with pytest.raises(ValueError, match="at least one image per class"):
        labels_per_class(split, labelled_set.labels, labelled_set.groups, 0, 0)
