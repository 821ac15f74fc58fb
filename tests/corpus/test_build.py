"""Building: what goes in comes out, the same however often it was stopped, and nothing bad is silent."""

import errno
import json
import logging
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from usfmae.base import files
from usfmae.base.errors import CorpusError, FolderError, SettingError
from usfmae.corpus import build
from usfmae.corpus.build import build_corpus
from usfmae.corpus.part import build_part
from usfmae.corpus.shards import open_corpus
from usfmae.corpus.sources import Source
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frame


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a corpus but corpus.json, and what corpus.json says but for times."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "corpus.json"
    }
    record = json.loads((folder / "corpus.json").read_text())
    for name in ("made_by", "seconds"):
        record.pop(name)
    return {**found, "corpus.json": json.dumps(record).encode()}


def test_every_image_is_stored_as_prepared_with_its_row(scans, corpus):
    assert len(corpus) == 12
    for index, row in enumerate(corpus.manifest.to_pylist()):
        frame = read_frame(scans / row["path"])
        assert np.array_equal(corpus.read(np.array([index]))[0], prepare(frame, size_px=32))
        assert (row["source"], row["frame"], row["num_frames"]) == ("scans", 0, 1)
        assert (row["height"], row["width"]) == (40, 48)
        assert row["group"] == f"scans/{row['path']}"
    assert corpus.manifest["path"].to_pylist() == [f"a/{k:02d}.png" for k in range(7)] + [
        f"b/{k:02d}.png" for k in range(7, 12)
    ]
    assert corpus.manifest["shard"].to_pylist() == [0] * 5 + [1] * 5 + [2] * 2


def test_an_owner_says_the_licence_and_the_anatomy_of_a_folder(scans, config, tmp_path):
    source = Source("scans", scans, licence="CC-BY-NC-4.0", anatomy="abdomen")
    corpus = build_corpus([source], out=tmp_path / "c", config=config)
    (entry,) = corpus.record["sources"]
    assert (entry["licence"], entry["anatomy"]) == ("CC-BY-NC-4.0", "abdomen")
    assert (entry["terms"]["commercial"], corpus.terms["commercial"]) == (False, False)
    said = r"licence of source scans was CC-BY-NC-4.0, now not stated; anatomy of source scans was abdomen"
    with pytest.raises(CorpusError, match=said):
        build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config, resume=True)


def test_the_record_says_what_was_made_of_what(scans, corpus, config):
    record = corpus.record
    assert record["status"] == "finished"
    assert record["made_by"]["stage"] == "corpus build"
    assert record["made_by"]["settings"] == config.model_dump(mode="json")
    assert (record["num_images"], record["num_groups"], record["size_px"]) == (12, 12, 32)
    assert record["bytes"] == sum(128 + n * 32 * 32 for n in (5, 5, 2))
    assert record["sources"] == [
        {
            "name": "scans", "dataset": None, "folder": str(scans), "licence": None,
            "num_files": 12, "num_images": 12,
            "terms": {"commercial": None, "share": None, "derivatives": None, "share_alike": False},
            "anatomy": None,
        }
    ]  # fmt: skip


def test_workers_do_not_change_a_byte(scans, corpus, config, tmp_path):
    build_corpus([Source("scans", scans)], out=tmp_path / "two", config=config, workers=2)
    assert content(tmp_path / "two") == content(corpus.folder)


def test_a_corpus_is_the_same_wherever_its_files_lie(scans, corpus, config, tmp_path):
    shutil.copytree(scans, tmp_path / "elsewhere" / "scans")
    other = build_corpus(
        [Source("scans", tmp_path / "elsewhere" / "scans")], out=tmp_path / "c", config=config
    )
    assert other.sha256 == corpus.sha256


