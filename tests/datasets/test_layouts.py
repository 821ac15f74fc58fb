"""What the readers of the official layouts do with copies that are not as published."""

import shutil
from pathlib import Path

import pytest

from usfmae.base.errors import DatasetError, LeakError
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.record import LabelledSet
from usfmae.datasets.registry import read_dataset


def read(name: str, root: Path) -> LabelledSet:
    return read_dataset(name, root, find_clusters=False)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def bus_bra(tmp_path) -> Path:
    return fake_dataset("bus-bra", tmp_path / "bus-bra", num_patients=10)


@pytest.fixture
def mmotu(tmp_path) -> Path:
    fake_dataset("mmotu-2d", tmp_path / "mmotu-2d", num_patients=16)
    return tmp_path / "mmotu-2d/OTU_2d"


@pytest.fixture
def busi(tmp_path) -> Path:
    fake_dataset("busi", tmp_path / "busi", num_patients=9)
    return tmp_path / "busi/Dataset_BUSI_with_GT"


def test_a_missing_folder_names_its_like(bus_bra):
    with pytest.raises(DatasetError, match="bus_bra: no such folder") as error:
        read("bus-bra", bus_bra.parent / "bus_bra")
    assert error.value.hint == "did you mean bus-bra?"


def test_a_file_in_place_of_the_folder_is_named(bus_bra):
    with pytest.raises(DatasetError, match=r"bus_data\.csv: is a file, not a folder"):
        read("bus-bra", bus_bra / "bus_data.csv")


def test_a_missing_table_and_folder_are_both_named(bus_bra):
    (bus_bra / "bus_data.csv").rename(bus_bra / "bus-data.csv")
    shutil.rmtree(bus_bra / "Images")
    with pytest.raises(
        DatasetError, match=r"has no bus_data\.csv and no Images \(nor in BUSBRA below it\)"
    ) as error:
        read("bus-bra", bus_bra)
    assert error.value.hint == "did you mean bus-data.csv?"


def test_the_folder_that_an_archive_unpacks_to_is_found(bus_bra, tmp_path):
    (tmp_path / "download").mkdir()
    bus_bra.rename(tmp_path / "download/BUSBRA")
    assert len(read("bus-bra", tmp_path / "download")) == 14


def test_a_missing_column_names_the_nearest(bus_bra):
    change(bus_bra / "bus_data.csv", "Pathology", "Patology")
    with pytest.raises(DatasetError, match=r"bus_data\.csv: has no column 'Pathology'") as error:
        read("bus-bra", bus_bra)
    assert error.value.hint == "did you mean 'Patology'? Rename it to 'Pathology'"


def test_a_missing_fold_table_is_named(bus_bra):
    (bus_bra / "5-fold-cv.csv").unlink()
    with pytest.raises(DatasetError, match=r"5-fold-cv\.csv: no such file"):
        read("bus-bra", bus_bra)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "bus_0002-l,2,",
            "bus_0001-l,1,",
            r"1 ID value\(s\) stand there more than once \(first: 'bus_0001-l'\)",
        ),
        (
            ",malignant,",
            ",malignent,",
            r"Pathology: 1 of 14 labels are none of its classes \(first: 'malignent'\)",
        ),
        (",malignant,", ",,", r"Pathology: 1 of 14 labels are empty \(first: line 3\)"),
        (
            "bus_0002-l,2,",
            "bus_0002-l,,",
            r"Case is empty for 1 \(first: Images/bus_0002-l\.png\) of 14 images",
        ),
        ("bus_0002-l", "case_0002-l", "ID 'case_0002-l' does not look like bus"),
    ],
)
def test_a_bad_row_is_named(bus_bra, old, new, message):
    change(bus_bra / "bus_data.csv", old, new)
    with pytest.raises(DatasetError, match=message):
        read("bus-bra", bus_bra)


def test_labels_are_read_whatever_their_case(bus_bra):
    before = read("bus-bra", bus_bra).labels.tolist()
    change(bus_bra / "bus_data.csv", ",malignant,", ",Malignant,")
    assert read("bus-bra", bus_bra).labels.tolist() == before


def test_a_fold_that_does_not_exist_is_refused(bus_bra):
    change(bus_bra / "5-fold-cv.csv", "bus_0002-l,malignant,1", "bus_0002-l,malignant,6")
    with pytest.raises(
        DatasetError, match=r"kFold is not one of 1\.\.5 in 1 \(first: bus_0002-l\) of 14 rows"
    ):
        read("bus-bra", bus_bra)


def test_a_fold_table_that_names_fewer_images_leaves_the_others_without_fold(bus_bra):
    table = bus_bra / "5-fold-cv.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if line.split(",")[2] != "1"))
    labelled_set = read("bus-bra", bus_bra)
    assert sum(item.fold is None for item in labelled_set.items) == 2
    assert "5-fold-cv.csv names 12 images: fold 1 is not here" in labelled_set.notes


def test_images_and_label_maps_that_are_not_here_are_counted(bus_bra):
    (bus_bra / "Images/bus_0003-l.png").unlink()
    (bus_bra / "Images/bus_0004-r.png").unlink()
    (bus_bra / "Masks/mask_0001-l.png").unlink()
    labelled_set = read("bus-bra", bus_bra)
    assert len(labelled_set) == 12
    assert labelled_set.missing == ("Images/bus_0003-l.png", "Images/bus_0004-r.png")
    assert labelled_set.notes[1:] == (
        "2 of 14 images named by bus_data.csv are not here (first: Images/bus_0003-l.png)",
        "images without label map: 1 (first: Images/bus_0001-l.png) of 12",
    )


