import os
from pathlib import Path

import pytest
from small_shelf import put_on_shelf

from usfmae.base.errors import WeightsError
from usfmae.models.shipped import (
    card_of,
    default_file,
    default_name,
    file_named,
    shipped_file,
    shipped_folder,
    shipped_names,
    unknown_name,
    weights_named,
)
from usfmae.models.weights import load_encoder, read_weights


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("USFMAE_PRETRAINED", str(tmp_path / "shelf"))
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


def test_weights_are_looked_for_in_the_package_where_nothing_else_is_said(monkeypatch):
    monkeypatch.delenv("USFMAE_PRETRAINED", raising=False)
    assert shipped_folder().parts[-2:] == ("usfmae", "pretrained")


def test_a_build_that_ships_none_says_so(shelf):
    assert shipped_names() == []
    with pytest.raises(WeightsError, match="no weights of this name are shipped") as caught:
        shipped_file("usfmae_s16")
    assert caught.value.hint == "this build ships no weights; give a file or a run folder"
    with pytest.raises(WeightsError, match="no weights are named, and this build ships none") as caught:
        default_file()
    assert "with --weights" in caught.value.hint


def test_a_name_is_its_file_and_a_slip_names_the_nearest(shelf):
    file = put_on_shelf(shelf)
    assert shipped_names() == ["usfmae_s16"]
    assert shipped_file("usfmae_s16") == file
    with pytest.raises(WeightsError, match="usfmae_s61: no weights of this name") as caught:
        shipped_file("usfmae_s61")
    assert caught.value.hint == "did you mean usfmae_s16?"


def test_without_a_name_it_is_usfmae_s16_or_the_only_one(shelf):
    only = put_on_shelf(shelf, "usfmae_ti16")
    assert default_file() == only
    put_on_shelf(shelf, "usfmae_cnn")
    with pytest.raises(WeightsError, match="several are shipped") as caught:
        default_file()
    assert "one of usfmae_cnn, usfmae_ti16" in caught.value.hint
    assert default_name() is None
    put_on_shelf(shelf, "usfmae_s16")
    assert default_file().stem == default_name() == "usfmae_s16"


def test_of_a_vit_and_a_convolutional_network_that_ship_together_the_vit_is_the_default(shelf):
    put_on_shelf(shelf, "usfmae_cnn")
    put_on_shelf(shelf, "usfmae_s16")
    assert (shipped_names(), default_name()) == (["usfmae_cnn", "usfmae_s16"], "usfmae_s16")


def test_a_shipped_name_beats_a_folder_of_that_name_and_a_dot_means_the_folder(shelf, tmp_path, monkeypatch):
    file = put_on_shelf(shelf)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "usfmae_s16").mkdir()
    assert weights_named("usfmae_s16") == file
    assert weights_named("./usfmae_s16") == Path("usfmae_s16")
    assert [weights_named("scratch"), weights_named("imagenet")] == ["scratch", "imagenet"]
    assert file_named(Path("usfmae_s16")) == file
    assert file_named(None) is None


def test_a_file_that_is_exchanged_or_cut_is_refused_by_name_and_by_path(shelf):
    file, other = put_on_shelf(shelf), put_on_shelf(shelf, "other", seed=1)
    card = card_of(file)
    assert card is not None
    assert (card.trained_on, card.held_out) == (("busi", "folder of mine"), ("bus-bra",))
    file.write_bytes(other.read_bytes())
    for way in (lambda: shipped_file("usfmae_s16"), lambda: card_of(file), lambda: load_encoder(file)):
        with pytest.raises(WeightsError, match="damaged or another file than its card describes"):
            way()
    load_encoder(other)


def test_a_change_is_seen_after_the_file_was_read_once(shelf):
    file = put_on_shelf(shelf)
    shipped_file("usfmae_s16")
    bytes_there = bytearray(file.read_bytes())
    bytes_there[-1] ^= 1
    file.write_bytes(bytes(bytes_there))
    os.utime(file, ns=(0, 0))
    with pytest.raises(WeightsError, match="is damaged"):
        shipped_file("usfmae_s16")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": "something else"}'])
def test_a_name_without_a_card_that_can_be_read_is_refused(shelf, content):
    file = put_on_shelf(shelf)
    file.with_suffix(".json").unlink()
    if content is not None:
        file.with_suffix(".json").write_text(content)
    with pytest.raises(WeightsError, match=r"has no card beside it that can be read \(usfmae_s16.json\)"):
        shipped_file("usfmae_s16")
    assert card_of(file) is None  # by its path it is a file like any other
    load_encoder(file)


def test_only_a_bare_word_can_be_a_mistyped_name(shelf):
    put_on_shelf(shelf)
    assert unknown_name(Path("usfmae_s1")) == "did you mean usfmae_s16?"
    assert unknown_name(Path("runs/usfmae_s1")) == unknown_name(Path("usfmae_s1.pth")) == ""
    with pytest.raises(WeightsError, match="usfmae_s1: no such weights file") as caught:
        read_weights(Path("usfmae_s1"))
    assert caught.value.hint == "did you mean usfmae_s16?"