def test_another_picture_is_another_corpus(scans, corpus, config, tmp_path):
    pixels = np.array(Image.open(scans / "a" / "00.png"))
    pixels[20, 20] ^= 128
    Image.fromarray(pixels).save(scans / "a" / "00.png")
    other = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config)
    assert other.sha256 != corpus.sha256


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_an_interrupted_build_resumes_to_the_same_bytes(
    scans, corpus, config, tmp_path, monkeypatch, stop_after
):
    def interrupted(part, **how):
        if part.index == stop_after:
            raise KeyboardInterrupt
        return build_part(part, **how)

    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(build, "build_part", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_corpus([Source("scans", scans)], out=out, config=config)
    with pytest.raises(CorpusError, match="is not finished"):
        open_corpus(out)
    build_corpus([Source("scans", scans)], out=out, config=config, resume=True)
    assert content(out) == content(corpus.folder)


def test_a_resume_reads_only_what_is_missing(scans, corpus, config, monkeypatch):
    record = json.loads((corpus.folder / "corpus.json").read_text())
    record["status"] = "building"
    (corpus.folder / "corpus.json").write_text(json.dumps(record))
    with (corpus.folder / "parts" / "00001" / "shard.npy").open("rb+") as file:
        file.truncate(1000)  # a disk that lost its end
    shutil.rmtree(corpus.folder / "parts" / "00002")
    built = []
    monkeypatch.setattr(
        build, "build_part", lambda part, **how: built.append(part.index) or build_part(part, **how)
    )
    again = build_corpus([Source("scans", scans)], out=corpus.folder, config=config, resume=True)
    assert built == [1, 2]
    assert again.sha256 == corpus.sha256


def test_a_finished_corpus_says_so_and_is_returned(scans, corpus, config, monkeypatch, caplog):
    monkeypatch.setattr(build, "build_part", lambda *_, **__: pytest.fail("was built again"))
    caplog.set_level(logging.INFO)
    again = build_corpus([Source("scans", scans)], out=corpus.folder, config=config, resume=True)
    assert again.sha256 == corpus.sha256
    assert "is finished already" in caplog.text


def test_an_existing_folder_is_an_error_and_overwrite_starts_again(scans, corpus, config):
    with pytest.raises(FolderError, match="exists already"):
        build_corpus([Source("scans", scans)], out=corpus.folder, config=config)
    (scans / "a" / "00.png").unlink()
    again = build_corpus([Source("scans", scans)], out=corpus.folder, config=config, overwrite=True)
    assert len(again) == 11


def test_resuming_otherwise_says_what_differs(scans, corpus, config):
    def resume(sources, **changes):
        other = config.model_copy(update=changes)
        return build_corpus(sources, out=corpus.folder, config=other, resume=True)

    with pytest.raises(CorpusError, match="size_px was 32, now 64"):
        resume([Source("scans", scans)], size_px=64)
    with pytest.raises(CorpusError, match="source other is new; source scans is gone"):
        resume([Source("other", scans)])
    (scans / "a" / "00.png").unlink()
    with pytest.raises(CorpusError, match=r"other files .*12 files then, 11 now"):
        resume([Source("scans", scans)])
    assert len(open_corpus(corpus.folder)) == 12


def test_somebody_elses_folder_is_not_written_into(scans, config, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    with pytest.raises(FolderError, match=r"holds no corpus\.json to go on with, but chapter1\.tex"):
        build_corpus([Source("scans", scans)], out=tmp_path / "thesis", config=config, resume=True)
    with pytest.raises(FolderError, match="not deleted"):
        build_corpus([Source("scans", scans)], out=tmp_path / "thesis", config=config, overwrite=True)


def test_two_builds_do_not_write_the_same_folder(scans, config, tmp_path):
    out = tmp_path / "c"
    out.mkdir()
    with (
        files.alone_in(out, doing="build"),
        pytest.raises(FolderError, match="another build is writing there"),
    ):
        build_corpus([Source("scans", scans)], out=out, config=config, resume=True)
    assert len(build_corpus([Source("scans", scans)], out=out, config=config)) == 12


def test_unreadable_files_are_counted_named_and_left_out(scans, config, tmp_path, caplog):
    (scans / "b" / "zero.png").write_bytes(b"")
    out = tmp_path / "c"
    corpus = build_corpus([Source("scans", scans)], out=out, config=config)
    assert corpus.record["left_out"]["unreadable"] == {
        "count": 1,
        "named": [{"source": "scans", "path": "b/zero.png", "why": "is empty (0 bytes)"}],
    }
    assert len(corpus) == 12
    assert "1 unreadable files were left out (first: b/zero.png: is empty" in caplog.text


def test_every_kind_of_bad_file_is_named_with_its_reason(scans, config, tmp_path):
    bad = scans / "bad"
    bad.mkdir()
    (bad / "zero.png").write_bytes(b"")
    (bad / "text.jpg").write_text("404 not found")
    (bad / "cut.png").write_bytes((scans / "a" / "00.png").read_bytes()[:200])
    (bad / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1" * 50)
    (bad / "nowhere.png").symlink_to(bad / "gone.png")
    Image.new("1", (20_000, 100)).save(bad / "huge.png")
    Image.new("L", (1, 1)).save(bad / "one.png")
    Image.new("L", (12, 40), 9).save(bad / "narrow.png")
    Image.new("CMYK", (40, 40), (9, 9, 9, 9)).save(bad / "ink.tif")
    Image.fromarray(np.full((40, 40), 3000, np.uint16)).save(bad / "deep.png")
    config = config.model_copy(update={"max_unreadable_ratio": 1.0})
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config)
    why = {entry["path"]: entry["why"] for entry in corpus.record["left_out"]["unreadable"]["named"]}
    assert {name.removeprefix("bad/"): words.split(" ")[0:4] for name, words in why.items()} == {
        "broken.dcm": ["is", "not", "DICOM,", "or"],
        "cut.png": ["is", "damaged", "or", "cut"],
        "huge.png": ["is", "20000", "x", "100"],
        "nowhere.png": ["No", "such", "file", "or"],
        "one.png": ["is", "1", "x", "1"],
        "text.jpg": ["is", "not", "an", "image"],
        "zero.png": ["is", "empty", "(0", "bytes)"],
    }
    assert corpus.record["left_out"]["too_small"]["named"] == [
        {"source": "scans", "path": "bad/narrow.png", "why": "12 x 40 px"}
    ]
    assert {"bad/ink.tif", "bad/deep.png"} <= set(corpus.manifest["path"].to_pylist())


def test_too_many_unreadable_files_stop_the_build_unless_allowed(scans, config, tmp_path):
    for k in range(2):  # 2 of 14 are 14 %
        (scans / "b" / f"zero{k}.png").write_bytes(b"")
    out = tmp_path / "c"
    with pytest.raises(
        CorpusError, match=r"2 of 14 files cannot be read, more than the 10% .*zero0\.png: is empty"
    ):
        build_corpus([Source("scans", scans)], out=out, config=config)
    allowed = config.model_copy(update={"max_unreadable_ratio": 0.2})
    assert len(build_corpus([Source("scans", scans)], out=out, config=allowed, resume=True)) == 12


def test_the_first_of_equal_images_stays(scans, config, tmp_path):
    shutil.copy(scans / "a" / "03.png", scans / "b" / "copy.png")
    Image.open(scans / "a" / "04.png").save(scans / "b" / "recoded.bmp")
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config)
    assert len(corpus) == 12
    assert corpus.record["left_out"]["repeat"]["named"] == [
        {"source": "scans", "path": "b/copy.png", "why": "same pixels as scans/a/03.png"},
        {"source": "scans", "path": "b/recoded.bmp", "why": "same pixels as scans/a/04.png"},
    ]
    keep = config.model_copy(update={"drop_repeats": False, "keep_per_cluster": None})
    assert len(build_corpus([Source("scans", scans)], out=tmp_path / "d", config=keep)) == 14


def test_a_clip_is_thinned_and_its_frames_share_a_group(scans, config, tmp_path):
    frames = [Image.fromarray(np.full((40, 40), 8 * k, np.uint8)) for k in range(30)]
    frames[0].save(scans / "clip.tif", save_all=True, append_images=frames[1:])
    config = config.model_copy(update={"max_frames_per_clip": 3, "clip_choice": "even"})
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config)
    clip = [row for row in corpus.manifest.to_pylist() if row["path"] == "clip.tif"]
    assert [row["frame"] for row in clip] == [5, 15, 25]
    assert {(row["group"], row["num_frames"]) for row in clip} == {("scans/clip.tif", 30)}


