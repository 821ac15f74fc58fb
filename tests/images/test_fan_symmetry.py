"""A fan of which one side fades is completed from the other."""

import numpy as np
import pytest
from screens import CONVEX, frame, on_screen, sector_of

from usfmae.images.echo_region import find_echo
from usfmae.images.fan import Fan, fit_fan
from usfmae.images.fan_symmetry import mirrored_fan, side_seen
from usfmae.images.sector import find_sector, overlap
from usfmae.images.simulate.scan import image_grid


def faded(side: int, until_deg: float = 32.0):
    """A screen with a fan that goes black seven degrees before a side, ragged, and the box of all of it."""
    screen, box, inside = on_screen(*sector_of(CONVEX), place=(32, 70))
    down, across = np.mgrid[: screen.shape[0], : screen.shape[1]]
    apex = box[0] - 40 * np.cos(0.6875) / image_grid(CONVEX).pixel_mm
    degrees = np.degrees(np.arctan2((across - box[1] - box[3] / 2) * side, down - apex))
    screen[degrees > until_deg + 3 * np.sin(down / 3)] = 0
    return screen, box, inside


@pytest.mark.parametrize("side", [-1, 1], ids=["left", "right"])
def test_the_box_reaches_where_the_other_side_says(side):
    screen, box, inside = faded(side)
    sector = find_sector(frame(screen))
    assert overlap(sector.box, box) >= 0.95
    assert sector.fan.left_deg == -sector.fan.right_deg == pytest.approx(-39.4, abs=1.5)
    assert sector.mask[inside].mean() >= 0.95


@pytest.mark.parametrize("side", [-1, 1], ids=["left", "right"])
def test_the_side_that_fades_is_named(side):
    region = find_echo(faded(side)[0])
    fan = fit_fan(region)
    seen = side_seen(region, fan, -side), side_seen(region, fan, side)
    assert seen[0] > 0.9 > 0.7 > seen[1]
    assert mirrored_fan(region, fan)[1] == side


def test_a_fan_that_is_all_seen_is_left_as_it_was_fitted():
    screen, _, _ = on_screen(*sector_of(CONVEX))
    region = find_echo(screen)
    assert mirrored_fan(region, fit_fan(region)) is None


def test_a_side_outside_the_picture_says_nothing():
    screen, box, _ = on_screen(*sector_of(CONVEX))
    cut = np.ascontiguousarray(screen[:, box[1] + box[3] // 3 :])
    fan = Fan((-20.0, 30.0), -40.0, 40.0, near_px=60.0, far_px=180.0)
    assert side_seen(find_echo(cut), fan, -1) is None


def test_a_fan_cut_upright_on_one_side_is_cut_so_on_the_other():
    screen, box, _ = faded(-1)
    screen[:, box[1] + box[3] - 15 :] = 0
    screen_box = (box[0], box[1] + 15, box[2], box[3] - 30)
    assert overlap(find_sector(frame(screen)).box, screen_box) >= 0.95
