import csv

import cv2
import numpy as np
import pytest
from PIL import Image

from usfmae.base.errors import DatasetError, SettingError
from usfmae.datasets.fake import fake_dataset
from usfmae.evaluate.segment_task import SegmentTaskConfig, load_segment_task


def settings(**changes):
    return SegmentTaskConfig(**{"size_px": 64, **changes})


@pytest.fixture
def own_bus_bra(tmp_path):
    """A fake to spoil."""
    return fake_dataset("bus-bra", tmp_path / "bus-bra", num_patients=30, variant="without-fold-1")


@pytest.fixture(scope="module")
def drawn(fake_bus_bra):
    return load_segment_task("bus-bra", fake_bus_bra, config=settings(folds=(2, 3)))


def first_map(root):
    return sorted((root / "Masks").glob("*.png"))[0]


def test_every_image_has_its_label_map_in_the_same_place(drawn):
    # Fakes are 72 x 96: 54 or so of 64 rows hold the picture, the rest is black and outside.
    assert drawn.structures == ("lesion",)
    assert [split.name for split in drawn.splits] == ["fold-2", "fold-3"]
    for image, label_map, item in zip(drawn.images, drawn.label_maps, drawn.items, strict=True):
        assert 0 < label_map.mean() < 0.6
        assert not label_map[:7].any()
        assert not image[:7].any()
        if item.label == 1:  # malignant blobs are dark
            assert image[label_map == 1].mean() < 0.6 * image[8:56][label_map[8:56] == 0].mean()


def test_the_truth_is_the_stored_map_at_its_own_size(drawn):
    index = int(drawn.splits[0].test[0])
    stored = np.array(Image.open(drawn.items[index].masks[0].path)) > 0
    assert np.array_equal(drawn.truth(index) == 1, stored)
    assert (drawn.stored[index].size, drawn.unit) == ((72, 96), "px")


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_a_label_map_is_cut_to_the_sector_with_its_image(fake_screens, fit):
    config = settings(size_px=128, crop="sector", fit=fit, folds=(2,))
    task = load_segment_task("bus-bra", fake_screens, config=config)
    for image, label_map, stored in zip(task.images, task.label_maps, task.stored, strict=True):
        assert stored.shown != (0, 0, 200, 300)
        assert ((image > 185) != (label_map == 1)).mean() < 0.01
    assert task.truth(0).shape == (200, 300)


def test_structures_are_told_apart_by_class_where_asked(fake_bus_bra, drawn):
    task = load_segment_task("bus-bra", fake_bus_bra, config=settings(by_class=True))
    assert task.structures == ("benign", "malignant")
    for index, item in enumerate(task.items):
        assert set(np.unique(task.label_maps[index])) == {0, item.label + 1}
        assert set(np.unique(task.truth(index))) == {0, item.label + 1}
    assert task.sha256() != drawn.sha256()


def test_a_set_without_classes_is_fine_but_not_by_class(tmp_path):
    root = fake_dataset("tn3k", tmp_path / "tn3k", num_patients=24)
    task = load_segment_task("tn3k", root, config=settings())
    assert len(task.splits) >= 1
    assert task.label_maps.any(axis=(1, 2)).all()
    with pytest.raises(SettingError, match="not every image of tn3k has a class"):
        load_segment_task("tn3k", root, config=settings(by_class=True))


def test_several_structures_and_volumes_of_arrays_keep_their_names(tmp_path):
    root = fake_dataset("jnu-ifm", tmp_path / "jnu-ifm", num_patients=24)
    task = load_segment_task("jnu-ifm", root, config=settings())
    assert len(task.structures) == 2
    assert set(np.unique(task.label_maps)) == {0, 1, 2}


def test_annotated_frames_of_a_clip_are_images_of_their_own(tmp_path):
    root = fake_dataset("brachial-plexus", tmp_path / "clips", num_patients=12)
    task = load_segment_task("brachial-plexus", root, config=settings())
    first, second = task.items[:2]
    assert (first.path, first.name[-2:], second.name[-2:]) == (second.path, "#1", "#4")
    assert not np.array_equal(task.images[0], task.images[1])
    assert np.array_equal(np.roll(task.truth(0), 3, axis=1), task.truth(1))  # as the fake draws them


def test_label_maps_of_whole_clips_are_left_out_with_a_note(tmp_path):
    root = fake_dataset("camus", tmp_path / "camus", num_patients=24)
    task = load_segment_task("camus", root, config=settings())
    assert any("18 clips or volumes have a label map for all frames" in note for note in task.notes)
    root = fake_dataset("cardiacudc", tmp_path / "volumes", num_patients=12)
    with pytest.raises(DatasetError, match="a whole clip or volume, which is not supported"):
        load_segment_task("cardiacudc", root, config=settings())


def test_a_set_without_label_maps_says_so(tmp_path):
    root = fake_dataset("folder", tmp_path / "own", num_patients=24)
    for path in root.rglob("*_mask*"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"none of \d+ images has a label map") as caught:
        load_segment_task("folder", root, config=settings())
    assert "column `mask`" in caught.value.hint


def test_a_label_map_of_another_size_is_named(own_bus_bra):
    path = first_map(own_bus_bra)
    cv2.imwrite(str(path), np.zeros((10, 20), np.uint8))
    with pytest.raises(DatasetError, match=rf"1 of 36 .*{path.name}: is 20 x 10 px, its image 96 x 72"):
        load_segment_task("bus-bra", own_bus_bra, config=settings())