def test_frozen_frames_of_a_clip_are_repeats(scans, config, tmp_path):
    still = Image.fromarray(np.full((40, 40), 9, np.uint8))
    still.save(scans / "clip.tif", save_all=True, append_images=[still] * 3)
    by_change = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config)
    assert len(by_change) == 13  # nothing changes, so only the first is looked at any further
    even = config.model_copy(update={"clip_choice": "even"})
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "even", config=even)
    assert len(corpus) == 13
    assert corpus.record["left_out"]["repeat"]["count"] == 3


def test_a_clip_that_breaks_off_keeps_its_good_frames_and_is_named(scans, config, tmp_path):
    frames = [picture_of(k) for k in range(3)]
    frames[0].save(scans / "clip.gif", save_all=True, append_images=frames[1:])
    whole = (scans / "clip.gif").read_bytes()
    (scans / "clip.gif").write_bytes(whole[: int(len(whole) * 0.8)])
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config)
    kept = [row["frame"] for row in corpus.manifest.to_pylist() if row["path"] == "clip.gif"]
    assert kept == [0, 1]
    assert [entry["path"] for entry in corpus.record["left_out"]["unreadable"]["named"]] == ["clip.gif"]


def picture_of(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40)).astype(np.uint8))


def test_a_pool_without_anything_left_is_an_error(tmp_path, config):
    (tmp_path / "scans").mkdir()
    Image.new("L", (12, 12)).save(tmp_path / "scans" / "a.png")
    with pytest.raises(CorpusError, match=r"nothing is left for the pool \(1 too_small\)"):
        build_corpus([Source("scans", tmp_path / "scans")], out=tmp_path / "c", config=config)


