"""Filling marked pixels from their surroundings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usfmae.images.fill import fill, grown

HOWS = ("smooth", "telea", "navier_stokes")


def a_hole(shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[10:14, 8:20] = True
    return mask


@pytest.mark.parametrize("how", HOWS)
def test_a_flat_picture_is_filled_with_its_own_grey(how):
    flat = np.full((32, 40), 77, np.uint8)
    scratched = np.where(a_hole(flat.shape), 255, flat).astype(np.uint8)
    filled = fill(scratched, a_hole(flat.shape), how=how)
    np.testing.assert_allclose(filled.astype(int), 77, atol=2 if how == "telea" else 0)


@pytest.mark.parametrize("how", HOWS)
def test_pixels_outside_the_mask_stay_as_they_are(how):
    pixels = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    mask = a_hole((33, 47))
    filled = fill(pixels, mask, how=how)
    np.testing.assert_array_equal(filled[~mask], pixels[~mask])
    assert (filled[mask] != pixels[mask]).any()


@pytest.mark.parametrize("how", HOWS)
def test_what_stood_under_the_mask_does_not_matter(how):
    pixels = np.random.default_rng(1).integers(0, 256, (33, 47), dtype=np.uint8)
    mask = a_hole((33, 47))
    inked = np.where(mask, 255, pixels).astype(np.uint8)
    np.testing.assert_array_equal(fill(pixels, mask, how=how), fill(inked, mask, how=how))


@pytest.mark.parametrize("how", HOWS)
def test_a_fill_stays_between_the_darkest_and_the_brightest_neighbour(how):
    ramp = np.tile(np.arange(40, 80, dtype=np.uint8), (32, 1))
    filled = fill(ramp, a_hole(ramp.shape), how=how)
    assert filled.min() >= 40
    assert filled.max() <= 79


@pytest.mark.parametrize("how", HOWS)
def test_a_frame_that_is_all_mask_becomes_black_and_one_without_stays(how):
    pixels = np.full((5, 6), 9, np.uint8)
    assert not fill(pixels, np.ones((5, 6), bool), how=how).any()
    np.testing.assert_array_equal(fill(pixels, np.zeros((5, 6), bool), how=how), pixels)


def test_the_given_pixels_are_not_changed():
    pixels = np.zeros((32, 40), np.uint8)
    before = pixels.copy()
    fill(pixels, a_hole((32, 40)), how="smooth")
    np.testing.assert_array_equal(pixels, before)


def test_growing_by_hand():
    # A radius of 1 adds the four neighbours of a point, no corners.
    point = np.zeros((5, 5), bool)
    point[2, 2] = True
    assert grown(point, 1).sum() == 5
    assert not grown(point, 1)[1, 1]
    np.testing.assert_array_equal(grown(point, 0), point)


@given(radius=st.integers(0, 5), row=st.integers(0, 19), column=st.integers(0, 19))
def test_growing_keeps_the_mask_and_reaches_no_further_than_told(radius, row, column):
    point = np.zeros((20, 20), bool)
    point[row, column] = True
    rows, columns = np.nonzero(grown(point, radius))
    assert grown(point, radius)[row, column]
    assert max(abs(rows - row).max(), abs(columns - column).max()) <= radius


def test_a_negative_radius_is_refused():
    with pytest.raises(ValueError, match="at least 0, not -1"):
        grown(np.zeros((3, 3), bool), -1)
