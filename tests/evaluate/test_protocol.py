import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest

from usfmae.base.errors import DatasetError, LeakError, SettingError
from usfmae.base.files import read_json
from usfmae.datasets.fake import fake_dataset
from usfmae.evaluate.prepared import read_images
from usfmae.evaluate.protocol import TaskConfig, TaskSource, load_task, write_splits
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frame

SMALL = TaskConfig(size_px=32)


def rewrite_labels(root, change):
    """Apply `change` to every row of a labels.csv."""
    with (root / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(change(row) for row in rows)


def test_images_are_those_of_the_one_preparation(task):
    item = task.items[5]
    np.testing.assert_array_equal(task.images[5], prepare(read_frame(item.path), size_px=32))
    assert task.images.shape == (len(task.items), 32, 32)
    assert task.classes[task.positive] == "malignant"


def test_no_patient_is_on_two_sides(task):
    for split in task.splits:
        sides = [
            {task.items[i].group for i in side.tolist()} for side in (split.train, split.val, split.test)
        ]
        assert all(sides)
        assert not sides[0] & sides[1]
        assert not (sides[0] | sides[1]) & sides[2]


def test_more_threads_read_the_same_images(task):
    one, _ = read_images(task.items, size_px=32, workers=1)
    many, _ = read_images(task.items, size_px=32, workers=4)
    np.testing.assert_array_equal(one, many)


def test_validation_is_learnt_from_only_when_asked(fake_bus_bra, task):
    split = task.splits[0]
    np.testing.assert_array_equal(task.learnt_from(split), split.train)
    np.testing.assert_array_equal(task.watched(split), split.val)
    both = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, learn_from_val=True))
    split = both.splits[0]
    assert set(both.learnt_from(split)) == set(split.train) | set(split.val)
    assert not len(both.watched(split))
    with pytest.raises(ValueError, match="learn_from_val would add validation labels"):
        TaskConfig(learn_from_val=True, label_ratio=0.1)


def test_folds_are_chosen_by_number_or_name(fake_bus_bra):
    def names(folds):
        config = TaskConfig(size_px=32, folds=folds)
        return [split.name for split in load_task("bus-bra", fake_bus_bra, config=config).splits]

    assert names(None) == ["fold-2", "fold-3", "fold-4", "fold-5"]
    assert names((3, "fold-5", 3)) == ["fold-3", "fold-5"]
    with pytest.raises(SettingError, match=r"task\.folds: there is no split 1 here") as caught:
        names((1,))
    assert "fold-2" in caught.value.hint
    with pytest.raises(SettingError, match="names no split"):
        names(())


def test_a_label_fraction_keeps_whole_patients_and_the_same_test(fake_bus_bra, task):
    fewer = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(2, 3), label_ratio=0.3))
    for before, after in zip(task.splits, fewer.splits, strict=True):
        assert set(after.train) < set(before.train)
        np.testing.assert_array_equal(after.test, before.test)
        kept = {task.items[i].group for i in after.train.tolist()}
        assert all((i in after.train) == (task.items[i].group in kept) for i in before.train.tolist())


def test_the_hash_sees_pixels_labels_and_splits(fake_bus_bra, task):
    again = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(2, 3)))
    assert again.sha256() == task.sha256()
    for config in (
        SMALL,
        TaskConfig(size_px=40, folds=(2, 3)),
        TaskConfig(size_px=32, folds=(2, 3), split_seed=1),
    ):
        assert load_task("bus-bra", fake_bus_bra, config=config).sha256() != task.sha256()
    relabelled = replace(task, labels=1 - task.labels)
    assert relabelled.sha256() != task.sha256()


def test_split_files_list_the_names(task, tmp_path):
    write_splits(tmp_path, task)
    found = read_json(tmp_path / "splits/fold-2.json")
    assert found["test"] == sorted(task.items[i].name for i in task.splits[0].test.tolist())
    assert sum(len(found[side]) for side in ("train", "val", "test")) == len(task.items)


def test_unreadable_labelled_images_are_named_or_left_out(tmp_path):
    root = fake_dataset("folder", tmp_path / "d", num_patients=24, variant="labels-csv")
    broken = sorted((root / "scans").iterdir())[3]
    broken.write_bytes(b"")
    message = r"1 of 36 labelled images cannot be read \(first: .*is empty \(0 bytes\)"
    with pytest.raises(DatasetError, match=message) as caught:
        load_task("folder", root, config=SMALL)
    assert "max_unreadable_ratio" in caught.value.hint
    task = load_task("folder", root, config=TaskConfig(size_px=32, max_unreadable_ratio=0.05))
    lost = [item.name for item in task.items].index(f"scans/{broken.name}")
    assert all(lost not in side for s in task.splits for side in (s.train, s.val, s.test))
    assert any("1 of 36 labelled images cannot be read" in note for note in task.notes)


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    root = fake_dataset("folder", tmp_path / "d", num_patients=12, variant="labels-csv")
    rewrite_labels(root, lambda row: row | {"label": "benign"})
    with pytest.raises(DatasetError, match="one class"):
        load_task("folder", root, config=SMALL)


def test_a_test_side_of_one_class_is_refused(tmp_path):
    root = fake_dataset("folder", tmp_path / "d", num_patients=24, variant="labels-csv")
    rewrite_labels(
        root,
        lambda row: row | {"split": "train"} if (row["label"], row["split"]) == ("benign", "test") else row,
    )
    with pytest.raises(DatasetError, match="the test side of split official holds only malignant"):
        load_task("folder", root, config=SMALL)


def three_classes(tmp_path, change):
    """The fake of a user's table with a third class, changed row by row."""
    root = fake_dataset("folder", tmp_path / "d", num_patients=30, variant="labels-csv")
    number = iter(range(1000))
    rewrite_labels(root, lambda row: change(row | ({"label": "normal"} if next(number) % 3 == 0 else {})))
    return root


