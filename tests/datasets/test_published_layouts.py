"""Names as publishers write them, by hand: fakes are drawn from the card, so a wrong card would pass them.

The files are empty: only names, tables and lists are read. Each line is one file:
`path | label | group | side | label maps`, where `-` is "none".
"""

from pathlib import Path

import pytest
from published_names import FETUS, FILES, WITH_TABLES

from usfmae.datasets.registry import get_card, read_dataset

CASES = [(name, {}, lines) for name, lines in FILES.items()]
CASES += [(name, tables, lines) for name, (tables, lines) in WITH_TABLES.items()]


def write(root: Path, name: str, text: str = "") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def split_line(line: str) -> list[str]:
    cells = [cell.strip() for cell in line.split("|")]
    masks = cells[4].replace(" ", "\0")
    for ending in (".png", ".json", ".jpg", ".tif", ".mha", ".gz", ".PNG", ".nii"):
        masks = masks.replace(f"{ending}\0", f"{ending}\n")
    return [*cells[:4], masks.replace("\0", " ")]


@pytest.mark.parametrize(("name", "tables", "lines"), CASES, ids=[name for name, *_ in CASES])
def test_names_are_read_as_published(name, tables, lines, tmp_path):
    wanted = {}
    for file, text in tables.items():
        write(tmp_path, file, text)
    for line in lines:
        path, label, group, side, masks = split_line(line)
        maps = [] if masks == "-" else masks.split("\n")
        for file in (path, *maps):
            write(tmp_path, file)
        wanted[path] = (label, "=" if group == "=" else group, side, sorted(maps))
    if name == "breast-lesions-usg":
        write_sheet(tmp_path, name)
    found = read_dataset(name, tmp_path, find_clusters=False)
    read = {}
    for item in found.items:
        path = item.path.relative_to(tmp_path).as_posix()
        label = "-" if item.label is None else found.classes[item.label]
        own = item.group == item.name and wanted[path][1] == "="
        maps = sorted(label_map.path.relative_to(tmp_path).as_posix() for label_map in item.masks)
        read[path] = (label, "=" if own else item.group, item.split or "-", maps)
    assert read == wanted


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("bus-uc", "BUS_UC/All/images/0001.png"),
        ("jnu-ifm", "us_data/20190830T115515/mask_enhance/20190830T115515_7_mask.png"),
        ("abdomenus", "abdominal_US/abdominal_US/AUS/images/train/synthetic.png"),
        ("regpro", "train/mr_images/case000001.nii.gz"),
        ("microseg", "train/non_expert_annotations/non_expert_annotation_train_01.nii.gz"),
        ("cardiacudc", "cardiacUDC_dataset/label_all_frame/patient-1-4_image.nii.gz"),
        ("pocus", "data/ct/Cov_1.png"),
        (
            "ultrasound-fetus",
            f"{FETUS}/test/malignant/1_MASK.png",
        ),
        ("s1", "S1/Data/TestingDataSet/Test-Expanded-BreastTumourImages/b.jpg"),
        ("dfhi", "Trans-thalamic/orginal-size/Patient00168_Plane3_2_of_3.png"),
        ("mmotu-3d", "OTU_3d/annotations/1.PNG"),
        ("fast-u-net", "Dataset/test_data/a.jpg"),
    ],
)
def test_copies_masks_and_other_modalities_are_no_images_but_are_named(name, file, tmp_path):
    tables, lines = next((tables, lines) for case, tables, lines in CASES if case == name)
    for table, text in tables.items():
        write(tmp_path, table, text)
    for line in lines:
        path, *_, masks = split_line(line)
        for one in (path, *([] if masks == "-" else masks.split("\n"))):
            write(tmp_path, one)
    before = read_dataset(name, tmp_path, find_clusters=False)
    write(tmp_path, file)
    after = read_dataset(name, tmp_path, find_clusters=False)
    assert [item.path for item in after.items] == [item.path for item in before.items]
    (note,) = set(after.notes) - set(before.notes)
    assert note.startswith("images that the card does not take: 1 (first: ")
    assert note.endswith(f"{file.rpartition('/')[2]})")


def write_sheet(root: Path, name: str) -> None:
    from usfmae.datasets.fake_media import sheet_bytes

    layout = get_card(name).layout
    assert layout is not None
    assert layout.kind == "files"
    rows = [["case001.png", "benign", "4a", "x"], ["case002.png", "normal", "1", "x"]]
    header = ["Image_filename", "Classification", "BIRADS", "Diagnosis"]
    (root / layout.tables[0].file).write_bytes(sheet_bytes(header, rows))


VALUES = {
    "acouslic-ai": {1: "abdomen in the optimal plane", 2: "abdomen in a suboptimal plane"},
    "camus": {1: "left ventricle", 2: "myocardium", 3: "left atrium"},
    "fh-ps-aop": {1: "pubic symphysis", 2: "fetal head"},
    "psfhs": {1: "pubic symphysis", 2: "fetal head"},
    "jnu-ifm": {7: "pubic symphysis", 8: "fetal head"},
    "kidneyus": {1: "central echo complex", 2: "medulla", 3: "cortex"},
    "luss-phantom": {1: "rib", 2: "pleural line", 3: "A-line", 4: "B-line", 5: "confluent B-line"},
    "s1": {127: "benign lesion", 255: "malignant lesion"},
    "bus-uclm": {"benign lesion": (0, 255, 0), "malignant lesion": (255, 0, 0)},
    "abdomenus": {
        "liver": (100, 0, 100),
        "kidney": (255, 255, 0),
        "pancreas": (0, 0, 255),
        "vessels": (255, 0, 0),
        "adrenals": (0, 255, 255),
        "gallbladder": (0, 255, 0),
        "bones": (255, 255, 255),
        "spleen": (255, 0, 255),
    },
    "ubpd": {
        "jingmai": "vein",
        "dongmai": "artery",
        "jirouzuzhi": "muscle",
        "shenjing": "nerve",
        "zhifang": "fat",
        "jizhu": "spine",
    },
}
"""What the values, colours and words of label maps mean, from the publishers' pages."""


@pytest.mark.parametrize("name", VALUES)
def test_label_maps_mean_what_the_publisher_says(name):
    layout = get_card(name).layout
    assert layout is not None
    assert layout.kind == "files"
    meanings = [masks.meaning for part in layout.parts for masks in part.masks]
    named = [meaning.names for meaning in meanings if meaning.kind in ("values", "colours", "labelme")]
    assert named
    assert all(names == VALUES[name] for names in named)


def test_the_cavum_is_green_in_planes_and_yellow_in_diverse_heads():
    layout = get_card("dfhi").layout
    assert layout is not None
    assert layout.kind == "files"
    for part, csp in zip(layout.parts, ((0, 255, 0), (255, 255, 0)), strict=True):
        meaning = part.masks[0].meaning
        assert meaning.kind == "colours"
        assert meaning.names == {
            "brain": (255, 0, 0),
            "cavum septi pellucidi": csp,
            "lateral ventricle": (0, 0, 255),
        }
