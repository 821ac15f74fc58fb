import time

import cv2
import numpy as np
import pytest

from usfmae.base.errors import FolderError, SettingError
from usfmae.datasets.fake import VARIANTS, fake_dataset
from usfmae.datasets.registry import dataset_names, read_dataset


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_variants_are_of_known_datasets():
    assert set(VARIANTS) <= set(dataset_names())


@pytest.mark.parametrize("name", ["bus-bra", "mmotu-2d", "busi", "folder", "aul", "camus", "pocus"])
def test_the_same_seed_draws_the_same_bytes_and_another_draws_others(tmp_path, name):
    first, again, other = (
        contents(fake_dataset(name, tmp_path / place, num_patients=8, seed=seed))
        for place, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[path] != other[path] for path in first if path.suffix in (".JPG", ".jpg"))


def test_forty_images_take_half_a_second(tmp_path):
    start = time.perf_counter()
    fake_dataset("bus-bra", tmp_path / "fake", num_patients=27)
    assert time.perf_counter() - start < 2  # measured: 0.12 s; the rest is for busy machines
    assert len(list((tmp_path / "fake/Images").iterdir())) == 40


def test_a_fake_says_that_it_is_one(tmp_path):
    fake_dataset("busi", tmp_path / "fake", num_patients=3)
    assert "not real" in (tmp_path / "fake/FAKE.txt").read_text()


def test_classes_can_be_told_apart_by_the_brightness_of_the_lesion(tmp_path):
    labelled_set = read_dataset("bus-bra", fake_dataset("bus-bra", tmp_path / "fake"))
    brightness: dict[int, list[float]] = {0: [], 1: []}
    for item in labelled_set.items:
        files = (item.path, item.masks[0].path)
        pixels, lesion = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files)
        brightness[item.label].append(float(pixels[lesion > 0].mean()))
    assert min(brightness[0]) > max(brightness[1]) + 50


def test_planted_near_duplicates_share_a_group_and_nobody_else_does(tmp_path):
    fake_dataset("busi", tmp_path / "fake", num_patients=24, near_duplicates=3)
    labelled_set = read_dataset("busi", tmp_path / "fake")
    groups, counts = np.unique(labelled_set.groups, return_counts=True)
    assert sorted(counts.tolist()) == [1] * (len(groups) - 3) + [2, 2, 2]
    assert any(
        "6 of 39 images sit in 3 near-duplicate groups (largest: 2)" in note for note in labelled_set.notes
    )


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.png").write_bytes(b"mine")
    with pytest.raises(FolderError, match="exists already"):
        fake_dataset("busi", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_names_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(SettingError, match="bussi: no such dataset"):
        fake_dataset("bussi", tmp_path / "fake")
    with pytest.raises(SettingError, match="mmotu-2d: has no variant train_only") as error:
        fake_dataset("mmotu-2d", tmp_path / "fake", variant="train_only")
    assert error.value.hint == "did you mean train-only?"
    with pytest.raises(ValueError, match="half of num_patients"):
        fake_dataset("busi", tmp_path / "fake", num_patients=4, near_duplicates=3)
    assert not (tmp_path / "fake").exists()
