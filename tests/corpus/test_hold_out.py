"""Evaluation images leave the pool by content, whatever they are called there."""

import shutil

import numpy as np
import pytest
from PIL import Image

from usfmae.base.errors import CorpusError
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.hold_out import held_out_files, read_held_sets
from usfmae.corpus.sources import Source
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.registry import read_dataset


@pytest.fixture
def breast(tmp_path):
    return fake_dataset("bus-bra", tmp_path / "bus", num_patients=6)


def test_held_out_images_leave_under_any_name_and_format(scans, breast, config, tmp_path):
    items = read_dataset("bus-bra", breast).items
    for k, item in enumerate(items[:3]):
        with Image.open(item.path) as image:
            image.convert("RGB").save(scans / "b" / f"renamed{k}.tif")  # colour: the same grey pixels
    corpus = build_corpus(
        [Source("scans", scans)], out=tmp_path / "c", config=config, hold_out=[("bus-bra", breast)]
    )
    assert len(corpus) == 12
    assert corpus.record["held_out"] == {
        "bus-bra": {"images": len(items), "found_in_pool": 3, "near_duplicates_in_pool": 0}
    }
    assert [entry["path"] for entry in corpus.record["left_out"]["held_out"]["named"]] == [
        f"b/renamed{k}.tif" for k in range(3)
    ]
    held = read_held_sets(held_out_files([("bus-bra", breast)]), config=BuildConfig(size_px=32), workers=1)
    assert not set(held["bus-bra"].hashes) & corpus.content_hashes()


def test_a_source_that_holds_the_whole_set_keeps_none_of_it(scans, breast, config, tmp_path):
    shutil.copytree(breast, scans / "bus")
    corpus = build_corpus(
        [Source("scans", scans)], out=tmp_path / "c", config=config, hold_out=[("bus-bra", breast)]
    )
    assert {row["path"].split("/")[0] for row in corpus.manifest.to_pylist()} == {"a", "b"}


def test_a_set_given_twice_adds_up_and_a_folder_goes_by_its_name(scans, config, tmp_path):
    for name in ("x/own", "y/own"):
        (tmp_path / name / "benign").mkdir(parents=True)
        (tmp_path / name / "malignant").mkdir()
        shutil.copy(scans / "a" / "00.png", tmp_path / name / "benign")
        Image.fromarray(np.full((40, 40), ord(name[0]), np.uint8)).save(
            tmp_path / name / "malignant" / "1.png"
        )
    shutil.copy(scans / "a" / "00.png", scans / "b" / "again.png")
    hold_out = [("folder", tmp_path / "x/own"), ("folder", tmp_path / "y/own")]
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config, hold_out=hold_out)
    # the picture itself, and a flat one of each folder
    assert corpus.record["held_out"] == {
        "own": {"images": 3, "found_in_pool": 1, "near_duplicates_in_pool": 0}
    }
    assert corpus.record["left_out"]["held_out"]["count"] == 2
    assert len(corpus) == 11


def test_an_image_of_two_sets_counts_for_both(scans, breast, config, tmp_path):
    (tmp_path / "own" / "benign").mkdir(parents=True)
    (tmp_path / "own" / "malignant").mkdir()
    shared = read_dataset("bus-bra", breast).items[0].path
    shutil.copy(shared, tmp_path / "own" / "benign")
    shutil.copy(scans / "a" / "00.png", tmp_path / "own" / "malignant")
    shutil.copy(shared, scans / "b" / "again.png")
    hold_out = [("bus-bra", breast), ("folder", tmp_path / "own")]
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config, hold_out=hold_out)
    assert {name: held["found_in_pool"] for name, held in corpus.record["held_out"].items()} == {
        "bus-bra": 1,
        "own": 2,
    }
    assert corpus.record["left_out"]["held_out"]["named"][1]["why"] == "is in bus-bra, own"


