"""Geometry: beams, pixels, millimetres."""

import numpy as np
import pytest
from pydantic import ValidationError

from usfmae.images.simulate.device import DEVICES, Device
from usfmae.images.simulate.scan import beam_grid, image_grid, scan_convert

LINEAR = Device(name="linear", imaging_depth_mm=40, footprint_mm=30, margin_px=(5, 7, 11, 13))
CONVEX = Device(
    name="convex",
    geometry="convex",
    radius_mm=40,
    footprint_mm=50,
    imaging_depth_mm=60,
    margin_px=(5, 7, 11, 13),
)


def spot(device: Device, down_mm: float, across_mm: float) -> tuple[float, float]:
    """Pixel (row, column) where a bright spot at a place in the body shows up."""
    grid = beam_grid(device)
    apart = np.hypot(grid.down_mm - down_mm, grid.across_mm - across_mm)
    picture = scan_convert(np.exp(-((apart / 0.5) ** 2)), device)
    rows, columns = np.indices(picture.shape)
    return float((rows * picture).sum() / picture.sum()), float((columns * picture).sum() / picture.sum())


@pytest.mark.parametrize("device", [LINEAR, CONVEX], ids=lambda device: device.name)
def test_a_known_distance_measures_right_on_the_screen(device):
    # Two spots 12 mm apart across and 16 mm apart down: 20 mm.
    first, second = spot(device, 12, -5), spot(device, 28, 7)
    pixel = image_grid(device).pixel_mm
    assert (second[0] - first[0]) * pixel == pytest.approx(16, abs=0.1)
    assert (second[1] - first[1]) * pixel == pytest.approx(12, abs=0.1)


@pytest.mark.parametrize("device", [LINEAR, CONVEX, *DEVICES], ids=lambda device: device.name)
def test_the_longest_side_and_the_margins_are_as_set(device):
    inside = image_grid(device).inside
    assert max(inside.shape) == device.longest_px
    top, right, bottom, left = device.margin_px
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert rows[0] == pytest.approx(top, abs=1)
    assert inside.shape[0] - 1 - rows[-1] == pytest.approx(bottom, abs=1)
    assert columns[0] == pytest.approx(left, abs=1)
    assert inside.shape[1] - 1 - columns[-1] == pytest.approx(right, abs=1)


def test_lines_of_a_convex_device_spread_with_depth_by_hand():
    # 40 mm radius: at 60 mm depth the arc is (40 + 60) / 40 = 2.5 times as long.
    line_mm = beam_grid(CONVEX).line_mm
    assert line_mm[0] == pytest.approx(50 / 191)
    assert line_mm[-1] / line_mm[0] == pytest.approx(2.5)


def test_a_sector_is_cut_out_of_black():
    picture = scan_convert(np.ones(beam_grid(CONVEX).down_mm.shape, np.float32), CONVEX)
    assert picture[0, 0] == picture[-1, -1] == picture[20, 15] == 0
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2] == pytest.approx(1)


def test_pixels_of_a_linear_device_show_their_own_depth():
    shown = scan_convert(beam_grid(LINEAR).down_mm, LINEAR)
    grid = image_grid(LINEAR)
    np.testing.assert_allclose(shown[grid.inside], grid.down_mm[grid.inside], atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"geometry": "convex"}, "radius_mm is for convex devices"),
        ({"radius_mm": 40.0}, "radius_mm is for convex devices"),
        ({"margin_px": (0, 0, 100, 0)}, "each margin must lie between 0 and a quarter"),
        ({"dynamic_range_db": -3}, "dynamic_range_db"),
    ],
)
def test_a_device_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Device(name="x", **settings)
