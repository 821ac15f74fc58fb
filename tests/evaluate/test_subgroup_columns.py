"""What the images of a task are parted by, on items that the tests write."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from usfmae.base.errors import FolderError
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.label_maps import LabelMap
from usfmae.datasets.record import Item
from usfmae.datasets.splits import Split
from usfmae.datasets.task_facts import TaskFacts
from usfmae.evaluate import protocol
from usfmae.evaluate.protocol import TaskConfig, load_task
from usfmae.evaluate.subgroup_columns import (
    NOTHING_OUTLINED,
    SIZE,
    THIRDS,
    in_parts,
    outlined_shares,
    read_columns,
    size_cuts,
    size_parts,
    table_columns,
    write_columns,
)


def facts(**changes):
    given = {
        "kind": "classify",
        "split": "by patient",
        "groups": "patients",
        "main_metric": "macro_f1",
        "image_policy": "whole",
        "traps": ("one",),
        "subgroups": (),
        "size_cuts": None,
    }
    return TaskFacts(**(given | changes))


def items_with(**columns):
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return [Item(Path(f"{k}.png"), 0, str(k), extras=row) for k, row in enumerate(rows)]


def drawn(folder, name, marked_rows, *, size=(20, 10)):
    """A picture of 20 x 10 pixels, and a label map that marks its first rows."""
    cv2.imwrite(str(folder / f"{name}.png"), np.full((20, 10), 90, np.uint8))
    label_map = np.zeros(size, np.uint8)
    label_map[:marked_rows] = 255
    cv2.imwrite(str(folder / f"{name}_map.png"), label_map)
    return Item(folder / f"{name}.png", 0, name, masks=(LabelMap(folder / f"{name}_map.png"),))


def test_the_card_says_which_columns_count_and_words_for_nothing_are_unknown():
    items = items_with(Device=["GE", "n/a", " Zonare "], Histology=["cyst", "cyst", "lipoma"])
    assert table_columns(items, facts(subgroups=("Device",))) == {"Device": ("GE", None, "Zonare")}
    items = items_with(calcification=["none", "micro", "unknown"])
    assert table_columns(items, None) == {"calcification": ("none", "micro", None)}


def test_without_a_card_every_column_of_few_values_counts():
    items = items_with(
        device=["GE", "Zonare"] * 10, site=["Rio"] * 20, name=[str(number) for number in range(20)]
    )
    assert list(table_columns(items, None)) == ["device"]


def test_a_share_is_what_the_label_maps_mark_together(tmp_path):
    two = drawn(tmp_path, "two", 2)
    also = np.zeros((20, 10), np.uint8)
    also[1:5] = 7
    cv2.imwrite(str(tmp_path / "also.png"), also)
    both = Item(two.path, 0, "both", masks=(*two.masks, LabelMap(tmp_path / "also.png")))
    empty, bare = drawn(tmp_path, "empty", 0), Item(two.path, 0, "bare")
    np.testing.assert_array_equal(outlined_shares([two, both, empty, bare]), [2 / 20, 5 / 20, 0.0, np.nan])


def test_a_label_map_that_does_not_fit_leaves_the_share_unknown(tmp_path):
    assert np.isnan(outlined_shares([drawn(tmp_path, "odd", 3, size=(9, 9))])).all()


def test_bounds_are_the_cards_or_the_thirds_of_the_training_images():
    training = np.array([0.05, 0.01, np.nan, 0.09, 0.02, 0.07, 0.03, 0.0])  # known: 1 2 | 3 5 | 7 9 %
    assert size_cuts(training, None) == size_cuts(training, facts()) == (0.02, 0.05)
    assert size_cuts(training, facts(size_cuts=(0.04, 0.1))) == (0.04, 0.1)
    assert size_cuts(np.array([np.nan, 0.0]), None) == ()


def test_parts_by_hand():
    shares = np.array([0.04, 0.041, 0.1, 0.2, 0.0, np.nan])
    small, middle, large = (
        "0 to 4 % of the picture", "4 to 10 % of the picture", "10 to 100 % of the picture"
    )  # fmt: skip
    assert in_parts(shares, (0.04, 0.1)) == (small, middle, middle, large, NOTHING_OUTLINED, None)


def test_of_several_splits_each_picture_is_parted_by_its_own_training_images_by_hand():
    # Split a learns from 1 2 3 % (thirds end at 1 and 2), b from 10 20 30 % (10 and 20).
    shares = np.array([0.01, 0.02, 0.03, 0.10, 0.20, 0.30, 0.0, np.nan])
    no = np.zeros(0, dtype=np.int64)
    splits = [
        Split("a", np.array([0, 1, 2]), no, np.array([3, 6, 7])),
        Split("b", np.arange(3, 6), no, np.arange(3)),
    ]
    parts, notes = size_parts(shares, splits, None)
    assert parts == (THIRDS[0],) * 3 + (THIRDS[2], None, None, NOTHING_OUTLINED, None)
    assert notes[0].endswith("they end at 1 and 2 % in a, 10 and 20 % in b")
    assert size_parts(shares, splits, facts(size_cuts=(0.04,))) == (in_parts(shares, (0.04,)), ())
    assert size_parts(shares, splits[:1], None) == (in_parts(shares, (0.01, 0.02)), ())


def test_a_table_of_columns_reads_back_in_the_order_asked_for(tmp_path):
    path = tmp_path / "columns.csv"
    write_columns(path, ["a.png", "b, c.png"], {"Device": ("GE", None), "side": ("l", "r")})
    assert read_columns(path, ["b, c.png", "a.png"]) == {"Device": (None, "GE"), "side": ("r", "l")}
    assert read_columns(tmp_path / "none.csv", ["a.png"]) == {}
    with pytest.raises(FolderError, match=r"says nothing of 1 of 2 test images \(first: d\.png\)"):
        read_columns(path, ["a.png", "d.png"])


def test_what_bounds_small_and_large_does_not_depend_on_how_few_labels_are_used(fake_bus_bra):
    parts = [
        load_task(
            "bus-bra", fake_bus_bra, config=TaskConfig(size_px=16, folds=(2,), label_ratio=ratio)
        ).columns
        for ratio in (1.0, 0.3)
    ]
    assert parts[0] == parts[1]
    assert set(parts[0]) == {"BIRADS", SIZE}  # the fake has one device


def test_no_test_image_decides_what_is_small(tmp_path):
    root = fake_dataset("folder", tmp_path / "d", num_patients=30, variant="labels-csv")
    task = load_task("folder", root, config=TaskConfig(size_px=16))
    shares = outlined_shares(task.items)
    train, everything = shares[task.splits[0].train], size_cuts(shares, None)
    assert size_cuts(train, None) != everything
    assert task.columns == {SIZE: in_parts(shares, size_cuts(train, None))}


def test_no_test_image_of_several_folds_sets_a_bound_that_it_is_judged_by(tmp_path, monkeypatch):
    root = fake_dataset("folder", tmp_path / "d", num_patients=30)
    config = TaskConfig(size_px=16, carve_folds=2)
    task = load_task("folder", root, config=config)
    shares, values = outlined_shares(task.items), task.columns[SIZE]
    assert set(values) <= {*THIRDS, NOTHING_OUTLINED}
    assert sum(note.startswith("outlined size: ") for note in task.notes) == 1
    first = task.splits[0]
    # All that fold 1 tests is outlined ten times as large: where its pictures then stand follows from bounds
    # that have not moved, and the bounds of the other fold, which learns from some of them, have.
    grown = shares.copy()
    grown[first.test] *= 10
    monkeypatch.setattr(protocol, "outlined_shares", lambda *_args, **_more: grown)
    moved = load_task("folder", root, config=config)
    bounds = size_cuts(shares[first.train], None)
    for index in first.test.tolist():
        assert moved.columns[SIZE][index] == THIRDS[np.searchsorted(bounds, grown[index])]
    assert moved.notes != task.notes
