import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import spence

from usfmae.engine.look import (
    NUM_DEPTHS,
    SPECKLE_LIMIT,
    depth_basis,
    shadow_factor,
    speckle_tiles,
    tile_side,
    toned,
)

GREY = np.linspace(0, 1, 256, dtype=np.float32)


def tone(*, gain: float = 1.0, contrast: float = 1.0, gamma: float = 1.0) -> np.ndarray:
    return toned(GREY, *(np.array(value, dtype=np.float32) for value in (gain, contrast, gamma)))


def shadow(depth: list[float], across: list[float], **changed: float) -> np.ndarray:
    numbers = {"strength": 0.8, "centre": 0.5, "half_width": 0.1, "start": 0.4, "spread": 0.0, **changed}
    drawn = np.array(list(numbers.values()))
    return shadow_factor(np.array(depth)[:, None], np.array(across), drawn)


def test_a_grey_map_of_ones_changes_nothing():
    assert tone() == pytest.approx(GREY, abs=1e-6)


def test_gain_contrast_and_gamma_by_hand():
    at_quarter = [np.interp(0.25, GREY, tone(**{name: 2.0})) for name in ("gain", "contrast", "gamma")]
    # Twice a quarter is a half; 1/16 against 9/16 is a tenth; a quarter squared is a sixteenth.
    assert at_quarter == pytest.approx([0.5, 0.1, 0.0625], abs=1e-4)
    # In this order: gain 2 makes 1/2 of 1/4, which contrast leaves, and gamma 2 makes 1/4 of it.
    assert np.interp(0.25, GREY, tone(gain=2, contrast=2, gamma=2)) == pytest.approx(0.25, abs=5e-3)


def test_contrast_is_the_slope_at_mid_grey():
    for contrast in (0.5, 1.5):
        slope = np.diff(tone(contrast=contrast))[127] * 255
        assert slope == pytest.approx(contrast, abs=1e-3)


@given(gain=st.floats(0.5, 2), contrast=st.floats(0.5, 2), gamma=st.floats(0.5, 2))
def test_black_stays_black_and_brighter_never_becomes_darker(gain, contrast, gamma):
    curve = tone(gain=gain, contrast=contrast, gamma=gamma)
    assert curve[0] == 0
    assert curve.max() <= 1
    assert (np.diff(curve) >= -1e-6).all()


@pytest.mark.parametrize("height", [1, 2, 17, 224])
def test_a_time_gain_curve_blends_its_depths(height):
    basis = depth_basis(height)
    assert basis.min() >= 0
    assert basis.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_a_time_gain_curve_passes_through_its_values_and_half_way_between():
    # 8 rows over 4 intervals: row 0 lies a quarter into the first, where the raised cosine is at .1464.
    curve = depth_basis(8) @ np.array([0, 1, 1, 1, 3], dtype=np.float32)
    assert curve == pytest.approx([0.1464, 0.8536, 1, 1, 1, 1, 1.2929, 2.7071], abs=1e-4)
    assert depth_basis(NUM_DEPTHS * 100)[0, 0] == pytest.approx(1, abs=1e-3)


def test_a_shadow_is_dark_in_its_band_below_its_start_and_nowhere_else():
    # The edge is soft over half the half width, the onset over a tenth of the depth.
    left = shadow([0.2, 0.4, 0.45, 0.5, 1.0], [0.0, 0.399, 0.425, 0.45, 0.5, 0.601])
    assert left[[0, 1]] == pytest.approx(1)
    assert left[2] == pytest.approx([1, 1, 0.8, 0.6, 0.6, 1], abs=1e-6)
    assert left[3] == pytest.approx([1, 1, 0.6, 0.2, 0.2, 1], abs=1e-6)
    assert np.array_equal(left[3], left[4])


def test_a_shadow_follows_beams_that_fan_out():
    # Twice as wide at the bottom: the beam at .75 on top is at 1.0 there, half way down at .875.
    left = shadow([0.5, 1.0], [0.75, 0.875, 1.0], centre=0.75, half_width=0.05, start=0.1, spread=1.0)
    assert left == pytest.approx(np.array([[1, 0.2, 1], [1, 1, 0.2]]), abs=1e-6)


def test_numpy_and_torch_cast_the_same_shadow():
    depth, across = np.linspace(0, 1, 9)[:, None], np.linspace(0, 1, 11)
    numbers = np.array([[0.7, 0.3, 0.2, 0.3, 0.5], [0.0, 0.5, 0.2, 0.3, 0.5]])
    here = shadow_factor(depth, across, numbers)
    there = shadow_factor(torch.from_numpy(depth), torch.from_numpy(across), torch.from_numpy(numbers))
    assert here == pytest.approx(there.numpy(), abs=1e-12)
    assert (here[0] < 1).any()
    assert (here[1] == 1).all()


def test_speckle_has_mean_0_deviation_1_and_is_skewed_towards_dark():
    tiles = speckle_tiles(256, (0.7, 1.4))
    assert abs(tiles.mean(axis=(1, 2))).max() < 0.02
    assert abs(tiles.std(axis=(1, 2)) - 1).max() < 0.03
    assert (tiles**3).mean() == pytest.approx(-1.1, abs=0.15)  # -1.14 of log Rayleigh, cut at 4
    assert abs(tiles).max() <= SPECKLE_LIMIT


def test_speckle_is_correlated_as_asked_also_across_the_edges():
    # Smoothing by a Gaussian of deviation s correlates intensity at distance d by r = exp(-d^2 / (2 s^2)),
    # and its logarithm by Li2(r) / Li2(1), with Li2 the dilogarithm.
    tiles = speckle_tiles(256, (0.7, 1.4))
    down, across = ((tiles * np.roll(tiles, 1, axis)).mean() for axis in (1, 2))
    expected = [spence(1 - np.exp(-1 / (2 * s**2))) / spence(0) for s in (0.7, 1.4)]
    assert [down, across] == pytest.approx(expected, abs=0.03)
    seam = (tiles[:, :, -1] * tiles[:, :, 0]).mean()
    assert seam == pytest.approx(across, abs=0.12)
    assert abs((tiles * np.roll(tiles, 40, 1)).mean()) < 0.05


def test_tiles_cover_a_view():
    assert [tile_side(size) for size in ((224, 224), (256, 100), (1, 257), (1, 1))] == [256, 256, 512, 2]
