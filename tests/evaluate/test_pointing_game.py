import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.evaluate.pointing_game import point, score_pointing
from usfmae.evaluate.statistics import BootstrapConfig


def lesion_in(height, width, top, left, rows, columns):
    lesion = np.zeros((1, height, width), bool)
    lesion[0, top : top + rows, left : left + columns] = True
    return lesion


def peak(height, width, down, across):
    heat = np.zeros((1, height, width))
    heat[0, down, across] = 2.0
    return heat


def test_by_hand():
    # 10 x 10 pixels, lesion of 2 x 3 at (4, 6): area 0.06, the centre (5, 5) is one pixel left of it.
    lesion = lesion_in(10, 10, 4, 6, 2, 3)
    heat = peak(10, 10, 4, 7)
    heat[0, 0, 0], heat[0, 9, 9] = 1.0, -5.0
    found = point(heat, lesion)
    assert (found.hit[0], found.centre_hit[0]) == (1.0, 0.0)
    assert found.energy[0] == pytest.approx(2 / 3)
    assert found.random_hit[0] == found.area_ratio[0] == pytest.approx(0.06)


def test_a_tolerance_of_one_pixel_adds_the_four_sides_of_a_lesion():
    # 2 x 3 and its sides without corners: 6 + 2 * 3 + 2 * 2 = 16 of 100 pixels.
    lesion = lesion_in(10, 10, 4, 6, 2, 3)
    found = point(peak(10, 10, 3, 6), lesion, tolerance_px=1)
    assert (found.hit[0], found.centre_hit[0]) == (1.0, 1.0)
    assert found.random_hit[0] == pytest.approx(0.16)
    assert found.area_ratio[0] == pytest.approx(0.06)
    assert point(peak(10, 10, 3, 6), lesion).hit[0] == 0
    assert point(peak(10, 10, 3, 5), lesion, tolerance_px=1).hit[0] == 0  # a corner is 1.41 away
    assert point(peak(10, 10, 3, 5), lesion, tolerance_px=1.5).hit[0] == 1


def test_padding_is_a_miss_and_counts_in_no_baseline():
    shown = np.zeros((1, 10, 10), bool)
    shown[0, :, 2:6] = True
    lesion = lesion_in(10, 10, 5, 4, 1, 1)
    found = point(peak(10, 10, 5, 8), lesion, shown=shown, tolerance_px=1)
    assert found.hit[0] == 0
    assert found.random_hit[0] == pytest.approx(5 / 40)
    assert found.area_ratio[0] == pytest.approx(1 / 40)
    assert found.centre_hit[0] == 1  # (5, 4) is the centre of columns 2 to 5


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 4), st.floats(0, 9))
def test_a_flat_map_gets_what_chance_gets(seed, tolerance_px, level):
    lesions = np.random.default_rng(seed).random((3, 9, 11)) > 0.9
    lesions[:, 4, 4] = True
    found = point(np.full((3, 9, 11), level), lesions, tolerance_px=tolerance_px)
    np.testing.assert_allclose(found.hit, found.random_hit)
    np.testing.assert_allclose(found.energy, found.area_ratio)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_the_unit_of_a_map_does_not_matter(seed, scale):
    rng = np.random.default_rng(seed)
    lesions, heat = rng.random((2, 8, 8)) > 0.5, rng.normal(size=(2, 8, 8))
    lesions[:, 0, 0] = True
    once, scaled = point(heat, lesions), point(scale * heat, lesions)
    np.testing.assert_array_equal(once.hit, scaled.hit)
    np.testing.assert_allclose(once.energy, scaled.energy)


def test_random_points_hit_as_often_as_chance_says():
    rng = np.random.default_rng(0)
    lesions = np.repeat(lesion_in(12, 12, 3, 2, 5, 4), 4000, axis=0)
    found = point(rng.random((4000, 12, 12)), lesions, tolerance_px=1)
    assert found.hit.mean() == pytest.approx(found.random_hit[0], abs=0.025)  # 3 standard errors


def test_scores_are_means_over_images_with_intervals_over_patients():
    lesions = np.concatenate([lesion_in(6, 6, 0, 0, 2, 2)] * 4)
    heat = np.concatenate([peak(6, 6, 0, 0), peak(6, 6, 1, 1), peak(6, 6, 5, 5), peak(6, 6, 1, 0)])
    scores = score_pointing(point(heat, lesions), np.array([0, 0, 1, 2]), config=BootstrapConfig())
    assert scores["hit"].value == 0.75
    assert scores["hit_over_random"].value == pytest.approx(0.75 - 4 / 36)
    assert scores["hit_over_centre"].value == 0.75
    assert scores["energy_over_area"].value == pytest.approx(0.75 - 4 / 36)
    assert scores["hit"].low == 0.0  # a resample may hold the second patient alone
    assert scores["hit"].high == 1.0


def test_a_picture_without_lesion_is_refused():
    lesions = np.concatenate([lesion_in(6, 6, 0, 0, 2, 2), np.zeros((1, 6, 6), bool)])
    with pytest.raises(ValueError, match=r"1 of 2 pictures show no lesion to point at \(first: 1\)"):
        point(np.zeros((2, 6, 6)), lesions)
