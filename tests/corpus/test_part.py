"""A part is a plain .npy file and its rows."""

import numpy as np
import pytest

from usfmae.corpus.part import HEADER_BYTES, Part, build_part, is_stored, part_folder, read_part
from usfmae.corpus.sources import SourceFile


@pytest.fixture
def part(scans):
    paths = sorted(scans.rglob("*.png"))[:3]
    return Part(7, tuple(SourceFile("s", path, path.name, f"s/{path.name}") for path in paths))


def test_a_shard_is_what_numpy_itself_would_save(part, config, tmp_path):
    assert build_part(part, corpus=tmp_path / "c", config=config) == 3
    shard = part_folder(tmp_path / "c", 7) / "shard.npy"
    np.save(tmp_path / "other.npy", np.load(shard))
    assert shard.read_bytes() == (tmp_path / "other.npy").read_bytes()
    assert shard.stat().st_size == HEADER_BYTES + 3 * 32 * 32
    assert [(row["shard"], row["row"]) for row in read_part(tmp_path / "c", 7)["rows"]] == [
        (7, 0),
        (7, 1),
        (7, 2),
    ]


@pytest.mark.parametrize("num_images", [0, 1, 999_999_999])
def test_the_header_has_room_for_any_number_of_images(num_images, tmp_path):
    with (tmp_path / "h").open("wb") as file:
        shape = (num_images, 1024, 1024)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        assert file.tell() == HEADER_BYTES


def test_a_part_of_unreadable_files_is_an_empty_shard(config, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    part = Part(0, (SourceFile("s", tmp_path / "a.png", "a.png", "s/a.png"),))
    build_part(part, corpus=tmp_path / "c", config=config)
    assert np.load(part_folder(tmp_path / "c", 0) / "shard.npy").shape == (0, 32, 32)
    assert is_stored(tmp_path / "c", 0, size_px=32)


def test_a_part_counts_as_stored_only_if_it_is_whole(part, config, tmp_path):
    corpus = tmp_path / "c"
    assert not is_stored(corpus, 7, size_px=32)
    build_part(part, corpus=corpus, config=config)
    assert is_stored(corpus, 7, size_px=32)
    assert not is_stored(corpus, 7, size_px=64)
    rows = part_folder(corpus, 7) / "rows.json"
    whole = rows.read_bytes()
    rows.write_bytes(whole[:-10])
    assert not is_stored(corpus, 7, size_px=32)
    rows.write_bytes(whole)
    with (part_folder(corpus, 7) / "shard.npy").open("ab") as file:
        file.write(b"x")
    assert not is_stored(corpus, 7, size_px=32)
