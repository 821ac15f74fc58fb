"""Which files are found, in which order, under which names."""

import os

import pytest

from usfmae.base.errors import CorpusError, FolderError
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.sources import Source, is_excluded, list_source, printable, unique_sources
from usfmae.datasets.fake import fake_dataset


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(root, **settings):
    return [file.name for file in list_source(Source("s", root), BuildConfig(**settings)).files]


def test_images_are_found_below_in_the_order_of_their_folders(tmp_path):
    touch(tmp_path, "b/1.png", "a/2.JPG", "a/b/3.dcm", "a-b/4.tif", "c.bmp", "notes.txt", "table.npy")
    assert names(tmp_path) == ["a/2.JPG", "a/b/3.dcm", "a-b/4.tif", "b/1.png", "c.bmp"]
    assert list_source(Source("s", tmp_path), BuildConfig()).other_kinds == ("notes.txt", "table.npy")


def test_hidden_files_and_folders_are_not_there(tmp_path):
    touch(tmp_path, "1.png", "._1.png", ".thumbs/1.png")
    assert names(tmp_path) == ["1.png"]


def test_linked_folders_are_entered_once(tmp_path):
    touch(tmp_path, "far/1.png", "near/2.png")
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "near" / "circle").symlink_to(tmp_path / "near")
    assert names(tmp_path / "near") == ["2.png", "link/1.png"]


def test_pipes_are_not_waited_for(tmp_path):
    touch(tmp_path, "1.png")
    os.mkfifo(tmp_path / "2.png")
    assert names(tmp_path) == ["1.png"]


def test_links_that_lead_nowhere_or_to_a_pipe_are_read_and_named(tmp_path):
    touch(tmp_path, "scans/1.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "scans" / "2.png").symlink_to(tmp_path / "gone")
    (tmp_path / "scans" / "3.png").symlink_to(tmp_path / "pipe")
    (tmp_path / "scans" / "4.png").symlink_to("x" * 300)  # the system refuses even to look for it
    (tmp_path / "scans" / "IM_0005").symlink_to("x" * 300)
    (tmp_path / "scans" / "6.png").symlink_to(tmp_path / "scans" / "6.png")
    names_here = ["1.png", "2.png", "3.png", "4.png", "6.png"]
    assert names(tmp_path / "scans") == names_here


def test_label_maps_are_left_out_and_listed(tmp_path):
    label_maps = ["Masks/mask_1.png", "annotations/1.PNG", "benign (1)_mask.png", "benign (1)_mask_1.png"]
    touch(tmp_path, "benign (1).png", "unmasked.png", "masked/1.png", *label_maps)
    listing = list_source(Source("s", tmp_path), BuildConfig())
    assert [file.name for file in listing.files] == ["benign (1).png", "masked/1.png", "unmasked.png"]
    assert sorted(listing.excluded) == sorted(label_maps)
    assert len(names(tmp_path, exclude=())) == 7


def test_a_pattern_matches_the_name_or_the_folder_and_name():
    assert is_excluded("x/Masks/1.png", ["Masks/*"])
    assert not is_excluded("Masks/x/1.png", ["Masks/*"])
    assert is_excluded("x/mask_1.png", ["mask_*"])
    assert not is_excluded("x/1.png", ["mask_*"])


def test_only_label_maps_is_no_image_found(tmp_path):
    touch(tmp_path, "mask_1.png", "a.txt")
    with pytest.raises(
        CorpusError, match=r"no image found \(1 look like label maps, 1 are of another kind\)"
    ):
        names(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FolderError, match="no such folder"):
        names(tmp_path / "gone")


def test_names_that_are_no_utf8_can_be_printed_and_stored(tmp_path):
    strange = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        strange.write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    (file,) = list_source(Source("s", tmp_path), BuildConfig()).files
    assert file.name == "caf\\xe9.png"
    assert file.path.read_bytes() == b"x"
    assert printable("щит 甲.png") == "щит 甲.png"


def test_a_known_dataset_names_its_own_images_patients_and_licence(tmp_path):
    root = fake_dataset("bus-bra", tmp_path / "bus", num_patients=6)
    listing = list_source(Source("breast", root, "bus-bra"), BuildConfig())
    assert all(file.name.startswith("Images/") for file in listing.files)
    assert len({file.group for file in listing.files}) == 6
    assert all(file.group.startswith("breast/") for file in listing.files)
    assert listing.licence


def test_equal_names_are_numbered_and_equal_folders_refused(tmp_path):
    sources = [Source("scans", tmp_path / name) for name in "abc"]
    assert [source.name for source in unique_sources(sources)] == ["scans", "scans-2", "scans-3"]
    with pytest.raises(CorpusError, match="is given twice"):
        unique_sources([sources[0], Source("other", tmp_path / "b" / ".." / "a")])