def test_two_workers_find_the_same_hashes(breast):
    files = held_out_files([("bus-bra", breast)])
    files["bus-bra"] *= 10  # more than one job
    one = read_held_sets(files, config=BuildConfig(size_px=32), workers=1)
    two = read_held_sets(files, config=BuildConfig(size_px=32), workers=2)
    assert (one["bus-bra"].hashes, one["bus-bra"].names) == (two["bus-bra"].hashes, two["bus-bra"].names)
    assert np.array_equal(one["bus-bra"].fingerprints, two["bus-bra"].fingerprints)


def test_what_cannot_be_read_cannot_be_held_out(scans, breast, config, tmp_path):
    damaged = read_dataset("bus-bra", breast).items[2].path
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(CorpusError, match=rf"--hold-out bus-bra: .*{damaged.name}.* cut short"):
        build_corpus(
            [Source("scans", scans)], out=tmp_path / "c", config=config, hold_out=[("bus-bra", breast)]
        )


def test_a_resume_with_another_held_out_set_is_refused(scans, corpus, config, breast):
    with pytest.raises(CorpusError, match="held-out set bus-bra is new"):
        build_corpus(
            [Source("scans", scans)],
            out=corpus.folder,
            config=config,
            hold_out=[("bus-bra", breast)],
            resume=True,
        )


def test_a_stretched_corpus_says_so_and_still_holds_out_by_content(scans, breast, config, tmp_path):
    items = read_dataset("bus-bra", breast).items
    shutil.copy(items[0].path, scans / "b" / f"renamed{items[0].path.suffix}")
    with Image.open(items[0].path) as image:
        assert image.width != image.height
    stretched = config.model_copy(update={"fit": "stretch"})
    corpus = build_corpus(
        [Source("scans", scans)], out=tmp_path / "c", config=stretched, hold_out=[("bus-bra", breast)]
    )
    assert corpus.fit == "stretch"
    assert corpus.record["held_out"]["bus-bra"]["found_in_pool"] == 1
    held = read_held_sets(held_out_files([("bus-bra", breast)]), config=stretched, workers=1)
    padded = read_held_sets(held_out_files([("bus-bra", breast)]), config=config, workers=1)
    assert not set(held["bus-bra"].hashes) & set(padded["bus-bra"].hashes)


def disguised(path, out):
    """A mirrored, darker, smaller JPEG of an image."""
    with Image.open(path) as image:
        copy = image.convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT).point(lambda grey: grey * 0.8)
        copy.resize((copy.width * 3 // 4, copy.height * 3 // 4)).save(out, quality=30)


def test_disguised_evaluation_images_leave_too_and_are_counted_apart(scans, breast, config, tmp_path):
    items = read_dataset("bus-bra", breast).items
    shutil.copy(items[0].path, scans / "b" / "copy.png")
    for k in (1, 2):
        disguised(items[k].path, scans / "b" / f"holiday{k}.jpg")
    corpus = build_corpus(
        [Source("scans", scans)], out=tmp_path / "c", config=config, hold_out=[("bus-bra", breast)]
    )
    assert corpus.record["held_out"]["bus-bra"]["found_in_pool"] == 1
    assert corpus.record["held_out"]["bus-bra"]["near_duplicates_in_pool"] == 2
    near = corpus.record["left_out"]["held_out_near"]
    assert [entry["path"] for entry in near["named"]] == ["b/holiday1.jpg", "b/holiday2.jpg"]
    assert near["named"][0]["why"].startswith("looks like an image of bus-bra (")
    assert len(corpus) == 12
    blind = config.model_copy(update={"hold_out_near": False})
    corpus = build_corpus(
        [Source("scans", scans)], out=tmp_path / "d", config=blind, hold_out=[("bus-bra", breast)]
    )
    assert len(corpus) == 14
    assert corpus.record["held_out"]["bus-bra"]["near_duplicates_in_pool"] is None
