"""What files are under, and that a note of a start can be read back."""

from pathlib import Path

import pytest
import torch
from small_shelf import put_on_shelf

from usfmae.base.input_spec import InputSpec
from usfmae.models.cnn_weights import IMAGENET_FILES, CnnFile, imagenet_file, read_cnn
from usfmae.models.encoders import CNN_NAMES, CnnConfig, build_cnn
from usfmae.models.file_licences import is_imagenet, licence_of_file, published_behind
from usfmae.models.licences import LICENCES, UNKNOWN_CNN


def of_file(name, sha256):
    return CnnFile(Path("any.pth"), sha256, name, 3, InputSpec(image_px=32, channels=3), {})


@pytest.mark.parametrize("name", CNN_NAMES)
def test_a_note_of_a_start_is_read_back(name):
    for start in IMAGENET_FILES[name]:
        assert published_behind(of_file(name, start + "0" * 56).started_from) == name
        assert is_imagenet(name, start + "0" * 56)
    assert published_behind(of_file(name, "0" * 64).started_from) == ""
    assert not is_imagenet(name, "0" * 64)


def test_what_has_no_published_file_or_no_hash_is_not_imagenets():
    assert not is_imagenet("vit", "57934424" * 8)
    assert not is_imagenet("efficientnet-lite0", "")
    assert published_behind("x, published weights of something (MIT)") == ""


def test_each_kind_of_file_has_the_licence_that_is_known_of_it(tmp_path):
    lite = imagenet_file("efficientnet-lite0")
    assert licence_of_file(lite, "efficientnet-lite0") == LICENCES["efficientnet-lite0"]
    state = build_cnn(CnnConfig(name="efficientnet-lite0", channels=3)).state_dict()
    torch.save(state, tmp_path / "mine.pth")
    assert not read_cnn(tmp_path / "mine.pth", "efficientnet-lite0").is_imagenet
    assert licence_of_file(tmp_path / "mine.pth", "efficientnet-lite0") == UNKNOWN_CNN
    assert licence_of_file(tmp_path / "any", "usfm") == LICENCES["usfm"]
    file = put_on_shelf(tmp_path / "shelf")
    found = licence_of_file(file, "vit")
    assert found is not None
    assert (found.words, found.commercial) == ("no commercial use", False)
    file.with_suffix(".json").unlink()
    assert licence_of_file(file, "vit") is None