def test_a_table_without_any_of_its_images_is_refused(bus_bra):
    for path in (bus_bra / "Images").iterdir():
        path.rename(path.with_suffix(".jpg"))
    with pytest.raises(DatasetError, match=r"none of the 14 images named by bus_data\.csv is here") as error:
        read("bus-bra", bus_bra)
    assert error.value.hint == "did you mean bus_0001-l.jpg?"


def test_one_class_only_is_refused(bus_bra):
    table = bus_bra / "bus_data.csv"
    table.write_text(table.read_text().replace("malignant", "benign"))
    with pytest.raises(DatasetError, match=r"all 14 images are of one class \('benign'\)"):
        read("bus-bra", bus_bra)


def test_extras_are_kept_as_written(bus_bra):
    item = read("bus-bra", bus_bra).items[0]
    assert item.name == "Images/bus_0001-l.png"
    assert (item.extras["BIRADS"], item.extras["Device"], item.extras["Side"]) == (
        "2",
        "GE Logiq 7 @10-14MHz",
        "left",
    )


def test_lists_that_name_different_images_are_refused(mmotu):
    change(mmotu / "train.txt", "2\n", "")
    with pytest.raises(
        DatasetError, match=r"train_cls\.txt: names other images than train\.txt; 1 \(first: 2\) is"
    ):
        read("mmotu-2d", mmotu)


@pytest.mark.parametrize("line", ["1.JPG  8", "1.JPG", "1.JPG  teratoma", "1.JPG  -1", "1.JPG 0 0"])
def test_a_class_index_out_of_range_is_named_with_its_line(mmotu, line):
    change(mmotu / "train_cls.txt", "1.JPG  0", line)
    with pytest.raises(
        DatasetError, match=rf"train_cls\.txt: line 1 is '{line}', not .* class index in 0\.\.7"
    ):
        read("mmotu-2d", mmotu)


def test_one_list_without_the_other_is_named(mmotu):
    (mmotu / "val_cls.txt").unlink()
    with pytest.raises(DatasetError, match=r"val_cls\.txt: no such file"):
        read("mmotu-2d", mmotu)


def test_images_without_lists_are_refused(mmotu):
    for path in mmotu.glob("*.txt"):
        path.unlink()
    with pytest.raises(
        DatasetError, match=r"none of its lists is here \(train\.txt, train_cls\.txt, val\.txt"
    ):
        read("mmotu-2d", mmotu)


def test_an_image_in_both_lists_is_a_leak(mmotu):
    with (mmotu / "val.txt").open("a") as names, (mmotu / "val_cls.txt").open("a") as classes:
        names.write("1\n")
        classes.write("1.JPG  0\n")
    with pytest.raises(
        LeakError, match=r"1 \(first: images/1\.JPG\) of 24 images stand in the lists of two sides"
    ):
        read("mmotu-2d", mmotu)


def test_a_name_listed_twice_is_refused(mmotu):
    change(mmotu / "train.txt", "1\n", "1\n1\n")
    with pytest.raises(DatasetError, match=r"train\.txt: 1 name value\(s\) stand there more than once"):
        read("mmotu-2d", mmotu)


def test_listed_images_that_are_not_here_are_counted(mmotu):
    (mmotu / "images/1.JPG").unlink()
    assert (
        "1 of 24 images named by the lists are not here (first: images/1.JPG)"
        in read("mmotu-2d", mmotu).notes
    )


def test_several_label_maps_belong_to_one_image(busi):
    shutil.copy(busi / "benign/benign (1)_mask.png", busi / "benign/benign (1)_mask_1.png")
    shutil.copy(busi / "benign/benign (1)_mask.png", busi / "benign/benign (1)_mask_2.png")
    labelled_set = read("busi", busi)
    assert len(labelled_set) == 12
    masks = [mask.path.name for mask in labelled_set.items[0].masks]
    assert masks == ["benign (1)_mask.png", "benign (1)_mask_1.png", "benign (1)_mask_2.png"]


def test_orphans_strays_and_bare_images_are_noted(busi):
    (busi / "normal/normal (2).png").unlink()
    (busi / "benign/benign (3)_mask.png").unlink()
    shutil.copy(busi / "benign/benign (1).png", busi / "stray.png")
    assert read("busi", busi).notes[1:] == (
        "label maps without an image: 1 (first: normal/normal (2)_mask.png)",
        "images outside the class folders are not used: 1 (first: stray.png)",
        "images without label map: 1 (first: benign/benign (3).png) of 11",
    )


def test_a_missing_class_folder_is_named(busi):
    (busi / "malignant").rename(busi / "Malignant")
    with pytest.raises(DatasetError, match="has no malignant") as error:
        read("busi", busi.parent)
    assert error.value.hint == "did you mean Malignant?"


def test_an_empty_class_folder_is_noted(busi):
    shutil.rmtree(busi / "normal")
    (busi / "normal").mkdir()
    assert "classes without an image: normal" in read("busi", busi).notes
