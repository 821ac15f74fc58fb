"""Frames become pictures of a pool: cropped, parted, cleaned, or named as left out."""

import numpy as np
import pytest
from PIL import Image
from screens import CONVEX, LINEAR, decorate, on_screen, sector_of, text_screen

from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.curate import Dropped, curate
from usfmae.corpus.sources import Source
from usfmae.images.clean import CleanConfig
from usfmae.images.frame import Frame, FrameSource
from usfmae.images.prepare import prepare

CROPPED = BuildConfig(size_px=64, crop="sector", only_b_mode=True)


def as_frame(pixels, index: int = 0) -> Frame:
    return Frame(pixels, (0.2, 0.3), FrameSource("drawn", index, 1))


def screen_of(device, seed: int = 0):
    screen, box, _ = on_screen(*sector_of(device, seed))
    return decorate(screen), box


def overlap(one, other) -> float:
    rows = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    columns = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = rows * columns
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def test_without_settings_a_frame_is_kept_as_it_is():
    frame = as_frame(screen_of(CONVEX)[0])
    (kept,) = curate([frame], BuildConfig())
    assert kept.frame is kept.seen is frame
    assert (kept.sector, kept.flags, bool(kept.marks.any())) == (None, (), False)


@pytest.mark.parametrize("device", [LINEAR, CONVEX], ids=["linear", "convex"])
def test_only_the_echo_is_kept_with_its_place_and_pitch(device):
    pixels, box = screen_of(device)
    frame = as_frame(pixels)
    (kept,) = curate([frame], CROPPED)
    place = (kept.top_px, kept.left_px, kept.frame.height, kept.frame.width)
    assert overlap(place, box) > 0.9
    assert kept.frame.spacing_mm == (0.2, 0.3)
    top, left, height, width = place
    assert np.array_equal(kept.frame.pixels, pixels[top : top + height, left : left + width])
    assert kept.seen is frame


def test_what_is_no_b_mode_is_dropped_with_a_reason():
    blank = as_frame(np.full((100, 100), 7, np.uint8), 3)
    assert list(curate([blank], CROPPED)) == [Dropped("no_b_mode", "is blank or nearly uniform", 3)]
    (dropped,) = curate([as_frame(text_screen())], CROPPED)
    assert isinstance(dropped, Dropped)
    (kept,) = curate([blank], CROPPED.model_copy(update={"only_b_mode": False}))
    assert kept.frame.pixels.shape == (100, 100)


def test_a_pool_and_an_evaluation_show_the_same_pixels(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed in range(4):
        Image.fromarray(screen_of(CONVEX if seed % 2 else LINEAR, seed)[0]).save(folder / f"{seed}.png")
    corpus = build_corpus([Source("scans", folder)], out=tmp_path / "c", config=CROPPED)
    assert corpus.crop == "sector"
    for index, row in enumerate(corpus.manifest.to_pylist()):
        frame = as_frame(np.asarray(Image.open(folder / row["path"])))
        assert np.array_equal(corpus.read(np.array([index]))[0], prepare(frame, size_px=64, crop="sector"))
        assert row["sector"] == ("fan" if int(row["path"][0]) % 2 else "rectangle")


def test_a_cleaned_pool_keeps_the_hash_of_the_file_and_says_where_it_filled(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(screen_of(LINEAR, seed)[0]).save(folder / f"{seed}.png")
    config = BuildConfig(size_px=320, keep_per_cluster=None)  # 1:1; speckle alone looks alike
    clean = config.model_copy(update={"clean": CleanConfig(mode="ours")})
    plain = build_corpus([Source("scans", folder)], out=tmp_path / "p", config=config)
    cleaned = build_corpus([Source("scans", folder)], out=tmp_path / "c", config=clean)
    assert cleaned.content_hashes() == plain.content_hashes()
    before, after = plain.read(np.arange(3)), cleaned.read(np.arange(3))
    for row, old, new in zip(cleaned.manifest.to_pylist(), before, after, strict=True):
        runs = np.array(row["marks"])
        filled = np.repeat(np.arange(len(runs)) % 2, runs).reshape(320, 320).astype(bool)
        assert row["filled_ratio"] == pytest.approx(filled.sum() / (240 * 320))
        assert (old != new).sum() > 200
        assert filled[old != new].all()


def test_two_views_are_two_images_that_share_one_fate(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    left, right = sector_of(LINEAR, 1)[0], sector_of(LINEAR, 2)[0]
    height = max(left.shape[0], right.shape[0])
    both = np.zeros((height + 20, left.shape[1] + right.shape[1] + 24), np.uint8)
    both[10 : 10 + left.shape[0], 4 : 4 + left.shape[1]] = left
    both[10 : 10 + right.shape[0], -4 - right.shape[1] : -4] = right
    for name in ("a", "b"):
        Image.fromarray(both).save(folder / f"{name}.png")
    corpus = build_corpus([Source("scans", folder)], out=tmp_path / "c", config=CROPPED)
    assert [(row["path"], row["view"]) for row in corpus.manifest.to_pylist()] == [("a.png", 0), ("a.png", 1)]
    assert corpus.record["left_out"]["repeat"]["count"] == 1
    assert len(set(corpus.manifest["cluster"].to_pylist())) == 1
