"""What a `FilesLayout` does with patients that are not named, copies that differ, and groups that grow."""

import numpy as np
import pytest
import yaml

from usfmae.base.errors import DatasetError, SettingError
from usfmae.base.files import write_text
from usfmae.datasets.card import card_from_yaml
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.fake_media import write_media
from usfmae.datasets.fake_pictures import draw_pictures
from usfmae.datasets.registry import get_card, read_dataset
from usfmae.datasets.splits import official_splits


@pytest.fixture
def planes(tmp_path):
    return fake_dataset("fetal-planes-db", tmp_path / "planes", num_patients=12)


def test_an_image_without_a_patient_is_left_out_and_named(planes):
    # It would be a group of its own, and could be parted from the rest of its patient.
    before = read_dataset("fetal-planes-db", planes)
    table = planes / "FETAL_PLANES_ZENODO/FETAL_PLANES_DB_data.csv"
    header, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([header, *rest]))
    after = read_dataset("fetal-planes-db", planes)
    assert len(after) == len(before) - 1
    name = f"Images/{first.split(',')[0]}.png"
    assert f"without a row in the table, so without a patient, and not used: 1 (first: {name})" in after.notes


def test_a_table_of_other_images_is_refused(planes):
    table = planes / "FETAL_PLANES_ZENODO/FETAL_PLANES_DB_data.csv"
    table.write_text(table.read_text().replace("\nPatient", "\nCase"))
    with pytest.raises(DatasetError, match="names the patient of none of its"):
        read_dataset("fetal-planes-db", planes)


def test_a_part_without_group_beside_one_with_group_is_refused():
    uns = get_card("uns").model_dump(mode="json")
    uns["layout"]["parts"][1]["group"] = None
    with pytest.raises(SettingError, match=r"has a group and 'test/\{frame\}\.tif' has none"):
        card_from_yaml(yaml.safe_dump(uns), place="uns.yaml")


def test_unlabelled_test_frames_are_one_group_and_on_no_side(tmp_path):
    root = fake_dataset("uns", tmp_path / "uns", num_patients=12)
    for number, picture in enumerate(draw_pictures(6, 1, seed=9, near_duplicates=0, leaking_patients=0)):
        write_media(root / f"ultrasound-nerve-segmentation/test/{number}.tif", picture.pixels)
    found = read_dataset("uns", root)
    test = {index for index, item in enumerate(found.items) if item.name.startswith("test/")}
    assert len(test) >= 6
    assert {found.groups[index] for index in test} == {"test"}
    (split,) = official_splits(found)
    assert not test & set(np.concatenate([split.train, split.val, split.test]).tolist())


def test_repeats_of_an_exam_stay_together_and_near_duplicates_join_them(tmp_path):
    pictures = [
        picture.pixels for picture in draw_pictures(5, 1, seed=3, near_duplicates=0, leaking_patients=0)
    ]
    names = ["HC/image/001_HC", "HC/image/001_2HC", "HC/image/002_HC", "AC/image/a", "AC/image/b"]
    for name, pixels in zip(names, pictures, strict=False):
        write_media(tmp_path / f"{name}.png", pixels)
    write_media(tmp_path / "AC/image/c.png", pictures[1])  # shows exam 1 once more
    found = read_dataset("fast-u-net", tmp_path)
    assert found.group_kind == "near-duplicate cluster"
    together = {}
    for item in found.items:
        together.setdefault(item.group, set()).add(item.name.rpartition("/")[2])
    assert sorted(map(sorted, together.values())) == [
        ["001_2HC.png", "001_HC.png", "c.png"],
        ["002_HC.png"],
        ["a.png"],
        ["b.png"],
    ]


def test_the_same_clip_name_in_two_views_keeps_the_fold_of_its_view(tmp_path):
    for plane, fold in (("A4C", 3), ("PSAX", 7)):
        write_text(tmp_path / f"{plane}/Videos/CR1.avi", "")
        write_text(tmp_path / f"{plane}/FileList.csv", f"FileName,EF,Split\nCR1.avi,60,{fold}\n")
    found = read_dataset("echonet-pediatric", tmp_path)
    assert [(item.name, item.fold) for item in found.items] == [
        ("A4C/Videos/CR1.avi", 4),
        ("PSAX/Videos/CR1.avi", 8),
    ]
    assert found.num_groups == 1


def test_a_spreadsheet_that_lost_its_zeros_still_names_the_files(tmp_path):
    from usfmae.datasets.fake_media import sheet_bytes

    for stem in ("000007", "000123"):
        write_text(tmp_path / f"original/{stem}.png", "")
    rows = [["7", "Benign", "x"], ["123", "Malignant", "x"]]
    (tmp_path / "DatasetB.xlsx").write_bytes(sheet_bytes(["Image", "Type", "Diagnosis"], rows))
    found = read_dataset("bus-dataset-b", tmp_path)
    assert found.labels.tolist() == [0, 1]


def test_one_archive_of_several_may_hold_one_class(tmp_path):
    write_text(tmp_path / "Diverse Fetal Head Images/Orginal_train_images_to_959_661/010_HC.png", "")
    found = read_dataset("dfhi", tmp_path)
    assert [found.classes[item.label] for item in found.items] == ["diverse"]
    assert any("classes without an image: trans-cerebellum" in note for note in found.notes)


def test_patients_of_a_table_keep_their_clips_together(tmp_path):
    for number in range(3):
        write_text(tmp_path / f"pocus_videos/convex/Reg_pat2_{number}.mp4", "")
    assert read_dataset("pocus", tmp_path).num_groups == 3
    rows = "".join(f"pocus_videos/convex/Reg_pat2_{number}.mp4,3\n" for number in range(3))
    write_text(tmp_path / "metadata.csv", f"file,patient\n{rows}")
    found = read_dataset("pocus", tmp_path)
    assert (found.num_groups, found.group_kind) == (1, "patient")
