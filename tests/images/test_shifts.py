"""Gain, contrast, blur and crop of prepared pictures."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from usfmae.images.shifts import RANGE_DB, SHIFTS, blur, contrast, crop, gain


@pytest.fixture
def pictures():
    """Three of 40 px, with a black margin left and right."""
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40), dtype=np.uint8)
    images[:, :, :6] = images[:, :, -6:] = 0
    return images


def greys(*values):
    return np.array(values, dtype=np.uint8).reshape(1, 1, -1).repeat(len(values), axis=1)


def test_six_decibels_are_25_grey_values_and_a_half():
    # 255 * 6 / 60 = 25.5: 100 -> 125.5 and 101 -> 126.5, halves rounded up; 250 is clipped, 0 stays.
    assert gain(greys(0, 1, 100, 101, 250), 6.0)[0, 0].tolist() == [0, 27, 126, 127, 255]
    # 100 -> 74.5; 20 would be below the display range.
    assert gain(greys(0, 20, 25, 26, 100), -6.0)[0, 0].tolist() == [0, 0, 0, 1, 75]


def test_a_display_range_of_40_decibels_by_hand():
    # White stays; the distance from white grows by 60 / 40: 255 - 1.5 * 100 = 105; 85 -> 0; below is black.
    assert contrast(greys(0, 84, 85, 155, 255), 40.0)[0, 0].tolist() == [0, 0, 0, 105, 255]


def test_a_display_range_of_120_decibels_by_hand():
    # Half the distance from white: 155 -> 205, 1 -> 128; what was black is not known and stays black.
    assert contrast(greys(0, 1, 155, 255), 120.0)[0, 0].tolist() == [0, 128, 205, 255]


def test_both_scales_are_those_of_one_picture():
    """Moving down by x dB takes the echo at -60 + x dB to black, and so does a range shorter by x dB."""
    at = greys(60, 62, 64, 66)  # 15 dB above black is 63.75
    assert (gain(at, -15.0)[0, 0] > 0).tolist() == (contrast(at, 45.0)[0, 0] > 0).tolist()


def test_a_point_becomes_a_gaussian():
    images = np.zeros((1, 33, 33), np.uint8)
    images[0, 16, 16] = 255
    spread = blur(images, 1.0)[0].astype(float)
    # 255 / (2 pi sigma^2) = 40.6 in the middle, exp(-1/2) of it one pixel away.
    assert spread[16, 16] == pytest.approx(255 / (2 * np.pi), abs=1.0)
    assert spread[16, 17] == pytest.approx(255 / (2 * np.pi) * np.exp(-0.5), abs=1.0)


@pytest.mark.parametrize("sigma_px", [0.5, 1.0, 2.0])
def test_blur_is_that_of_scipy(pictures, sigma_px):
    found = blur(pictures, sigma_px)
    for image, blurred in zip(pictures, found, strict=True):
        expected = gaussian_filter(image.astype(float), sigma_px, mode="mirror", truncate=3.0)
        np.testing.assert_allclose(blurred, expected, atol=2.0)


def test_half_of_the_side_shows_the_middle():
    # Columns 0..7, each 10 brighter. The middle four are 20..50; enlarged linearly twice, pixel k lies at
    # (k + 0.5) / 2 - 0.5 of them: 20 (edge), 22.5, 27.5, ... so that steps are 5 wide.
    images = np.tile(np.arange(0, 80, 10, dtype=np.uint8), (8, 1))[None]
    row = crop(images, 0.5)[0, 3].tolist()
    assert row == pytest.approx([20, 22.5, 27.5, 32.5, 37.5, 42.5, 47.5, 50], abs=0.5)


def test_a_ratio_of_two_shows_the_picture_at_half_its_size_on_black():
    images = np.full((1, 8, 8), 200, np.uint8)
    images[0, ::2] = 100  # the mean over each two rows is 150
    shown = crop(images, 2.0)[0]
    assert (shown[2:6, 2:6] == 150).all()
    assert shown.sum() == 16 * 150


def test_the_default_crops_are_cut_in_the_middle():
    images = np.zeros((1, 100, 100), np.uint8)
    images[0, 20:80, 20:80] = 90
    assert (crop(images, 0.6) == 90).all()
    assert (crop(images, 0.64)[0, :2] < 90).all()


@pytest.mark.parametrize("name", list(SHIFTS))
def test_the_neutral_amount_changes_nothing(pictures, name):
    shift = SHIFTS[name]
    np.testing.assert_array_equal(shift.apply(pictures, shift.neutral), pictures)


@pytest.mark.parametrize("name", list(SHIFTS))
def test_pictures_are_changed_one_by_one_and_left_as_they_were(pictures, name):
    shift, before = SHIFTS[name], pictures.copy()
    for amount in shift.amounts:
        found = shift.apply(pictures, amount)
        np.testing.assert_array_equal(shift.apply(pictures[::-1].copy(), amount), found[::-1])
        assert not np.array_equal(found, pictures)
        assert found.dtype == np.uint8
    np.testing.assert_array_equal(pictures, before)
    kept = shift.apply(pictures, shift.neutral)
    kept[:] = 7
    np.testing.assert_array_equal(pictures, before)


@pytest.mark.parametrize("name", list(SHIFTS))
def test_no_pictures_give_none(name):
    assert SHIFTS[name].apply(np.zeros((0, 8, 8), np.uint8), SHIFTS[name].amounts[0]).shape == (0, 8, 8)


def test_more_gain_never_darkens_and_less_never_brightens(pictures):
    ladder = [gain(pictures, amount).astype(int) for amount in (-20.0, -6.0, -0.1, 0.0, 0.1, 3.0, 12.0)]
    for darker, brighter in pairwise(ladder):
        assert (darker <= brighter).all()


@pytest.mark.parametrize("name", ["gain", "contrast"])
def test_black_stays_black_and_no_two_grey_values_change_places(name):
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    shift = SHIFTS[name]
    for amount in (*shift.amounts, *shift.limits):
        found = shift.apply(every, amount).ravel().astype(int)
        assert found[0] == 0
        assert (np.diff(found) >= 0).all()


def test_the_table_names_amounts_within_its_limits():
    for shift in SHIFTS.values():
        assert shift.neutral not in shift.amounts
        assert list(shift.amounts) == sorted(set(shift.amounts))
        assert all(shift.limits[0] <= amount <= shift.limits[1] for amount in (*shift.amounts, shift.neutral))
    assert SHIFTS["contrast"].neutral == RANGE_DB


def test_amounts_are_said_with_sign_and_unit():
    assert SHIFTS["gain"].words(6.0) == "+6 dB"
    assert SHIFTS["gain"].words(-12.0) == "\N{MINUS SIGN}12 dB"
    assert SHIFTS["gain"].words(0.0) == "0 dB"
    assert SHIFTS["contrast"].words(40.0) == "40 dB"
    assert SHIFTS["blur"].words(0.5) == "0.5 px"
    assert SHIFTS["crop"].words(0.9) == "0.9"


def test_amounts_that_cannot_be_are_refused(pictures):
    with pytest.raises(ValueError, match="more than 0 dB, got 0"):
        contrast(pictures, 0.0)
    with pytest.raises(ValueError, match="not negative, got -1"):
        blur(pictures, -1.0)
    with pytest.raises(ValueError, match="a ratio of 0"):
        crop(pictures, 0.0)
