"""GIST514-DB as published, by hand: a COCO file, and one of the tested images for each of the five splits."""

import json
from pathlib import Path

import numpy as np
import pytest

from usfmae.base.errors import DatasetError
from usfmae.base.files import write_text
from usfmae.datasets.registry import read_dataset
from usfmae.datasets.splits import official_splits


def coco(numbers: range) -> str:
    # Odd numbers are leiomyoma (category 1), even ones GIST (2); each a square of 3 by 3 pixels.
    return json.dumps(
        {
            "images": [{"id": n, "file_name": f"{n}.jpg", "height": 8, "width": 8} for n in numbers],
            "annotations": [
                {
                    "id": n,
                    "image_id": n,
                    "category_id": 2 - n % 2,
                    "segmentation": [[2, 2, 4, 2, 4, 4, 2, 4]],
                }
                for n in numbers
            ],
        }
    )


@pytest.fixture
def gist(tmp_path) -> Path:
    base = tmp_path / "usd514-db/usd514_jpeg_roi"
    write_text(base / "annotations/all_anno_crop.json", coco(range(1, 41)))
    for fold in range(5):
        tested = range(1 + 8 * fold, 9 + 8 * fold)
        write_text(base / f"annotations/val_anno_crop_split_{fold}.json", coco(tested))
    for number in range(1, 41):
        write_text(base / f"images/{number}.jpg", "")
    return tmp_path


def test_each_of_the_five_splits_tests_what_its_file_names(gist):
    found = read_dataset("gist514-db", gist)
    splits = official_splits(found)
    assert [split.name for split in splits] == [f"fold-{fold}" for fold in range(1, 6)]
    for fold, split in enumerate(splits):
        tested = {int(Path(found.items[index].name).stem) for index in split.test.tolist()}
        assert tested == set(range(1 + 8 * fold, 9 + 8 * fold))
        assert len(split.train) + len(split.val) == 32
    everything = np.concatenate([split.test for split in splits])
    assert sorted(everything.tolist()) == list(range(40))


def test_category_one_is_leiomyoma_and_two_is_gist(gist):
    found = read_dataset("gist514-db", gist)
    named = {int(Path(item.name).stem): found.classes[item.label] for item in found.items}
    assert named[1] == "leiomyoma"
    assert named[2] == "GIST"
    (label_map,) = found.items[0].masks
    assert (label_map.read((8, 8)) > 0).sum() == 9


def test_an_image_tested_in_two_splits_is_refused(gist):
    file = gist / "usd514-db/usd514_jpeg_roi/annotations/val_anno_crop_split_1.json"
    file.write_text(coco(range(8, 17)))
    with pytest.raises(DatasetError, match=r"1 \(first: 8\.jpg\) images are tested in another fold too"):
        read_dataset("gist514-db", gist)


def test_a_split_that_is_not_here_is_named(gist):
    (gist / "usd514-db/usd514_jpeg_roi/annotations/val_anno_crop_split_3.json").unlink()
    with pytest.raises(DatasetError, match=r"val_anno_crop_split_3\.json: no such file"):
        read_dataset("gist514-db", gist)