def test_a_class_without_a_test_image_is_named_in_the_result(tmp_path):
    root = three_classes(
        tmp_path,
        lambda row: row | {"label": "benign"} if (row["label"], row["split"]) == ("normal", "test") else row,
    )
    task = load_task("folder", root, config=SMALL)
    (note,) = [note for note in task.notes if "no test image is normal" in note]
    assert "AUROC is not defined there" in note


def test_a_class_without_a_validation_image_is_named_in_the_result(tmp_path):
    root = three_classes(
        tmp_path,
        lambda row: row | {"label": "benign"} if (row["label"], row["split"]) == ("normal", "val") else row,
    )
    task = load_task("folder", root, config=SMALL)
    assert any("split official: no validation image is normal" in note for note in task.notes)
    assert len([note for note in task.notes if "split official: no" in note]) == 1


def test_a_class_that_is_only_tested_is_refused_before_anything_runs(tmp_path):
    root = three_classes(
        tmp_path,
        lambda row: row | {"label": "bening"} if (row["label"], row["split"]) == ("benign", "test") else row,
    )
    with pytest.raises(
        DatasetError, match="of classes that no image of train has \\(first: 'bening' of"
    ) as caught:
        load_task("folder", root, config=SMALL)
    assert caught.value.hint.startswith("did you mean benign?")


def test_two_spellings_of_a_class_are_refused(tmp_path):
    root = three_classes(tmp_path, lambda row: row | {"label": "Benign"} if row["patient"] == "p002" else row)
    with pytest.raises(DatasetError, match="labels 'Benign' and 'benign' differ in capitals or blanks only"):
        load_task("folder", root, config=SMALL)


def test_a_fold_without_a_patient_of_a_class_is_refused_or_left_out(tmp_path):
    root = fake_dataset("bus-bra", tmp_path / "d", num_patients=30)
    table = root / "bus_data.csv"
    with (root / "5-fold-cv.csv").open(newline="") as file:
        third = {row["ID"] for row in csv.DictReader(file) if row["kFold"] == "3"}
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | ({"Pathology": "benign"} if row["ID"] in third else {}) for row in rows)
    with pytest.raises(DatasetError, match="the test side of split fold-3 holds only benign") as caught:
        load_task("bus-bra", root, config=SMALL)
    assert "report on the other splits only, by task.folds" in caught.value.hint
    task = load_task("bus-bra", root, config=TaskConfig(size_px=32, folds=(1, 2, 4, 5)))
    assert [split.name for split in task.splits] == ["fold-1", "fold-2", "fold-4", "fold-5"]
    assert not any("image is" in note for note in task.notes)


def test_a_patient_on_both_sides_is_refused(tmp_path):
    root = fake_dataset("folder", tmp_path / "d", num_patients=24, variant="labels-csv", leaking_patients=2)
    with pytest.raises(LeakError, match="2"):
        load_task("folder", root, config=SMALL)


def test_the_positive_class_is_the_last_unless_stated(fake_bus_bra):
    assert load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, positive="benign")).positive == 0
    with pytest.raises(SettingError, match=r"task\.positive=malignent: no such class") as caught:
        load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, positive="malignent"))
    assert caught.value.hint == "did you mean malignant?"


def test_more_than_two_classes_have_no_positive_one(tmp_path):
    root = fake_dataset("busi", tmp_path / "d", num_patients=18)
    task = load_task("busi", root, config=SMALL)
    assert (len(task.classes), task.positive, task.group_kind) == (3, None, "near-duplicate cluster")


def test_each_label_seed_draws_other_labels_for_the_same_test(fake_bus_bra):
    draws = [
        load_task(
            "bus-bra",
            fake_bus_bra,
            config=TaskConfig(size_px=32, folds=(2,), label_ratio=0.5, label_seed=seed),
        ).splits[0]
        for seed in (None, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0].train, draws[1].train)
    assert not np.array_equal(draws[1].train, draws[2].train)
    for side in ("val", "test"):
        np.testing.assert_array_equal(getattr(draws[1], side), getattr(draws[2], side))


def test_several_tasks_of_one_source_share_their_images(fake_bus_bra):
    source = TaskSource("bus-bra", fake_bus_bra)
    one, other = (source.task(TaskConfig(size_px=32, folds=(fold,))) for fold in (2, 3))
    assert one.images is other.images
    assert source.task(TaskConfig(size_px=16)).images is not one.images
    alone = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(3,)))
    assert other.sha256() == alone.sha256()


def test_a_task_tests_on_every_device_of_its_table(fake_bus_bra, tmp_path):
    data = shutil.copytree(fake_bus_bra, tmp_path / "bus-bra")
    with (data / "bus_data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["Device"] = "X1" if int(row["Case"]) % 4 < 2 else "Y2"
    with (data / "bus_data.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    task = load_task("bus-bra", data, config=TaskConfig(size_px=16, leave_out="device"))
    devices = np.array([item.extras["Device"] for item in task.items])
    assert [split.name for split in task.splits] == ["device-x1", "device-y2"]
    for split, tested in zip(task.splits, ("X1", "Y2"), strict=True):
        assert set(devices[split.test].tolist()) == {tested}
        assert tested not in devices[np.concatenate([split.train, split.val])].tolist()
    with pytest.raises(DatasetError, match="train and val would stay empty"):
        load_task("bus-bra", data, config=TaskConfig(size_px=16, leave_out="side"))
    with pytest.raises(ValueError, match="leave_out and carve_folds both say what is tested"):
        TaskConfig(leave_out="device", carve_folds=5)
