"""The public datasets themselves, where `USFMAE_DATA` names the folder that holds them."""

import os
from pathlib import Path

import numpy as np
import pytest

from usfmae.datasets.record import LabelledSet
from usfmae.datasets.registry import read_dataset
from usfmae.datasets.splits import official_splits

pytestmark = pytest.mark.skipif("USFMAE_DATA" not in os.environ, reason="USFMAE_DATA names no data folder")


def real(name: str) -> LabelledSet:
    return read_dataset(name, Path(os.environ["USFMAE_DATA"]) / name)


def test_bus_bra_has_four_of_five_folds_here():
    labelled_set = real("bus-bra")
    assert len(labelled_set) == 1499
    assert labelled_set.num_groups == 852
    assert labelled_set.class_counts() == {"benign": 1014, "malignant": 485}
    assert "5-fold-cv.csv names 1,499 images: fold 1 is not here" in labelled_set.notes
    assert all(len(item.masks) == 1 for item in labelled_set.items)
    splits = official_splits(labelled_set)
    # Sizes as published: folds 2 to 5 hold 385, 366, 365 and 383 images of 213, 213, 214 and 212 patients.
    assert [len(split.test) for split in splits] == [385, 366, 365, 383]
    patients = [len({labelled_set.groups[i] for i in split.test.tolist()}) for split in splits]
    assert patients == [213, 213, 214, 212]


def test_mmotu_has_its_official_train_part_here():
    labelled_set = real("mmotu-2d")
    assert len(labelled_set) == 1000
    assert list(labelled_set.class_counts().values()) == [226, 153, 228, 57, 47, 180, 71, 38]
    assert all(len(item.masks) == 1 for item in labelled_set.items)
    # docs/decisions/near-duplicate-distance.md: 141 images in 67 groups.
    assert labelled_set.num_groups == 1000 - 141 + 67
    (split,) = official_splits(labelled_set)
    assert split.name == "carved-from-train"
    assert len(split.test) == pytest.approx(200, abs=8)
    assert (np.bincount(labelled_set.labels[split.test]) > 0).all()


def test_busi_is_complete_and_its_copies_are_grouped():
    labelled_set = real("busi")
    assert labelled_set.class_counts() == {"benign": 437, "malignant": 210, "normal": 133}
    assert sum(len(item.masks) for item in labelled_set.items) == 798
    assert sum(len(item.masks) > 1 for item in labelled_set.items) == 17
    assert labelled_set.num_groups == 780 - 339 + 150
    assert any("8 near-duplicate groups carry conflicting labels" in note for note in labelled_set.notes)
    (split,) = official_splits(labelled_set)
    assert [len(split.train), len(split.val), len(split.test)] == pytest.approx([546, 78, 156], abs=5)


def test_stu_hospital_is_complete():
    labelled_set = real("stu-hospital")
    assert len(labelled_set) == 42
    assert all(len(item.masks) == 1 for item in labelled_set.items)


def test_pocus_clips_of_one_patient_are_not_parted():
    # 32 files of 18 patients: the names alone would put the three clips of "pat2" on different sides.
    labelled_set = real("pocus")
    assert len(labelled_set) == 32
    assert (labelled_set.num_groups, labelled_set.group_kind) == (18, "patient")
    assert labelled_set.class_counts() == {
        "COVID-19": 10,
        "bacterial pneumonia": 2,
        "viral pneumonia": 3,
        "healthy": 16,
    }
    (split,) = official_splits(labelled_set)
    assert len(split.train) + len(split.val) + len(split.test) == 32
