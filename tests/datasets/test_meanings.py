"""What label maps mean: by hand, and that drawing undoes reading."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from usfmae.base.errors import DatasetError, ImageError
from usfmae.datasets.fake_media import write_media
from usfmae.datasets.pixel_meanings import ArrayThreshold, Channels, Colours, Outline, Threshold, Values
from usfmae.datasets.shape_meanings import Boxes, CocoPolygons, Corners, LabelMe

SIZE = (40, 48)


def blobs(num: int) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    for number in range(1, num + 1):
        labels[8:30, 6 + 12 * (number - 1) : 14 + 12 * (number - 1)] = number
    return labels


@pytest.mark.parametrize(
    ("meaning", "name"),
    [
        (Values(kind="values", names={7: "symphysis", 8: "head"}), "a.png"),
        (Values(kind="values", names={1: "head", 2: "symphysis"}), "a.nii.gz"),
        (Values(kind="values", names={127: "benign", 255: "malignant"}, tolerance=40), "a.png"),
        (Colours(kind="colours", names={"nerve": (0, 255, 0), "vein": (64, 0, 64)}), "a.png"),
        (LabelMe(kind="labelme", names={"shenjing": "nerve", "jingmai": "vein"}), "a.json"),
        (Threshold(above=127), "a.tif"),
        (Outline(kind="outline", name="head"), "a.png"),
        (Corners(kind="corners", name="liver"), "a.json"),
        (Boxes(kind="voc", name="injury"), "a.xml"),
    ],
)
def test_reading_undoes_drawing(meaning, name, tmp_path):
    labels = blobs(len(meaning.structures))
    write_media(tmp_path / name, meaning.stored(labels))
    assert np.array_equal(meaning.read(tmp_path / name, SIZE), labels)


def test_two_names_for_one_structure_give_one_label(tmp_path):
    meaning = Values(kind="values", names={1: "carotid", 3: "carotid", 2: "thyroid"})
    write_media(tmp_path / "a.png", np.tile(np.array([[0, 1, 2, 3]], np.uint8), (8, 2)))
    assert meaning.structures == ("carotid", "thyroid")
    assert meaning.read(tmp_path / "a.png", (8, 8))[0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


def test_a_grey_map_saved_in_colour_and_one_with_alpha_are_read(tmp_path):
    grey = blobs(1) * 255
    Image.fromarray(np.dstack([grey] * 3 + [np.full(SIZE, 255, np.uint8)])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([blobs(2)] * 3)).save(tmp_path / "rgb.png")
    assert np.array_equal(Threshold().read(tmp_path / "rgba.png", SIZE), blobs(1))
    assert np.array_equal(
        Values(kind="values", names={1: "a", 2: "b"}).read(tmp_path / "rgb.png", SIZE), blobs(2)
    )


def test_a_value_that_means_nothing_is_named(tmp_path):
    write_media(tmp_path / "a.png", blobs(3))
    with pytest.raises(DatasetError, match=r"holds 1 value\(s\) that mean nothing \(first: 3\)") as error:
        Values(kind="values", names={1: "a", 2: "b"}).read(tmp_path / "a.png", SIZE)
    assert error.value.hint == "known: 0 1 2"
    Image.new("RGB", SIZE[::-1], (9, 9, 9)).save(tmp_path / "c.png")
    with pytest.raises(DatasetError, match=r"colour\(s\) that mean nothing \(first: \(9, 9, 9\)\)"):
        Colours(kind="colours", names={"a": (0, 255, 0)}).read(tmp_path / "c.png", SIZE)


def test_a_map_of_another_size_is_refused_unless_expected(tmp_path):
    write_media(tmp_path / "a.png", cv2.resize(blobs(1) * 255, (96, 80), interpolation=cv2.INTER_NEAREST))
    with pytest.raises(DatasetError, match="is 96 x 80 px, its image 48 x 40"):
        Threshold().read(tmp_path / "a.png", SIZE)
    assert np.array_equal(Threshold(resize=True).read(tmp_path / "a.png", SIZE), blobs(1))


def test_values_that_are_no_whole_numbers_are_no_labels(tmp_path):
    import SimpleITK

    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((2, *SIZE), 0.5)), str(tmp_path / "a.mha"))
    with pytest.raises(ImageError, match="no whole numbers"):
        Threshold().read(tmp_path / "a.mha", SIZE)


def test_coco_polygons_by_hand(tmp_path):
    # A square with corners (10, 5) and (13, 8) covers 4 x 4 pixels, both ends included.
    square = [10, 5, 13, 5, 13, 8, 10, 8]
    annotations = [{"image_id": 4, "category_id": 2, "segmentation": [square]}]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": [], "annotations": annotations}))
    meaning = CocoPolygons(kind="coco", names={1: "leiomyoma", 2: "GIST"})
    labels = meaning.read(path, SIZE, 4)
    assert (labels == 2).sum() == 16
    assert (labels[5:9, 10:14] == 2).all()
    assert not meaning.read(path, SIZE, 5).any()


def test_an_array_of_label_maps_gives_the_one_that_is_asked_for(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["mask"] = np.stack([np.zeros(SIZE, np.uint8), blobs(1) * 255])
    meaning = ArrayThreshold(kind="array", array="mask", above=127, name="nodule")
    assert not meaning.read(tmp_path / "a.hdf5", SIZE, 0).any()
    assert np.array_equal(meaning.read(tmp_path / "a.hdf5", SIZE, 1), blobs(1))
    with pytest.raises(ImageError, match="label map 2 of 'mask' cannot be read"):
        meaning.read(tmp_path / "a.hdf5", SIZE, 2)


@pytest.mark.parametrize(
    ("meaning", "text", "error", "said"),
    [
        (Corners(kind="corners", name="liver"), "[[1, 2], [3", ImageError, "is no JSON"),
        (Corners(kind="corners", name="liver"), '[["a", "b"]]', ImageError, "no pairs of numbers"),
        (
            LabelMe(kind="labelme", names={"a": "a"}),
            '{"shapes": [{"label": "b"}]}',
            DatasetError,
            "'b' means nothing",
        ),
        (Boxes(kind="voc", name="injury"), "<annotation><bndbox>", ImageError, "no list of boxes"),
        (CocoPolygons(kind="coco", names={1: "a"}), '{"images": []}', ImageError, "is no COCO file"),
    ],
)
def test_a_damaged_list_is_said(meaning, text, error, said, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(error, match=said):
        meaning.read(tmp_path / "a.txt", SIZE, 0)


def test_a_missing_label_map_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"a\.png: no such file"):
        Threshold().read(tmp_path / "a.png", SIZE)


def test_labelme_from_a_chinese_windows_is_read(tmp_path):
    text = '{"shapes": [{"label": "shenjing", "points": [[1, 1], [3, 1], [3, 3]]}], "imagePath": "神经.jpg"}'
    for encoding in ("utf-8", "gbk"):
        (tmp_path / "a.json").write_bytes(text.encode(encoding))
        labels = LabelMe(kind="labelme", names={"shenjing": "nerve"}).read(tmp_path / "a.json", (5, 5))
        assert labels.sum() == 6  # a triangle of 3 + 2 + 1 pixels


def test_channels_by_hand(tmp_path):
    # RegPro: six binary volumes in one file; here two, and the landmark lies inside the prostate.
    voxels = np.zeros((2, 3, 4, 5), np.uint8)
    voxels[0, :, 1:3, 1:4] = 255
    voxels[1, 1, 2, 2] = 255
    write_media(tmp_path / "a.nii.gz", voxels)
    labels = Channels(kind="channels", names=("prostate", "landmark")).read(tmp_path / "a.nii.gz", (4, 5))
    assert labels.shape == (3, 4, 5)
    assert [(labels == number).sum() for number in (1, 2)] == [17, 1]
    with pytest.raises(DatasetError, match=r"has no 6 channels \(its axes: 2 x 3 x 4 x 5\)"):
        Channels(kind="channels", names=tuple("abcdef")).read(tmp_path / "a.nii.gz", (4, 5))


def test_grey_between_two_values_counts_as_the_nearer(tmp_path):
    # S1's label maps are JPEG: with 64, all of 0..255 is near 0, 127 or 255.
    write_media(tmp_path / "a.png", np.arange(256, dtype=np.uint8)[None])
    meaning = Values(kind="values", names={127: "benign", 255: "malignant"}, tolerance=64)
    labels = meaning.read(tmp_path / "a.png", (1, 256))[0]
    assert [int(np.flatnonzero(labels == number)[0]) for number in (0, 1, 2)] == [0, 63, 191]
