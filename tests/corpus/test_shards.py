"""Reading back: the right pixels in any order, few open files, little memory, damage is named."""

import gc
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from usfmae.base.errors import CorpusError
from usfmae.base.files import file_sha256
from usfmae.corpus import shards
from usfmae.corpus.checksums import check_shards
from usfmae.corpus.shards import open_corpus, verify_corpus
from usfmae.datasets.duplicates import near_duplicate_matches
from usfmae.images.fingerprint import fingerprint
from usfmae.images.read import read_frame


def stored(corpus) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted(corpus.folder.glob("parts/*/shard.npy"))])


def test_rows_come_in_the_order_asked_for_repeats_included(corpus):
    everything = stored(corpus)
    order = np.array([11, 0, 7, 7, 3])
    assert np.array_equal(corpus.read(order), everything[order])
    assert corpus.read(np.array([], dtype=np.int64)).shape == (0, 32, 32)


@pytest.mark.parametrize("index", [-1, 12])
def test_a_row_that_is_not_there_is_an_index_error(corpus, index):
    with pytest.raises(IndexError, match="rows must be 0 to 11"):
        corpus.read(np.array([0, index]))


def test_few_files_stay_open_and_none_after_the_corpus_is_gone(corpus, monkeypatch):
    def num_open() -> int:
        here = str(corpus.folder.resolve())  # Arrow's threads may close the manifest a moment later
        paths = [file.path for file in psutil.Process().open_files()]
        return sum(path.startswith(here) and path.endswith("shard.npy") for path in paths)

    monkeypatch.setattr(shards, "MAX_OPEN_SHARDS", 1)
    again = open_corpus(corpus.folder)
    again.read(np.array([0, 11, 6, 1, 7]))
    assert num_open() == 1
    del again
    gc.collect()
    assert num_open() == 0


def test_a_shard_that_vanished_while_closed_is_named(corpus, monkeypatch, tmp_path):
    monkeypatch.setattr(shards, "MAX_OPEN_SHARDS", 1)
    shutil.copytree(corpus.folder, tmp_path / "copy")
    again = open_corpus(tmp_path / "copy")
    again.read(np.array([0, 11]))
    (tmp_path / "copy" / "parts" / "00000" / "shard.npy").unlink()
    with pytest.raises(CorpusError, match=r"00000/shard.npy: cannot be read \(No such file"):
        again.read(np.array([0]))


