"""Embeddings of many files: rows, order, what is unreadable, and going on after a kill."""

import json
import os
from typing import ClassVar

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_shelf import put_on_shelf

import usfmae
from usfmae.base.errors import FolderError, ImageError, SettingError
from usfmae.evaluate import embed_files as module
from usfmae.evaluate.embed_files import EmbedConfig, embed_files, find_files
from usfmae.evaluate.frame_stream import FrameStream, ReadFile
from usfmae.images.read import read_frames


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return usfmae.load(put_on_shelf(tmp_path_factory.mktemp("shelf")))


def draw(path, seed, frames=1):
    noise = np.random.default_rng(seed)
    drawn = [
        Image.fromarray(cv2.GaussianBlur(noise.integers(0, 256, (40, 48), dtype=np.uint8), (5, 5), 2))
        for _ in range(frames)
    ]
    path.parent.mkdir(exist_ok=True, parents=True)
    if frames == 1:
        drawn[0].save(path)
    else:
        drawn[0].save(path, save_all=True, append_images=drawn[1:])
    return path


@pytest.fixture
def scans(tmp_path):
    for k in range(5):
        draw(tmp_path / "scans" / f"{k}.png", k)
    draw(tmp_path / "scans" / "clips" / "c.tiff", 9, frames=40)
    return tmp_path / "scans"


def rows_of(path):
    return pq.read_table(path).to_pylist()


def test_a_row_per_frame_in_order_with_the_vectors_of_embed(model, scans, tmp_path):
    out = tmp_path / "features.parquet"
    record = embed_files([scans], model, out=out, config=EmbedConfig(batch=7))
    rows = rows_of(out)
    clip = str(scans / "clips" / "c.tiff")
    stills = [str(scans / f"{k}.png") for k in range(5)]
    assert [(row["path"], row["frame"]) for row in rows] == [
        *((still, 0) for still in stills), *((clip, k) for k in range(40)),
    ]  # fmt: skip
    expected = model.embed([*stills, *read_frames(scans / "clips" / "c.tiff")])
    np.testing.assert_allclose([row["embedding"] for row in rows], expected, atol=1e-5)
    assert (record["num_files"], record["num_rows"], record["width"]) == (6, 45, model.width)
    assert record["unreadable"] == {"count": 0, "named": []}
    assert json.loads(out.with_suffix(".json").read_text()) == record
    schema = pq.read_schema(out)
    assert str(schema.field("embedding").type) == f"fixed_size_list<element: float>[{model.width}]"
    assert json.loads(schema.metadata[b"usfmae"])["weights_sha256"] == model.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.json", "features.parquet", "scans"]


def test_every_nth_frame_of_clips_and_every_still(model, scans, tmp_path):
    embed_files([scans], model, out=tmp_path / "f.parquet", config=EmbedConfig(every=15))
    rows = rows_of(tmp_path / "f.parquet")
    assert [row["frame"] for row in rows] == [0, 0, 0, 0, 0, 0, 15, 30]


