"""One battery for all datasets: what every reader promises, on every copy that can be drawn."""

from collections import Counter

import cv2
import numpy as np
import pytest

from usfmae.datasets.fake import VARIANTS, fake_dataset
from usfmae.datasets.record import LabelledSet
from usfmae.datasets.registry import get_card, group_near_duplicates, read_dataset
from usfmae.datasets.splits import check_no_leak, official_splits

COPIES = [
    (name, variant) for name, variants in (VARIANTS | {"busi": ("complete",)}).items() for variant in variants
]
PER_PATIENT = {("bus-bra", "complete"), ("bus-bra", "without-fold-1"), ("folder", "labels-csv")}

# 24 patients of which every second turn of classes has two images, by hand:
# two classes: patients 2, 3, 6, 7, ... have two: 36 images; three: 3, 4, 5, 9, ...: 36; eight: 8..15: 32.
NUM_IMAGES = {
    ("bus-bra", "complete"): 36,
    ("bus-bra", "without-fold-1"): 36 - 8,  # fold 1: patients 0, 1, 20, 21 with one, 10, 11 with two
    ("mmotu-2d", "complete"): 32,
    ("mmotu-2d", "train-only"): 32 - 8,  # tested: 3, 7, 10, 14, 17, 21, of which 10 and 14 have two
    ("busi", "complete"): 36,
    ("folder", "class-folders"): 36,
    ("folder", "labels-csv"): 36,
}


@pytest.fixture(scope="module", params=COPIES, ids="-".join)
def copy(request, tmp_path_factory) -> tuple[tuple[str, str], LabelledSet]:
    name, variant = request.param
    root = tmp_path_factory.mktemp("fake") / "root"
    return request.param, read_dataset(name, fake_dataset(name, root, variant=variant))


def test_every_image_is_found_once_in_the_order_of_names(copy):
    key, labelled_set = copy
    names = [item.name for item in labelled_set.items]
    assert len(labelled_set) == NUM_IMAGES[key]
    assert names == sorted(set(names))
    assert all(
        item.path.is_file() and item.path.as_posix().endswith(item.name) for item in labelled_set.items
    )


def test_labels_count_into_the_classes_of_the_card(copy):
    (name, _), labelled_set = copy
    assert labelled_set.classes == (get_card(name).class_names or ("benign", "malignant"))
    assert set(labelled_set.labels.tolist()) == set(range(len(labelled_set.classes)))
    assert sum(labelled_set.class_counts().values()) == len(labelled_set)


def test_groups_are_patients_where_they_are_named_and_clusters_elsewhere(copy):
    key, labelled_set = copy
    if key in PER_PATIENT:
        assert labelled_set.group_kind == "patient"
        assert max(Counter(labelled_set.groups).values()) == 2
    else:
        assert labelled_set.group_kind == "near-duplicate cluster"
        assert labelled_set.num_groups == len(labelled_set)  # nothing was planted
        assert all(item.group == item.name for item in labelled_set.items)


def test_label_maps_fit_their_image(copy):
    _, labelled_set = copy
    for item in labelled_set.items:
        height, width = cv2.imread(str(item.path), cv2.IMREAD_UNCHANGED).shape[:2]
        assert item.masks
        union = np.zeros((height, width), dtype=bool)
        for mask in item.masks:
            label_map = cv2.imread(str(mask.path), cv2.IMREAD_UNCHANGED)
            assert label_map.shape[:2] == (height, width)
            union |= (label_map[..., :3].max(axis=2) if label_map.ndim == 3 else label_map) > 0
        assert union.any() == (labelled_set.classes[item.label] != "normal")


def test_splits_cover_all_images_and_part_no_group(copy):
    _, labelled_set = copy
    for split in official_splits(labelled_set):
        assert sorted([*split.train, *split.val, *split.test]) == list(range(len(labelled_set)))
        check_no_leak(split, labelled_set.groups)
        for side in (split.train, split.val, split.test):
            assert (np.diff(side) > 0).all()
        assert set(labelled_set.labels[split.train].tolist()) == set(range(len(labelled_set.classes)))


def test_reading_twice_gives_the_same(copy):
    (name, _), labelled_set = copy
    again = read_dataset(name, labelled_set.root)
    assert again == labelled_set
    first, second = official_splits(labelled_set), official_splits(again)
    assert [a.sha256(labelled_set.items) for a in first] == [b.sha256(again.items) for b in second]


def test_the_folder_above_or_the_layout_itself_give_the_same_names(tmp_path):
    for name in ("mmotu-2d", "busi"):
        fake_dataset(name, tmp_path / name)
        inside = get_card(name).layout.inside[0]
        above, itself = (read_dataset(name, root) for root in (tmp_path / name, tmp_path / name / inside))
        assert above.items == itself.items


def test_splits_are_named_by_where_they_come_from(tmp_path):
    names = {}
    for name, variant in COPIES:
        root = fake_dataset(name, tmp_path / f"{name}-{variant}", variant=variant)
        names[name, variant] = [split.name for split in official_splits(read_dataset(name, root))]
    assert names == {
        ("bus-bra", "complete"): ["fold-1", "fold-2", "fold-3", "fold-4", "fold-5"],
        ("bus-bra", "without-fold-1"): ["fold-2", "fold-3", "fold-4", "fold-5"],
        ("mmotu-2d", "complete"): ["official"],
        ("mmotu-2d", "train-only"): ["carved-from-train"],
        ("busi", "complete"): ["grouped-70-10-20"],
        ("folder", "class-folders"): ["grouped-70-10-20"],
        ("folder", "labels-csv"): ["official"],
    }


def test_what_is_not_here_is_said(tmp_path):
    bus_bra = read_dataset("bus-bra", fake_dataset("bus-bra", tmp_path / "b", variant="without-fold-1"))
    assert bus_bra.notes == (
        "28 of the 1,875 published images are here",
        "5-fold-cv.csv names 28 images: fold 1 is not here",
    )
    mmotu = read_dataset("mmotu-2d", fake_dataset("mmotu-2d", tmp_path / "m", variant="train-only"))
    assert "val.txt and val_cls.txt are not here: no official test images" in mmotu.notes


def test_clusters_are_searched_only_when_asked(tmp_path, monkeypatch):
    root = fake_dataset("busi", tmp_path / "fake", near_duplicates=2)
    with monkeypatch.context() as patch:
        patch.setattr("usfmae.datasets.registry.file_fingerprints", lambda _: pytest.fail("images were read"))
        plain = read_dataset("busi", root, find_clusters=False)
    assert plain.group_kind == "file"
    assert plain.num_groups == len(plain) == group_near_duplicates(plain).num_groups + 2
    assert group_near_duplicates(plain) == read_dataset("busi", root)


def test_a_cluster_is_called_after_the_first_of_its_names(tmp_path):
    labelled_set = read_dataset("busi", fake_dataset("busi", tmp_path / "fake", near_duplicates=3))
    together: dict[str, list[str]] = {}
    for item in labelled_set.items:
        together.setdefault(item.group, []).append(item.name)
    assert sum(len(names) == 2 for names in together.values()) == 3
    assert all(group == min(names) for group, names in together.items())


def test_conflicting_labels_of_near_duplicates_are_counted(tmp_path):
    # 25 patients of 3 classes: 0 (benign) lends an image to 23 (normal), 1 (malignant) to 24 (benign).
    root = fake_dataset("busi", tmp_path / "fake", num_patients=25, near_duplicates=2)
    notes = read_dataset("busi", root).notes
    assert any(
        note.startswith("2 near-duplicate groups carry conflicting labels (first: benign/") for note in notes
    )
