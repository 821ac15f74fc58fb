"""One device, or whatever a table names, is tested at a time."""

from pathlib import Path

import pytest

from usfmae.base.errors import DatasetError, SettingError
from usfmae.datasets.leave_one_out import MAX_SPLITS, leave_one_out_splits
from usfmae.datasets.record import Item, LabelledSet


def set_of(*rows: tuple[int, str, str]) -> LabelledSet:
    """Images from rows of (class, patient, device)."""
    items = tuple(
        Item(Path(f"{n}.png"), label, group, extras={"Device": device}, name=f"{n}.png")
        for n, (label, group, device) in enumerate(rows)
    )
    return LabelledSet("made-up", Path("root"), ("a", "b"), items, (), "patient")


def twenty_patients(*extra: tuple[int, str, str]) -> LabelledSet:
    """Ten patients, 5 of each class, on each of two devices."""
    return set_of(*((n % 2, f"p{n}", "X1" if n < 10 else "Y 2+") for n in range(20)), *extra)


def test_each_device_is_tested_once_and_learnt_from_otherwise():
    labelled_set = twenty_patients()
    first, second = leave_one_out_splits(labelled_set, "device", val_ratio=0.2)
    assert (first.name, second.name) == ("device-x1", "device-y-2")
    assert first.test.tolist() == list(range(10))
    assert sorted(first.train.tolist() + first.val.tolist()) == list(range(10, 20))
    assert (len(first.val), second.test.tolist()) == (2, list(range(10, 20)))


def test_a_patient_seen_with_two_devices_is_never_learnt_from_and_tested():
    labelled_set = twenty_patients((0, "p3", "Y 2+"))
    first, second = leave_one_out_splits(labelled_set, "Device")
    assert 20 not in first.train.tolist() + first.val.tolist()
    assert first.notes == ("1 images with another Device are of tested groups and not used",)
    assert 20 in second.test.tolist()
    assert 3 not in second.train.tolist() + second.val.tolist()


def test_a_device_of_one_class_is_learnt_from_and_named():
    labelled_set = twenty_patients((1, "p20", "Z"), (1, "p21", "Z"), (0, "p22", ""))
    splits = leave_one_out_splits(labelled_set, "Device")
    assert [split.name for split in splits] == ["device-x1", "device-y-2"]
    for split in splits:
        assert {20, 21, 22} <= set(split.train.tolist() + split.val.tolist())
        assert split.notes == ("never tested, since their images have one class: Z (2)",)


def test_where_classes_are_not_told_apart_every_device_is_tested():
    labelled_set = twenty_patients((1, "p20", "Z"), (1, "p21", "Z"))
    splits = leave_one_out_splits(labelled_set, "Device", by_class=False)
    assert [(split.name, split.notes) for split in splits] == [
        ("device-x1", ()), ("device-y-2", ()), ("device-z", ())
    ]  # fmt: skip
    assert splits[2].test.tolist() == [20, 21]


def test_devices_whose_names_read_alike_stay_apart():
    rows = [(n % 2, f"p{n}", "X+" if n < 10 else "x") for n in range(20)]
    assert [split.name for split in leave_one_out_splits(set_of(*rows), "Device")] == [
        "device-x-1",
        "device-x-2",
    ]


def test_what_cannot_be_left_out_is_said():
    with pytest.raises(SettingError, match="there is no column devise here") as caught:
        leave_one_out_splits(twenty_patients(), "devise")
    assert "Device" in caught.value.hint
    with pytest.raises(DatasetError, match="all images have the same Device: X"):
        leave_one_out_splits(set_of((0, "p", "X"), (1, "q", "X")), "Device")
    with pytest.raises(DatasetError, match="the images of every Device have one class"):
        leave_one_out_splits(set_of((0, "p", "X"), (1, "q", "Y")), "Device")
    many = [(n % 2, f"p{n}", f"{n // 2}") for n in range(2 * MAX_SPLITS + 2)]
    with pytest.raises(DatasetError, match=f"{MAX_SPLITS + 1} values of Device would be as many splits"):
        leave_one_out_splits(set_of(*many), "Device")