def test_an_unreadable_file_is_counted_named_and_listed(model, scans, tmp_path, caplog):
    (scans / "1.png").write_text("no picture")
    whole = (scans / "3.png").read_bytes()
    (scans / "3.png").write_bytes(whole[: len(whole) // 2])
    record = embed_files([scans], model, out=tmp_path / "f.parquet", config=EmbedConfig())
    assert record["unreadable"]["count"] == 2
    assert [one["path"] for one in record["unreadable"]["named"]] == [str(scans / f"{k}.png") for k in (1, 3)]
    assert all(one["rows"] == 0 and one["why"] for one in record["unreadable"]["named"])
    assert str(scans / "1.png") not in {row["path"] for row in rows_of(tmp_path / "f.parquet")}


def test_not_one_readable_file_is_an_error_and_no_table(model, tmp_path):
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(ImageError, match="not one of 1 files can be read"):
        embed_files([tmp_path / "a.png"], model, out=tmp_path / "f.parquet", config=EmbedConfig())
    assert not (tmp_path / "f.parquet").exists()


class Pulled(BaseException):
    """The plug."""


class Watched(FrameStream):
    """Notes what is read, and pulls the plug at a file."""

    read: ClassVar[list[str]] = []
    plug: ClassVar[str] = ""

    def _begin(self, path):
        if path.name == self.plug:
            raise Pulled
        self.read.append(path.name)
        return super()._begin(path)


def test_after_a_kill_it_goes_on_with_the_next_part_and_ends_equal(model, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FILES_PER_PART", 2)
    embed_files([scans], model, out=tmp_path / "whole.parquet", config=EmbedConfig())
    out, parts = tmp_path / "f.parquet", tmp_path / "f.parquet.parts"
    monkeypatch.setattr(module, "FrameStream", Watched)
    monkeypatch.setattr(Watched, "plug", "3.png")
    with pytest.raises(Pulled):
        embed_files([scans], model, out=out, config=EmbedConfig())
    assert not out.exists()
    assert sorted(path.name for path in parts.iterdir()) == ["embed.json", "part-00000.parquet"]
    with pytest.raises(FolderError, match="exists already"):
        embed_files([scans], model, out=out, config=EmbedConfig())
    with pytest.raises(FolderError, match="begun with other weights, files or settings"):
        embed_files([scans], model, out=out, config=EmbedConfig(every=2), resume=True)
    monkeypatch.setattr(Watched, "plug", "")
    Watched.read.clear()
    embed_files([scans], model, out=out, config=EmbedConfig(), resume=True)
    assert Watched.read == ["2.png", "3.png", "4.png", "c.tiff"]
    assert rows_of(out) == rows_of(tmp_path / "whole.parquet")
    assert not parts.exists()


def test_a_finished_table_is_not_made_twice_nor_replaced_unasked(model, scans, tmp_path):
    out = tmp_path / "f.parquet"
    first = embed_files([scans], model, out=out, config=EmbedConfig())
    written = out.stat().st_mtime_ns
    assert embed_files([scans], model, out=out, config=EmbedConfig(), resume=True) == first
    assert out.stat().st_mtime_ns == written
    with pytest.raises(FolderError, match="exists already"):
        embed_files([scans], model, out=out, config=EmbedConfig())
    with pytest.raises(FolderError, match="was made with other weights, files or settings"):
        embed_files([scans], model, out=out, config=EmbedConfig(every=2), resume=True)
    assert embed_files([scans], model, out=out, config=EmbedConfig(every=2), overwrite=True)["num_rows"] == 25


def test_bad_names_get_a_hint(tmp_path, model):
    with pytest.raises(FolderError, match="no files were named"):
        find_files([])
    with pytest.raises(FolderError, match="nowhere: no such file or folder"):
        find_files([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "table.csv").write_text("a")
    with pytest.raises(FolderError, match="empty: holds no image"):
        find_files([tmp_path / "empty"])
    file = draw(tmp_path / "a.png", 0)
    with pytest.raises(SettingError, match=r"a\.png: is there twice$"):
        find_files([file, file])
    (tmp_path / "link.png").symlink_to(file)
    with pytest.raises(SettingError, match=r"link.png: is there twice \(also as"):
        find_files([file, tmp_path / "link.png"])
    with pytest.raises(SettingError, match=r"is no \.parquet file") as caught:
        embed_files([file], model, out=tmp_path / "f.csv", config=EmbedConfig())
    assert "f.parquet" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_said(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"cannot be written|is a file"):
        embed_files(
            [draw(tmp_path / "a.png", 0)], model, out=tmp_path / "file" / "f.parquet", config=EmbedConfig()
        )


def test_a_name_that_is_no_utf8_is_readable_text(model, tmp_path):
    draw(tmp_path / "a.png", 0).rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    embed_files([tmp_path], model, out=tmp_path / "f.parquet", config=EmbedConfig())
    assert rows_of(tmp_path / "f.parquet")[0]["path"].endswith("caf\\xe9.png")


def test_frames_before_damage_are_kept_and_the_file_is_named(tmp_path):
    clip = draw(tmp_path / "c.tiff", 0, frames=6)
    clip.write_bytes(clip.read_bytes()[: int(clip.stat().st_size * 0.6)])
    with FrameStream([clip], lambda frame: frame.pixels, every=1, threads=1) as stream:
        items = list(stream)
    assert isinstance(items[-1], ReadFile)
    assert items[-1].problem is not None
    assert items[-1].num_frames == len(items) - 1


def test_a_long_clip_is_not_read_whole_ahead(tmp_path):
    clip = draw(tmp_path / "c.tiff", 0, frames=40)
    made = []
    with FrameStream([clip], lambda frame: made.append(1) or frame.pixels, every=1, threads=1) as stream:
        next(iter(stream))
        assert len(made) <= 16
