"""Cleaning a frame: what is filled, what is left, and what is said about it."""

import dataclasses

import cv2
import numpy as np
import pytest

from usfmae.base.config import with_settings
from usfmae.base.errors import SettingError
from usfmae.base.seeds import rng_for
from usfmae.images import clean as clean_module
from usfmae.images.clean import CleanConfig, clean_frame
from usfmae.images.frame import Frame, FrameSource
from usfmae.images.marks import find_marks
from usfmae.images.simulate.anatomy import cached_anatomy, draw_plane
from usfmae.images.simulate.burn_in import KINDS, burn_in
from usfmae.images.simulate.device import DEVICES
from usfmae.images.simulate.study import render

SOURCE = FrameSource("fake.png", 0, 1)
OURS = CleanConfig(max_filled_ratio=1.0)


def still(pixels: np.ndarray) -> Frame:
    return Frame(pixels, (0.2, 0.3), SOURCE)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    anatomy = cached_anatomy(1, None, 0)
    plane = draw_plane(1, 0, anatomy.lesion, seed=0)
    return render(anatomy, plane, device=DEVICES[0], rng=rng_for(0, "test", 1))


@pytest.fixture(scope="module")
def marked(plain) -> np.ndarray:
    pixels = plain.copy()
    cv2.putText(pixels, "SMITH JANE", (40, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    return pixels


def test_mode_none_gives_the_frame_back(marked):
    cleaned = clean_frame(still(marked), config=CleanConfig(mode="none"))
    np.testing.assert_array_equal(cleaned.frame.pixels, marked)
    assert not cleaned.mask.any()
    assert cleaned.flags == ()


def test_text_is_filled_and_the_rest_kept_to_the_bit(plain, marked):
    cleaned = clean_frame(still(marked), config=OURS)
    np.testing.assert_array_equal(cleaned.frame.pixels[~cleaned.mask], marked[~cleaned.mask])
    text = marked != plain
    assert cleaned.mask[text].mean() > 0.9
    error_before = np.abs(marked[text].astype(int) - plain[text]).mean()
    error_after = np.abs(cleaned.frame.pixels[text].astype(int) - plain[text]).mean()
    assert error_after < 0.5 * error_before
    assert cleaned.flags == ()


def test_spacing_and_source_travel_with_the_frame(marked):
    frame = still(marked)
    cleaned = clean_frame(frame, config=OURS).frame
    assert dataclasses.replace(cleaned, pixels=frame.pixels) == frame


@pytest.mark.parametrize("seed", range(4))
def test_cleaning_twice_changes_little_more(plain, seed):
    burned = burn_in(plain, rng=np.random.default_rng(seed), kinds=KINDS)
    once = clean_frame(still(burned.pixels), config=OURS)
    twice = clean_frame(once.frame, config=OURS)
    changed = twice.frame.pixels != once.frame.pixels
    assert changed.mean() < 0.005
    assert changed.sum() < 0.4 * once.mask.sum()


def test_no_colour_frame_becomes_grey(plain):
    colour = np.repeat(plain[..., None], 3, 2)
    cv2.putText(colour, "L-OV", (40, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1, cv2.LINE_AA)
    colour[20:24, 20:60, 0] //= 2
    cleaned = clean_frame(still(colour), config=OURS).frame.pixels
    assert cleaned.shape == colour.shape
    assert (np.ptp(cleaned, axis=2) > 0).any()


def test_a_frame_with_too_many_marks_is_left_and_flagged(marked):
    cleaned = clean_frame(still(marked), config=CleanConfig(max_filled_ratio=0.001))
    np.testing.assert_array_equal(cleaned.frame.pixels, marked)
    assert cleaned.mask.any()
    assert cleaned.flags == ("too_much_marked", "may_identify")


def test_words_that_were_read_as_harmless_do_not_flag_a_person(marked, monkeypatch):
    monkeypatch.setattr(clean_module, "may_identify", lambda pixels, boxes, *, read_words: not read_words)
    limit = {"max_filled_ratio": 0.001}
    assert clean_frame(still(marked), config=CleanConfig(read_words=True, **limit)).flags == (
        "too_much_marked",
    )
    assert "may_identify" in clean_frame(still(marked), config=CleanConfig(**limit)).flags


def test_the_limit_counts_the_sector_only(marked):
    mask = clean_frame(still(marked), config=OURS).mask
    elsewhere = np.zeros(mask.shape, bool)
    elsewhere[150:, :] = True
    config = CleanConfig(max_filled_ratio=0.001)
    assert not mask[150:].any()
    cleaned = clean_frame(still(marked), sector=elsewhere, config=config)
    assert cleaned.flags == ()
    np.testing.assert_array_equal(cleaned.mask, mask)  # text outside the sector is filled all the same


def test_the_limit_itself_is_allowed(marked):
    share = float(clean_frame(still(marked), config=OURS).mask.mean())
    assert clean_frame(still(marked), config=CleanConfig(max_filled_ratio=share)).flags == ()
    assert clean_frame(still(marked), config=CleanConfig(max_filled_ratio=share * 0.999)).flags != ()


def test_growing_covers_more(marked):
    sizes = [
        clean_frame(still(marked), config=CleanConfig(grow_px=grow, max_filled_ratio=1)).mask.sum()
        for grow in (0, 1, 2)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_doubtful_rim_is_left_where_filling_would_hardly_change_it(marked):
    loose, strict = (
        clean_frame(still(marked), config=CleanConfig(max_filled_ratio=1, least_change=least))
        for least in (0, 60)
    )
    assert loose.mask[strict.mask].all()
    certain = find_marks(marked).certain
    change = np.abs(strict.frame.pixels.astype(int) - marked)
    rim = strict.mask & ~certain
    assert 0 < rim.sum() < (loose.mask & ~certain).sum()
    assert change[rim].min() >= 60
    assert strict.mask[certain].all()
    assert not change[~strict.mask].any()


def test_static_pixels_of_a_clip_are_filled(plain):
    static = np.zeros(plain.shape, bool)
    static[100:105, 60:80] = True
    inked = plain.copy()
    inked[static] = 250
    assert clean_frame(still(inked), static=static, config=OURS).mask[static].all()


def test_a_sector_of_another_size_is_refused(marked):
    for mode in ("ours", "paper"):
        with pytest.raises(ValueError, match=r"sector must be .* not \(2, 2\)"):
            clean_frame(still(marked), sector=np.ones((2, 2), bool), config=CleanConfig(mode=mode))


def test_a_typo_names_the_nearest_setting():
    with pytest.raises(SettingError) as caught:
        with_settings(CleanConfig(), ["max_fill=0.1"])
    assert "max_filled_ratio" in caught.value.hint
    with pytest.raises(SettingError, match="max_filled_ratio"):
        with_settings(CleanConfig(), ["max_filled_ratio=1.5"])