def test_threads_read_at_the_same_time_even_while_shards_are_closed(corpus, monkeypatch):
    monkeypatch.setattr(shards, "MAX_OPEN_SHARDS", 1)
    again = open_corpus(corpus.folder)
    everything = stored(corpus)
    wrong = []

    def read(seed: int) -> None:
        for _ in range(50):
            order = np.random.default_rng(seed).integers(0, 12, 8)
            if not np.array_equal(again.read(order), everything[order]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_content_hashes_are_those_of_the_manifest(corpus):
    assert corpus.content_hashes() == set(corpus.manifest["content_hash"].to_pylist())
    assert len(corpus.content_hashes()) == 12


def first_shard(corpus) -> Path:
    return corpus.folder / "parts" / "00000" / "shard.npy"


def test_a_flipped_byte_is_found_by_verify(corpus):
    assert verify_corpus(corpus.folder) == 7  # three shards, as many fingerprints, the manifest
    damaged = bytearray(first_shard(corpus).read_bytes())
    damaged[200] ^= 1
    first_shard(corpus).write_bytes(damaged)
    open_corpus(corpus.folder)
    with pytest.raises(
        CorpusError, match=r"1 of 7 files are damaged \(checksum; first: parts/00000/shard\.npy"
    ):
        verify_corpus(corpus.folder)


def test_a_short_or_missing_shard_is_found_on_opening(corpus):
    whole = first_shard(corpus).read_bytes()
    first_shard(corpus).write_bytes(whole[:-1])
    with pytest.raises(
        CorpusError, match=r"1 of 3 shards .*first: parts/00000/shard\.npy \(of another length"
    ):
        open_corpus(corpus.folder)
    first_shard(corpus).unlink()
    with pytest.raises(CorpusError, match=r"first: parts/00000/shard\.npy \(missing"):
        open_corpus(corpus.folder)


def test_a_shard_that_shrinks_while_open_is_an_error_not_old_memory(corpus):
    first_shard(corpus).write_bytes(first_shard(corpus).read_bytes()[:600])
    with pytest.raises(CorpusError, match=r"shard\.npy: ends early"):
        corpus.read(np.array([4]))


def test_a_shard_of_another_kind_is_an_error(corpus):
    first_shard(corpus).write_bytes(b"x" * 5000)
    with pytest.raises(CorpusError, match="cannot be read"):
        corpus.read(np.array([0]))


def test_a_damaged_manifest_is_an_error(corpus):
    (corpus.folder / "manifest.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(CorpusError, match=r"manifest\.parquet: cannot be read"):
        open_corpus(corpus.folder)


def test_what_is_no_corpus_says_so(tmp_path):
    with pytest.raises(CorpusError, match="is no corpus"):
        open_corpus(tmp_path)
    (tmp_path / "corpus.json").write_text(json.dumps({"status": "building"}))
    with pytest.raises(CorpusError, match="is not finished"):
        open_corpus(tmp_path)


def change_record(corpus, change) -> None:
    record = json.loads((corpus.folder / "corpus.json").read_text())
    change(record)
    (corpus.folder / "corpus.json").write_text(json.dumps(record))


def test_a_manifest_of_another_corpus_is_an_error(corpus):
    path = corpus.folder / "manifest.parquet"
    pq.write_table(pq.read_table(path).slice(0, 11), path)
    with pytest.raises(CorpusError, match=r"manifest\.parquet: is damaged, or .*\(11 images; .* of 12"):
        open_corpus(corpus.folder)


def test_a_corpus_of_another_version_is_refused(corpus):
    assert corpus.record["format"] == 1
    change_record(corpus, lambda record: record.update(format=2))
    with pytest.raises(CorpusError, match=r"another version of usfmae \(format 2, here 1\)") as caught:
        open_corpus(corpus.folder)
    assert caught.value.hint.startswith("use that version, or build it again")
    (corpus.folder / "corpus.json").write_text("[]")
    with pytest.raises(CorpusError, match="another version"):
        open_corpus(corpus.folder)


@pytest.mark.parametrize("name", ["sha256", "shards", "manifest_sha256"])
def test_a_record_that_lacks_something_is_damaged(corpus, name):
    change_record(corpus, lambda record: record.pop(name))
    with pytest.raises(CorpusError, match=rf"corpus\.json: is damaged \({name} is missing\)"):
        open_corpus(corpus.folder)


def test_shards_are_checked_once_and_again_when_they_change(corpus):
    assert check_shards(corpus) == 3
    assert check_shards(corpus) == 0
    whole = first_shard(corpus).read_bytes()
    first_shard(corpus).write_bytes(whole)
    assert check_shards(corpus) == 1
    damaged = bytearray(whole)
    damaged[200:1000] = bytes(255 - byte for byte in damaged[200:1000])
    first_shard(corpus).write_bytes(damaged)
    said = r"1 of 3 shards are damaged \(checksum; first: parts/00000/shard\.npy\)"
    for _ in range(2):  # a failure is not remembered as a success
        with pytest.raises(CorpusError, match=said):
            check_shards(corpus)
    first_shard(corpus).write_bytes(whole)
    (corpus.folder / ".checked.json").write_text("[")
    assert check_shards(corpus) == 3


def test_fingerprints_are_those_of_the_files_and_of_the_rows(corpus, scans):
    thumbs = corpus.fingerprints()
    assert thumbs.shape == (12, 22, 22)
    for row, thumb in zip(corpus.manifest.to_pylist(), thumbs, strict=True):
        assert np.array_equal(thumb, fingerprint(read_frame(scans / row["path"]).pixels))


def test_a_corpus_from_before_fingerprints_takes_them_from_its_pixels(corpus):
    before = corpus.fingerprints()
    table = pq.read_table(corpus.folder / "manifest.parquet")
    pq.write_table(table.drop_columns(["cluster"]), corpus.folder / "manifest.parquet")

    def as_before(record) -> None:
        del record["fingerprints"], record["format"]
        record["manifest_sha256"] = file_sha256(corpus.folder / "manifest.parquet")

    change_record(corpus, as_before)
    old = open_corpus(corpus.folder)
    assert old.manifest["cluster"].to_pylist() == [None] * 12
    # 48 x 40 shrunk to 32 x 27: the same picture, not the same cells
    assert np.abs(old.fingerprints().astype(int) - before).mean() < 6
    assert np.array_equal(near_duplicate_matches(before, old.fingerprints()).left, np.arange(12))


def test_damaged_fingerprints_are_noticed(corpus):
    path = corpus.folder / "parts" / "00001" / "fingerprints.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorpusError, match=r"first: parts/00001/fingerprints\.npy"):
        verify_corpus(corpus.folder)
    with pytest.raises(CorpusError, match="fingerprints are damaged"):
        corpus.fingerprints()
