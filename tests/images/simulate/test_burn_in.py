"""Marks drawn on any frame, with the truth of where they are."""

import cv2
import numpy as np
import pytest

from usfmae.images.simulate.burn_in import KINDS, burn_in

GREY = np.full((160, 200), 60, np.uint8)
COLOUR = np.full((160, 200, 3), 60, np.uint8)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_nothing_changes_where_no_ink_went(pixels, seed):
    burned = burn_in(pixels, rng=np.random.default_rng(seed), kinds=KINDS)
    assert burned.pixels.shape == pixels.shape
    np.testing.assert_array_equal(burned.pixels[~burned.touched], pixels[~burned.touched])


@pytest.mark.parametrize("seed", range(6))
def test_labelled_pixels_are_touched_and_look_different(seed):
    burned = burn_in(GREY, rng=np.random.default_rng(seed), kinds=KINDS)
    labelled = burned.label_map > 0
    assert burned.touched[labelled].all()
    assert (np.abs(burned.pixels[labelled].astype(int) - 60) >= 11).all()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_drawn_under_its_own_number(kind):
    burned = burn_in(COLOUR, rng=np.random.default_rng(3), kinds=[kind])
    assert set(np.unique(burned.label_map)) == {0, KINDS.index(kind) + 1}


def test_marks_stay_where_they_are_allowed():
    allowed = np.zeros(GREY.shape, bool)
    allowed[40:, 50:] = True
    for seed in range(10):
        burned = burn_in(GREY, rng=np.random.default_rng(seed), kinds=KINDS, allowed=allowed)
        assert not burned.touched[~allowed].any()
        assert allowed.sum() == 120 * 150  # and the caller's mask is not written into


def test_a_mark_without_room_is_left_out():
    burned = burn_in(GREY, rng=np.random.default_rng(0), kinds=KINDS, allowed=np.zeros(GREY.shape, bool))
    assert not burned.touched.any()
    assert burned.text_boxes == ()


def test_a_text_box_holds_its_letters():
    fonts = (cv2.FONT_HERSHEY_SIMPLEX, "")
    burned = burn_in(GREY, rng=np.random.default_rng(5), kinds=["text"] * 3, fonts=fonts)
    outside = np.ones(GREY.shape, bool)
    for top, left, height, width in burned.text_boxes:
        outside[top : top + height, left : left + width] = False
    assert len(burned.text_boxes) >= 2
    assert not (burned.label_map[outside] == 1).any()


def test_compression_spreads_marks_and_says_so():
    plain = burn_in(GREY, rng=np.random.default_rng(2), kinds=KINDS)
    coded = burn_in(GREY, rng=np.random.default_rng(2), kinds=KINDS, jpeg_quality=50)
    np.testing.assert_array_equal(plain.label_map, coded.label_map)
    assert coded.touched.sum() > plain.touched.sum()


def test_equal_seeds_draw_equal_marks():
    first, second = (burn_in(COLOUR, rng=np.random.default_rng(8), kinds=KINDS) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, second.pixels)
