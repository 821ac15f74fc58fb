"""Folders of simulated images."""

import csv
import json
from pathlib import Path

import cv2
import pytest

from usfmae.base.errors import FolderError
from usfmae.images.simulate.dataset import write_simulated_dataset
from usfmae.images.simulate.device import Device

DEVICES = (Device(name="small", imaging_depth_mm=30, num_lines=48, longest_px=64, frequency_mhz=4),)


def content(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "simulated.json"
    }


def test_a_labelled_set_has_labels_patients_and_masks(tmp_path):
    paths = write_simulated_dataset(
        tmp_path / "set", num_patients=4, images_per_patient=2, seed=3, devices=DEVICES, workers=0
    )
    with (tmp_path / "set/labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [tmp_path / "set" / row["path"] for row in rows] == paths
    assert [row["label"] for row in rows] == ["benign", "benign", "malignant", "malignant"] * 2
    assert len({row["patient"] for row in rows}) == 4
    for row in rows:
        pixels = cv2.imread(str(tmp_path / "set" / row["path"]), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(tmp_path / "set" / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == mask.shape
        assert set(mask.ravel().tolist()) == {0, 255}
    record = json.loads((tmp_path / "set/simulated.json").read_text())
    assert record["finished"]
    assert record["made_by"]["settings"]["seed"] == 3


def test_the_number_of_workers_changes_no_byte(tmp_path):
    for workers in (0, 2):
        write_simulated_dataset(
            tmp_path / str(workers), num_patients=5, images_per_patient=2, devices=DEVICES, workers=workers
        )
    assert content(tmp_path / "0") == content(tmp_path / "2")


def test_a_pool_has_no_labels_no_masks_and_no_name_that_tells(tmp_path):
    paths = write_simulated_dataset(
        tmp_path / "pool", num_patients=6, images_per_patient=1, labelled=False, devices=DEVICES, workers=0
    )
    assert {path.name for path in paths} == {f"patient-000{i}-0.png" for i in range(6)}
    assert {path.name for path in (tmp_path / "pool").iterdir()} == {"images", "simulated.json"}


def test_another_seed_draws_other_images(tmp_path):
    for seed in (0, 1):
        write_simulated_dataset(
            tmp_path / str(seed), num_patients=2, images_per_patient=1, seed=seed, devices=DEVICES, workers=0
        )
    assert (
        content(tmp_path / "0")["images/patient-0000-0.png"]
        != content(tmp_path / "1")["images/patient-0000-0.png"]
    )


def test_a_folder_that_exists_is_left_alone_unless_told(tmp_path):
    settings = {"num_patients": 1, "images_per_patient": 1, "devices": DEVICES, "workers": 0}
    write_simulated_dataset(tmp_path / "set", **settings)
    with pytest.raises(FolderError, match="exists already"):
        write_simulated_dataset(tmp_path / "set", **settings)
    write_simulated_dataset(tmp_path / "set", **settings, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(FolderError, match=r"holds no simulated\.json"):
        write_simulated_dataset(tmp_path / "mine", **settings, overwrite=True)
