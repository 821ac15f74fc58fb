"""A user's own images: class folders, or a labels.csv, and every slip that can be made in them."""

import shutil
from pathlib import Path

import pytest

from usfmae.base.errors import DatasetError, LeakError
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.record import LabelledSet
from usfmae.datasets.registry import read_dataset
from usfmae.datasets.splits import official_splits


def read(root: Path) -> LabelledSet:
    return read_dataset("folder", root, find_clusters=False)


@pytest.fixture
def folders(tmp_path) -> Path:
    return fake_dataset("folder", tmp_path / "mine", num_patients=8)


@pytest.fixture
def table(tmp_path) -> Path:
    """A labels.csv of 14 images of 10 patients."""
    root = fake_dataset("folder", tmp_path / "mine", num_patients=10, variant="labels-csv")
    return root / "labels.csv"


def change(table: Path, old: str, new: str) -> None:
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))


def test_classes_are_the_folders_in_order(folders):
    labelled_set = read(folders)
    assert labelled_set.classes == ("benign", "malignant")
    assert labelled_set.class_counts() == {"benign": 6, "malignant": 6}
    assert labelled_set.notes == ()


def test_images_lie_at_any_depth_and_hidden_ones_do_not_count(folders):
    (folders / "benign/clinic a").mkdir()
    shutil.move(folders / "benign/benign (1).png", folders / "benign/clinic a/1.PNG")
    (folders / "benign/benign (1)_mask.png").unlink()
    (folders / ".cache").mkdir()
    (folders / "__MACOSX/benign").mkdir(parents=True)
    shutil.copy(folders / "benign/benign (2).png", folders / "__MACOSX/benign/x.png")
    shutil.copy(folders / "benign/benign (2).png", folders / "benign/._2.png")
    (folders / "benign/Thumbs.db").write_bytes(b"x")
    labelled_set = read(folders)
    assert len(labelled_set) == 12
    assert labelled_set.classes == ("benign", "malignant")
    assert labelled_set.items[-1].name == "malignant/malignant (6).png"
    assert "benign/clinic a/1.PNG" in [item.name for item in labelled_set.items]


def test_label_maps_are_optional(folders):
    for path in folders.rglob("*_mask*.png"):
        path.unlink()
    assert read(folders).notes == ()
    assert all(not item.masks for item in read(folders).items)


def test_one_class_folder_only_is_refused(folders):
    shutil.rmtree(folders / "malignant")
    with pytest.raises(DatasetError, match=r"all 6 images are of one class \('benign'\); .* needs two"):
        read(folders)


def test_a_folder_without_classes_or_table_says_what_to_make(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"holds neither class folders nor a labels\.csv") as error:
        read(tmp_path)
    assert "one folder per class" in error.value.hint
    (tmp_path / "label.csv").write_text("path,label\n")
    with pytest.raises(DatasetError, match="neither") as error:
        read(tmp_path)
    assert error.value.hint.startswith("rename label.csv to labels.csv")


def test_class_folders_without_an_image_are_refused(tmp_path):
    (tmp_path / "benign").mkdir()
    (tmp_path / "malignant").mkdir()
    with pytest.raises(DatasetError, match="holds no image") as error:
        read(tmp_path)
    assert "PNG" in error.value.hint


def test_every_column_of_the_table_is_used(table):
    labelled_set = read(table.parent)
    first = labelled_set.items[0]
    assert (first.name, first.label, first.group, first.split) == ("scans/p000_0.png", 0, "p000", "train")
    assert tuple(mask.path for mask in first.masks) == (table.parent / "lesions/p000_0.png",)
    assert labelled_set.group_kind == "patient"
    assert labelled_set.num_groups == 10


def test_path_and_label_are_enough_and_other_columns_become_extras(table):
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    table.write_text("path,label,device\n" + "".join(f"{row[0]},{row[1]},Aplio\n" for row in rows))
    labelled_set = read(table.parent)
    assert labelled_set.group_kind == "file"
    assert all(item.split is None and not item.masks for item in labelled_set.items)
    assert labelled_set.items[0].extras == {"device": "Aplio"}


def test_windows_paths_and_absolute_ones_mean_the_same(table):
    names = [item.name for item in read(table.parent).items]
    change(table, "scans/p000_0.png", "scans\\p000_0.png")
    change(table, "scans/p001_0.png", str(table.parent / "scans/p001_0.png"))
    assert [item.name for item in read(table.parent).items] == names