def test_an_unreadable_label_map_is_named_and_left_out_where_allowed(own_bus_bra):
    path = first_map(own_bus_bra)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match=rf"1 of 36 .*{path.name}: cannot be read as a label map"):
        load_segment_task("bus-bra", own_bus_bra, config=settings())
    task = load_segment_task("bus-bra", own_bus_bra, config=settings(max_unreadable_ratio=0.1))
    (bad,) = [index for index, stored in enumerate(task.stored) if stored is None]
    assert not any(bad in side for split in task.splits for side in (split.train, split.val, split.test))
    assert any(path.name in note for note in task.notes)


def test_images_without_a_label_map_are_left_out_with_a_note(own_bus_bra):
    first_map(own_bus_bra).unlink()
    task = load_segment_task("bus-bra", own_bus_bra, config=settings())
    assert len(task.items) == 35
    assert any("1 of 36 images have no label map" in note for note in task.notes)


def test_an_empty_label_map_is_an_image_where_nothing_is_to_be_found(own_bus_bra):
    cv2.imwrite(str(first_map(own_bus_bra)), np.zeros((72, 96), np.uint8))
    task = load_segment_task("bus-bra", own_bus_bra, config=settings())
    assert len(task.items) == 36
    assert any("1 of 36 label maps are empty" in note for note in task.notes)


def test_nothing_drawn_at_all_is_an_error(own_bus_bra):
    for path in (own_bus_bra / "Masks").glob("*.png"):
        cv2.imwrite(str(path), np.zeros((72, 96), np.uint8))
    with pytest.raises(DatasetError, match=r"all \d+ label maps on the train side of split fold-2 are empty"):
        load_segment_task("bus-bra", own_bus_bra, config=settings())


def test_a_structure_that_a_side_lacks_is_a_note(tmp_path):
    root = fake_dataset("bus-bra", tmp_path / "b", num_patients=30, variant="without-fold-1")
    for path in (root / "Masks").glob("*.png"):
        number = int(path.stem.split("_")[1].split("-")[0])
        if number % 2 == 0 and (number - 1) // 2 % 5 + 1 == 2:  # malignant, fold 2
            cv2.imwrite(str(path), np.zeros((72, 96), np.uint8))
    task = load_segment_task("bus-bra", root, config=settings(by_class=True))
    assert any("fold-2: no image of the test side shows malignant" in note for note in task.notes)


def test_the_positive_class_of_classifiers_means_nothing_here():
    with pytest.raises(ValueError, match="structures are all to be found"):
        settings(positive="malignant")


def test_distances_are_in_millimetres_where_a_table_gives_the_pitch(tmp_path):
    root = fake_dataset("hc18", tmp_path / "hc18", num_patients=24)
    task = load_segment_task("hc18", root, config=settings())
    assert (task.unit, task.stored[0].spacing_mm) == ("mm", (0.1, 0.1))


def test_each_device_is_tested_once_even_where_all_its_lesions_are_of_one_class(own_bus_bra):
    table = own_bus_bra / "bus_data.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["Device"] = "Y2" if row["Pathology"] == "malignant" and int(row["Case"]) % 3 else "X1"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    task = load_segment_task("bus-bra", own_bus_bra, config=settings(leave_out="device"))
    assert [split.name for split in task.splits] == ["device-x1", "device-y2"]
    devices = np.array([item.extras["Device"] for item in task.items])
    groups = np.array([item.group for item in task.items])
    for split, tested in zip(task.splits, ("X1", "Y2"), strict=True):
        assert set(devices[split.test]) == {tested}
        learnt = np.concatenate([split.train, split.val])
        assert tested not in devices[learnt]
        assert not set(groups[split.test]) & set(groups[learnt])
    one = load_segment_task("bus-bra", own_bus_bra, config=settings(leave_out="device", folds=("device-y2",)))
    assert [split.name for split in one.splits] == ["device-y2"]
    with pytest.raises(SettingError, match=r"task\.leave_out: there is no column devise here"):
        load_segment_task("bus-bra", own_bus_bra, config=settings(leave_out="devise"))


def test_few_label_maps_are_drawn_by_a_seed_of_their_own(fake_bus_bra):
    drawn = [
        load_segment_task(
            "bus-bra", fake_bus_bra, config=settings(folds=(2,), label_ratio=0.3, label_seed=seed)
        )
        for seed in (None, 0, 1)
    ]
    whole = load_segment_task("bus-bra", fake_bus_bra, config=settings(folds=(2,))).splits[0]
    plain, same, other = (task.splits[0] for task in drawn)
    assert plain.train.tolist() == same.train.tolist() != other.train.tolist()
    for split in (plain, other):
        assert set(split.train.tolist()) < set(whole.train.tolist())
        assert (split.val.tolist(), split.test.tolist()) == (whole.val.tolist(), whole.test.tolist())


def test_so_many_images_of_each_class_are_learnt_from_where_there_are_classes(fake_bus_bra, tmp_path):
    task = load_segment_task("bus-bra", fake_bus_bra, config=settings(folds=(2,), labels_per_class=2))
    kept = task.labels[task.splits[0].train]
    assert all(2 <= (kept == label).sum() <= 3 for label in (0, 1))
    root = fake_dataset("tn3k", tmp_path / "tn3k", num_patients=24)
    with pytest.raises(
        SettingError, match=r"labels_per_class=2: not every image of tn3k has a class"
    ) as found:
        load_segment_task("tn3k", root, config=settings(labels_per_class=2))
    assert "label_ratio" in found.value.hint
