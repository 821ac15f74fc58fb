"""One preparation: the box, the sizes, the antialiasing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usfmae.images.frame import Frame, FrameSource
from usfmae.images.grey import to_grey
from usfmae.images.prepare import back_onto_picture, content_box, prepare, prepare_mask, shown_box

NOWHERE = FrameSource("drawn", 0, 1)


def frame(pixels) -> Frame:
    return Frame(np.asarray(pixels, np.uint8), None, NOWHERE)


def test_the_box_by_hand():
    # 100 x 200 into 64: half as high as wide, 32 rows, 16 black ones above and below
    assert content_box(100, 200, 64) == (16, 0, 32, 64)
    assert content_box(200, 100, 64) == (0, 16, 64, 32)
    assert content_box(50, 50, 64) == (0, 0, 64, 64)
    assert content_box(1, 1000, 64) == (31, 0, 1, 64)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 300))
def test_the_box_fits_touches_two_sides_and_is_centred(height, width, size_px):
    top, left, new_height, new_width = content_box(height, width, size_px)
    assert max(new_height, new_width) == size_px
    assert 0 <= (size_px - new_height) - 2 * top <= 1
    assert 0 <= (size_px - new_width) - 2 * left <= 1
    assert abs(new_height * width - new_width * height) <= max(height, width)  # aspect kept to one pixel


def test_a_stretched_picture_fills_its_square_and_a_square_one_is_the_same_either_way():
    assert content_box(100, 200, 64, fit="stretch") == (0, 0, 64, 64)
    # columns 0 0 0 0 | 8 8 8 8, one row: two columns of each half per new pixel, repeated downward
    flat = prepare(frame([[0] * 4 + [8] * 4]), size_px=4, fit="stretch")
    assert flat.tolist() == [[0, 0, 8, 8]] * 4
    square = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(prepare(frame(square), size_px=4, fit="stretch"), prepare(frame(square), size_px=4))
    labels = prepare_mask(np.array([[1, 1, 2, 2]]), size_px=4, fit="stretch")
    assert labels.tolist() == [[1, 1, 2, 2]] * 4


def test_grey_of_colour_by_hand():
    # 0.299 * 255 = 76.2, 0.587 * 255 = 149.7, 0.114 * 255 = 29.1
    assert to_grey(np.uint8([[(255, 0, 0), (0, 255, 0), (0, 0, 255)]])).tolist() == [[76, 150, 29]]


def test_grey_saved_as_colour_prepares_to_the_same_bytes():
    grey = np.random.default_rng(0).integers(0, 256, (90, 130)).astype(np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=-1)
    assert np.array_equal(prepare(frame(grey), size_px=64), prepare(frame(colour), size_px=64))


def test_a_picture_of_the_right_size_is_untouched():
    grey = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert np.array_equal(prepare(frame(grey), size_px=64), grey)


def test_shrinking_averages_instead_of_aliasing():
    # one bright column in four, 256 to 64: a fourth of 200 everywhere; bilinear would miss it and give black
    stripes = np.tile(np.uint8([0, 0, 0, 200]), (256, 64))
    assert set(np.unique(prepare(frame(stripes), size_px=64))) == {50}


def test_outside_the_box_is_black_and_inside_is_the_picture():
    prepared = prepare(frame(np.full((100, 200), 77)), size_px=64)
    assert (prepared[16:48] == 77).all()
    assert prepared[:16].max() == prepared[48:].max() == 0


def test_enlarging_keeps_the_range_and_the_mean():
    small = np.random.default_rng(1).integers(50, 200, (32, 32)).astype(np.uint8)
    large = prepare(frame(small), size_px=96)
    assert small.min() <= large.min() <= large.max() <= small.max()
    assert large.mean() == pytest.approx(small.mean(), abs=1)


def test_masks_lie_where_their_pictures_lie_and_gain_no_label():
    label_map = np.zeros((150, 100), np.int64)
    label_map[30:90, 20:60] = 7
    label_map[100:, 50:] = 3
    mask = prepare_mask(label_map, size_px=64)
    assert set(np.unique(mask)) == {0, 3, 7}
    picture = prepare(frame(np.where(label_map == 7, 255, 0)), size_px=64)
    assert ((picture > 127) != (mask == 7)).mean() < 0.02
    with pytest.raises(ValueError, match=r"labels must be 0\.\.255"):
        prepare_mask(label_map * 100, size_px=64)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("shown", [None, (20, 10, 100, 80)])
def test_a_label_map_comes_back_to_where_it_was(fit, shown):
    label_map = np.zeros((150, 100), np.uint8)
    label_map[30:90, 20:60] = 1
    square = prepare_mask(label_map, size_px=256, fit=fit, shown=shown)
    back = back_onto_picture(square.astype(np.float32), size=(150, 100), fit=fit, shown=shown)
    assert ((back > 0.5) != (label_map == 1)).mean() < 0.005


def test_what_was_not_shown_comes_back_as_what_it_is_said_to_be():
    back = back_onto_picture(np.ones((8, 8), np.float32), size=(20, 30), shown=(5, 10, 10, 10), outside=0.25)
    assert (back[5:15, 10:20] == 1).all()
    back[5:15, 10:20] = 0.25
    assert (back == 0.25).all()


def test_picture_and_label_map_are_cut_to_the_same_box():
    # A fan in the right half of a black screen: its box is what is shown.
    screen = np.zeros((200, 300), np.uint8)
    rows, columns = np.mgrid[:160, :200]
    fan = np.abs(columns - 100) < 25 + 0.45 * rows
    noise = np.random.default_rng(0).integers(60, 140, fan.shape)
    screen[20:180, 90:290] = np.where(fan, noise, 0)
    bright = screen.copy()
    bright[80:120, 170:210] = 255
    shown = shown_box(frame(bright), crop="sector")
    assert shown != (0, 0, 200, 300)
    prepared = prepare(frame(bright), size_px=128, crop="sector")
    label_map = np.zeros((200, 300), np.uint8)
    label_map[80:120, 170:210] = 1
    mask = prepare_mask(label_map, size_px=128, shown=shown)
    assert ((prepared > 185) != (mask == 1)).mean() < 0.01
    assert shown_box(frame(bright), crop="none") == (0, 0, 200, 300)


def test_no_size_is_a_bad_argument():
    with pytest.raises(ValueError, match="lengths must be positive"):
        prepare(frame(np.zeros((9, 9))), size_px=0)