def test_words_for_sides_are_understood(table):
    table.write_text(table.read_text().replace(",val,", ",Validation,").replace(",train,", ",TRAIN,"))
    assert {item.split for item in read(table.parent).items} == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        (
            "scans/p003_0",
            "scans/p3_0",
            r"1 of 14 paths are no files below .* \(first: 'scans/p3_0\.png'\)",
            "p003_0",
        ),
        ("scans/p003_0", "scan/p003_0", "1 of 14 paths are no files", "does not exist"),
        ("scans/p003_0.png", "", r"1 of 14 paths are no files .* \(first: ''\)", ""),
        ("scans/p003_0.png", "../mine", "1 of 14 paths are no files", ""),
        ("scans/p003_0.png", "/etc/passwd", r"no files below .* \(first: '/etc/passwd'\)", ""),
        ("scans/p003_0.png", "a" * 5000, "1 of 14 paths are no files", ""),
        (
            "lesions/p003_0",
            "lesions/p3_0",
            r"1 of 14 masks are no files .* \(first: 'lesions/p3_0\.png'\)",
            "p003_0",
        ),
        ("scans/p003_0.png", "labels.csv", r"1 \(first: labels\.csv\) of 14 paths are no images", ".png"),
        (
            "scans/p003_0",
            "scans/p001_0",
            r"1 path value\(s\) .* more than once \(first: 'scans/p001_0\.png'\)",
            "row",
        ),
        (",benign,", ",,", r"label: 1 of 14 labels are empty \(first: line 2\)", "fill them in"),
        (",p000,", ",,", r"patient is empty for 1 \(first: scans/p000_0\.png\) of 14", "every image"),
        (
            ",train,",
            ",trian,",
            r"1 of 14 rows have no side in the column 'split' \(first: 'trian'\)",
            "train, val",
        ),
        (",train,", ",,", r"1 of 14 rows have no side in the column 'split' \(first: ''\)", "train, val"),
        ("path,label", "file,label", "has no column 'path'", "add a column 'path'"),
    ],
)
def test_a_slip_in_the_table_is_named(table, old, new, message, hint):
    change(table, old, new)
    with pytest.raises(DatasetError, match=message) as error:
        read(table.parent)
    assert hint in error.value.hint


def test_images_may_be_links_into_another_folder(table, tmp_path):
    names = [item.name for item in read(table.parent).items]
    outside = tmp_path / "outside.png"
    shutil.move(table.parent / "scans/p003_0.png", outside)
    (table.parent / "scans/p003_0.png").symlink_to(outside)
    assert [item.name for item in read(table.parent).items] == names


def test_a_split_without_train_is_refused(table):
    table.write_text(table.read_text().replace(",train,", ",test,"))
    with pytest.raises(DatasetError, match="puts no image into train"):
        read(table.parent)


def test_patients_on_two_sides_are_counted_and_the_first_is_named(tmp_path):
    # Two classes: patients 2, 3, 6, 7, ... have two images each; p002 and p003 are torn.
    fake_dataset("folder", tmp_path / "mine", num_patients=12, variant="labels-csv", leaking_patients=2)
    with pytest.raises(
        LeakError, match=r"2 of 12 patients are on two sides of the split \(first: 'p002' in test and train\)"
    ):
        read(tmp_path / "mine")


def test_one_class_in_the_table_is_refused(table):
    table.write_text(table.read_text().replace("malignant", "benign"))
    with pytest.raises(DatasetError, match="all 14 images are of one class"):
        read(table.parent)


def test_empty_mask_cells_are_counted(table):
    change(table, "lesions/p003_0.png", "")
    assert read(table.parent).notes == ("images without label map: 1 (first: scans/p003_0.png) of 14",)


def test_without_patients_near_duplicates_on_two_given_sides_are_known_leaks(tmp_path):
    root = fake_dataset("folder", tmp_path / "mine", num_patients=20, near_duplicates=4, variant="labels-csv")
    table = root / "labels.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("".join(f"{row[0]},{row[1]},{row[3]}\n" for row in rows))
    (split,) = official_splits(read_dataset("folder", root))
    # Patients 0 to 3 (train) lent to 16 to 19: turns 8 and 9 of train, train, train, val, test: val and test.
    assert len(split.known_leaks) == 4
    assert "4 validation and test images are near-duplicates" in split.notes[-1]