def test_no_images_is_an_error_and_leaves_no_folder(tmp_path, config):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "notes.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"no image found .*1 are of another kind"):
        build_corpus([Source("scans", tmp_path / "scans")], out=tmp_path / "c", config=config)
    with pytest.raises(FolderError, match="no such folder"):
        build_corpus([Source("scans", tmp_path / "scan")], out=tmp_path / "c", config=config)
    with pytest.raises(CorpusError, match="no source was given"):
        build_corpus([], out=tmp_path / "c", config=config)
    with pytest.raises(SettingError, match="bus-bro"):
        build_corpus([Source("x", tmp_path / "scans", "bus-bro")], out=tmp_path / "c", config=config)
    assert not (tmp_path / "c").exists()


def test_a_full_disk_keeps_what_was_stored(scans, corpus, config, tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 12:  # in the second part
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    out = tmp_path / "full"
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(FolderError, match="No space left") as caught:
            build_corpus([Source("scans", scans)], out=out, config=config)
    assert "--resume" in caught.value.hint
    assert sorted(path.name for path in (out / "parts").iterdir()) == ["00000"]
    build_corpus([Source("scans", scans)], out=out, config=config, resume=True)
    assert content(out) == content(corpus.folder)


def test_a_corpus_crosses_processes(corpus):
    again = pickle.loads(pickle.dumps(corpus))
    assert np.array_equal(again.read(np.arange(12)), corpus.read(np.arange(12)))
