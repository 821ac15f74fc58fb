"""Two sectors side by side are told apart; one sector stays one."""

import numpy as np
import pytest
from screens import CONVEX, LINEAR, decorate, frame, on_screen, sector_of

from usfmae.images.dual_view import split_views
from usfmae.images.frame import FrameRegion
from usfmae.images.sector import find_sector, overlap


def dual(device, gap, *, place=(30, 10)):
    """Two pictures on a screen and their boxes."""
    (left, inside), (right, _) = sector_of(device, 1), sector_of(device, 2)
    height, width = left.shape
    screen = np.zeros((height + 60, 2 * width + gap + 20), np.uint8)
    boxes = []
    for picture, across in ((left, place[1]), (right, place[1] + width + gap)):
        one, box, _ = on_screen(picture, inside, size=screen.shape, place=(place[0], across))
        screen = np.maximum(screen, one)
        boxes.append(box)
    return screen, boxes


@pytest.mark.parametrize("device", [LINEAR, CONVEX], ids=lambda device: device.name)
@pytest.mark.parametrize("gap", [6, 20])
def test_a_dark_strip_parts_two_views(device, gap):
    screen, boxes = dual(device, gap)
    picture = frame(screen)
    views = split_views(picture, find_sector(picture))
    assert len(views) == 2
    for view, box in zip(views, boxes, strict=True):
        assert overlap(view.box, box) >= 0.92  # a side is good to 1 px in 90
        assert view.kind == ("rectangle" if device is LINEAR else "fan")


def test_abutting_views_part_at_the_seam():
    (left, _), (right, _) = sector_of(LINEAR, 1, floor=10), sector_of(LINEAR, 2, floor=110)
    picture = frame(np.hstack([left, right]))
    views = split_views(picture, find_sector(picture))
    assert [view.box[1] for view in views] == [0, left.shape[1]]
    assert sum(view.box[3] for view in views) == picture.width


@pytest.mark.parametrize("device", [LINEAR, CONVEX], ids=lambda device: device.name)
def test_one_view_stays_one(device):
    screen, _, _ = on_screen(*sector_of(device))
    picture = frame(decorate(screen))
    sector = find_sector(picture)
    assert split_views(picture, sector) == (sector,)


def test_a_line_drawn_down_the_middle_is_no_seam():
    picture, _ = sector_of(LINEAR)
    picture[:, picture.shape[1] // 2] = 255
    sector = find_sector(frame(picture))
    assert split_views(frame(picture), sector) == (sector,)


def test_a_shadow_is_no_gap():
    picture, _ = sector_of(LINEAR)
    shadow = picture.copy()
    shadow[20:, 70:78] = 0  # below the skin
    sector = find_sector(frame(shadow))
    assert split_views(frame(shadow), sector) == (sector,)


def test_two_regions_of_the_file_are_two_views():
    screen, boxes = dual(LINEAR, 0)
    regions = tuple(FrameRegion(box, spatial_format=1, data_type=1) for box in reversed(boxes))
    picture = frame(screen, regions)
    views = split_views(picture, find_sector(picture))
    assert [view.box for view in views] == boxes  # left to right, whatever their order in the file
    assert not (views[0].mask & views[1].mask).any()
