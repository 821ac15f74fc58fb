"""The sector is found where it was drawn, whatever stands around it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from screens import CONVEX, LINEAR, decorate, frame, on_screen, sector_of

from usfmae.images.fan import Fan
from usfmae.images.frame import FrameRegion
from usfmae.images.sector import crop_to_sector, find_sector, overlap
from usfmae.images.simulate.scan import image_grid


def test_the_overlap_by_hand():
    # 10 x 10 and the same moved by 5 across: 50 shared of 150
    assert overlap((0, 0, 10, 10), (0, 5, 10, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (20, 20, 5, 5)) == 0
    assert overlap((3, 4, 10, 7), (3, 4, 10, 7)) == 1


@pytest.mark.parametrize("device", [LINEAR, CONVEX], ids=lambda device: device.name)
@pytest.mark.parametrize("quality", [None, 85], ids=["png", "jpeg"])
def test_banner_settings_bar_ruler_and_ecg_are_outside(device, quality):
    screen, box, inside = on_screen(*sector_of(device))
    decorate(screen)
    if quality:
        _, coded = cv2.imencode(".jpg", screen, [cv2.IMWRITE_JPEG_QUALITY, quality])
        screen = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    sector = find_sector(frame(screen))
    assert sector.kind == ("rectangle" if device is LINEAR else "fan")
    assert overlap(sector.box, box) >= 0.95
    assert sector.mask[inside].mean() >= 0.97  # the hollow at the transducer belongs to the convex outline


@given(st.integers(24, 60), st.integers(60, 100), st.integers(0, 50), st.booleans())
@settings(max_examples=6, deadline=None, derandomize=True)
def test_the_box_follows_the_sector(top, left, seed, convex):
    screen, box, _ = on_screen(*sector_of(CONVEX if convex else LINEAR, seed), place=(top, left))
    assert overlap(find_sector(frame(screen)).box, box) >= 0.95


def test_a_picture_that_is_all_echo_is_whole():
    picture, _ = sector_of(LINEAR)
    sector = find_sector(frame(picture))
    assert (sector.kind, sector.box) == ("whole", (0, 0, *picture.shape))
    assert sector.mask.all()
    assert sector.fan is None


def test_echo_that_fades_with_depth_does_not_end_the_sector():
    picture, _ = sector_of(LINEAR)
    depth = np.arange(picture.shape[0])[:, None]
    ragged = (
        90
        + 20 * np.sin(np.arange(picture.shape[1]) / 5)[None]
        + 10 * np.sin(np.arange(picture.shape[1]) / 1.7)[None]
    )
    sector = find_sector(frame(np.where(depth < ragged, picture, 0)))
    assert sector.box == (0, 0, *picture.shape)


@pytest.mark.parametrize("ground", [56, 255], ids=["grey panel", "white page"])
def test_panels_are_margin(ground):
    screen, box, _ = on_screen(*sector_of(LINEAR), ground=ground)
    cv2.putText(screen, "EXAM 3", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 150, 1)
    assert overlap(find_sector(frame(screen)).box, box) >= 0.95


def test_a_white_page_round_a_grey_panel_is_margin_too():
    screen, box, _ = on_screen(*sector_of(LINEAR), ground=56)
    page = cv2.copyMakeBorder(screen, 20, 20, 20, 20, cv2.BORDER_CONSTANT, value=255)
    assert overlap(find_sector(frame(page)).box, (box[0] + 20, box[1] + 20, *box[2:])) >= 0.95


def test_a_dim_sector_shows_against_a_darker_margin():
    # Some scanners show "no echo" one or two grey levels above the margin.
    picture, inside = sector_of(CONVEX)
    picture = np.where(np.arange(picture.shape[0])[:, None] < 50, picture, 2).astype(np.uint8)
    screen, box, _ = on_screen(picture, inside)
    assert overlap(find_sector(frame(screen)).box, box) >= 0.95


def test_a_fan_gives_back_its_geometry():
    # Radius 40 mm, depth 80 mm, face 55 mm along the arc: half angle 55 / 40 / 2 = 0.6875 rad = 39.4 degrees.
    screen, _, _ = on_screen(*sector_of(CONVEX), place=(32, 70))
    grid = image_grid(CONVEX)
    fan = find_sector(frame(screen)).fan
    assert fan.right_deg == pytest.approx(39.4, abs=1.5)
    assert fan.left_deg == pytest.approx(-39.4, abs=1.5)
    assert fan.near_px == pytest.approx(40 / grid.pixel_mm, abs=4)
    assert fan.far_px == pytest.approx(120 / grid.pixel_mm, abs=4)
    highest = 40 * np.cos(0.6875) / grid.pixel_mm  # the topmost echo lies so far below the apex
    assert fan.apex_px[0] == pytest.approx(32 - highest, abs=4)
    assert fan.apex_px[1] == pytest.approx(70 + screen_middle(grid), abs=3)


def screen_middle(grid) -> float:
    return grid.inside.shape[1] / 2


def test_a_fan_covers_what_it_was_fitted_to():
    screen, _, inside = on_screen(*sector_of(CONVEX))
    covered = find_sector(frame(screen)).fan.inside(*screen.shape)
    assert (covered & inside).sum() / (covered | inside).sum() >= 0.93


def test_text_that_touches_the_sector_is_left_out_because_it_never_moves():
    screens = []
    for seed in range(4):
        screen, box, _ = on_screen(*sector_of(LINEAR, seed))
        screen[40:100, box[1] - 24 : box[1]] = 140  # a panel as wide as tissue would be
        screens.append(frame(screen))
    assert overlap(find_sector(screens[0], clip=screens[1:]).box, box) >= 0.95
    assert overlap(find_sector(screens[0]).box, box) < 0.95  # a still cannot know


def test_a_frozen_clip_is_read_like_a_still():
    screen, box, _ = on_screen(*sector_of(LINEAR))
    assert overlap(find_sector(frame(screen), clip=[frame(screen)] * 3).box, box) >= 0.95


def test_a_large_picture_gives_the_box_in_its_own_pixels():
    screen, box, _ = on_screen(*sector_of(CONVEX))
    large = cv2.resize(screen, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    sector = find_sector(frame(large))
    assert overlap(sector.box, tuple(4 * value for value in box)) >= 0.95
    assert sector.mask.shape == large.shape


def test_nothing_is_found_on_an_empty_screen():
    assert find_sector(frame(np.zeros((240, 320)))) is None
    assert find_sector(frame(decorate(np.zeros((240, 320), np.uint8)))) is None


def test_the_regions_of_the_file_decide_between_two_sectors():
    screen = np.zeros((240, 400), np.uint8)
    picture, _ = sector_of(LINEAR)
    height, width = picture.shape
    screen[40 : 40 + height, 20 : 20 + width] = picture
    screen[40 : 40 + height, 220 : 220 + width] = picture
    region = FrameRegion((40, 220, height, width), spatial_format=1, data_type=1)
    spectrum = FrameRegion((40, 20, height, width), spatial_format=3, data_type=3)
    assert overlap(find_sector(frame(screen, (spectrum, region))).box, region.box) >= 0.95


def test_a_region_round_a_fan_is_tightened():
    screen, box, _ = on_screen(*sector_of(CONVEX))
    region = FrameRegion((28, 62, 115, 196), spatial_format=1, data_type=1)
    assert overlap(find_sector(frame(screen, (region,))).box, box) >= 0.95


def test_a_region_that_names_the_whole_screen_says_nothing():
    screen, box, _ = on_screen(*sector_of(LINEAR))
    region = FrameRegion((0, 0, *screen.shape), spatial_format=1, data_type=1)
    assert overlap(find_sector(frame(screen, (region,))).box, box) >= 0.95


def test_a_dark_region_is_believed():
    region = FrameRegion((30, 40, 100, 120), spatial_format=1, data_type=1)
    screen = np.zeros((240, 320), np.uint8)
    assert find_sector(frame(screen, (region,))).box == region.box
    screen[40:60, 60:90] = 200  # a little echo, much less than the region
    assert find_sector(frame(screen, (region,))).box == region.box


def test_cropping_keeps_pixels_pitch_source_and_moves_regions():
    screen, box, _ = on_screen(*sector_of(LINEAR))
    region = FrameRegion((box[0] + 5, box[1] + 7, 20, 30), spatial_format=1, data_type=2)
    outside = FrameRegion((0, 0, 10, 10), spatial_format=5, data_type=10)
    whole = frame(screen, (region, outside))
    sector = find_sector(whole)
    cropped = crop_to_sector(whole, sector)
    top, left, height, width = sector.box
    assert np.array_equal(cropped.pixels, screen[top : top + height, left : left + width])
    assert (cropped.spacing_mm, cropped.source) == (whole.spacing_mm, whole.source)
    assert [part.box for part in cropped.regions] == [(box[0] + 5 - top, box[1] + 7 - left, 20, 30)]


def test_a_sector_of_another_picture_is_refused():
    picture, _ = sector_of(LINEAR)
    with pytest.raises(ValueError, match="sector is of a"):
        crop_to_sector(frame(picture[:-1]), find_sector(frame(picture)))


def test_colour_and_grey_give_the_same_sector():
    screen, _, _ = on_screen(*sector_of(LINEAR))
    colour = np.repeat(decorate(screen)[..., None], 3, axis=2)
    assert find_sector(frame(colour)).box == find_sector(frame(screen)).box


def test_a_fan_moves_and_grows_by_hand():
    # The middle of pixel 10 lies 10.5 px from the border: 21 px after doubling, so at index 20.5.
    fan = Fan((10.0, 20.0), -30.0, 40.0, near_px=5.0, far_px=None).scaled(2, top_px=3, left_px=4)
    assert fan == Fan((23.5, 44.5), -30.0, 40.0, near_px=10.0, far_px=None)


def test_compression_noise_beside_a_straight_side_is_left_out():
    screen, box, _ = on_screen(*sector_of(LINEAR, floor=120))
    rng = np.random.default_rng(0)
    fuzz = rng.integers(0, 9, screen.shape).astype(np.uint8)  # ringing of a coarse JPEG, 4 px round the echo
    near = cv2.dilate((screen > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    found = find_sector(frame(np.where((screen == 0) & near, fuzz, screen))).box
    assert max(abs(a - b) for a, b in zip(found, box, strict=True)) <= 3
