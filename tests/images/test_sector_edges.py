"""Marks that hang on to a side of the sector are left out, and sides that lean are kept whole."""

import cv2
import numpy as np
import pytest
from screens import LINEAR, frame, on_screen, sector_of

from usfmae.images.sector import find_sector, overlap
from usfmae.images.sector_edges import _beyond_label, _shallow_step


def largest_shift(found, box) -> int:
    """Of the four sides, the one that lies furthest from where it should, in pixels."""
    ends = [(a[0], a[1], a[0] + a[2], a[1] + a[3]) for a in (found, box)]
    return max(abs(int(a) - int(b)) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("quality", [None, 85], ids=["png", "jpeg"])
def test_a_grey_bar_and_a_ruler_that_touch_the_echo_are_outside(quality):
    screen, box, _ = on_screen(*sector_of(LINEAR))
    top, right = box[0], box[1] + box[3]
    screen[top + 2 : top + 70, right : right + 4] = np.linspace(255, 40, 68).astype(np.uint8)[:, None]
    screen[top + 90 : top + 150 : 12, right : right + 6] = 230
    if quality:
        _, coded = cv2.imencode(".jpg", screen, [cv2.IMWRITE_JPEG_QUALITY, quality])
        screen = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    assert largest_shift(find_sector(frame(screen)).box, box) <= 1


def test_a_shallow_step_by_hand():
    # Of 100 rows 30 begin at column 31, 10 (a mark) at 25, the others fade at 40 to 99: a step of 6 px.
    first = np.concatenate([np.full(30, 31), np.full(10, 25), np.arange(40, 100)])
    assert _shallow_step(first, 25, 9) == 31
    assert _shallow_step(first, 25, 5) == 25  # deeper than text is high
    assert _shallow_step(np.concatenate([first[30:], np.arange(26, 100)]), 25, 9) == 25  # nothing agrees


def test_a_box_of_text_by_hand():
    # 130 rows begin at column 40, the last 70 at 0 where a box is: 45 grey, ink of 210 in each fourth column.
    rows, first = np.arange(200), np.repeat([40, 0], [130, 70])
    grey = np.random.default_rng(0).integers(0, 256, (200, 240)).astype(np.uint8)
    assert _beyond_label(rows, first, grey, 0) == 0  # echo as deep as that is no box
    grey[130:, :40] = 45
    assert _beyond_label(rows, first, grey, 0) == 0  # without ink it is none either
    grey[130:, :40:4] = 210
    assert _beyond_label(rows, first, grey, 0) == 40
    assert _beyond_label(rows, np.roll(first, 60), grey, 0) == 0  # not at an end of the side


def test_a_box_of_text_in_a_corner_is_outside():
    screen, inside = np.zeros((240, 200), np.uint8), np.ones((200, 200), bool)
    tissue, _ = sector_of(LINEAR)
    screen[:200] = cv2.resize(tissue, (200, 200))
    box = (0, 0, *inside.shape)
    assert largest_shift(find_sector(frame(screen)).box, box) <= 1
    screen[188:, 130:] = 45
    for row in (204, 220, 236):
        cv2.putText(screen, "D 1.48 cm", (133, row), cv2.FONT_HERSHEY_SIMPLEX, 0.36, 210, 1)
    assert largest_shift(find_sector(frame(screen)).box, box) <= 1


def test_echo_in_a_corner_below_a_dark_layer_is_no_box_of_text():
    tissue, _ = sector_of(LINEAR)
    picture = cv2.resize(tissue, (200, 240))
    picture[200:, :130] = 0  # a shadow as straight as an edge
    assert find_sector(frame(picture)).box == (0, 0, 240, 200)


@pytest.mark.parametrize("lean_px", [-4, 4])
def test_a_side_that_leans_is_not_cut_by_its_middle(lean_px):
    picture, _ = sector_of(LINEAR)
    tall, wide = 81, 70
    picture = np.maximum(picture[:tall, :wide], 12)
    screen = np.zeros((106, 147), np.uint8)
    for row in range(tall):
        left = 37 + round(lean_px * (row / tall - 0.5))
        screen[12 + row, left : left + wide] = picture[row]
    down, across = np.nonzero(screen)
    box = (int(down.min()), int(across.min()), int(np.ptp(down)) + 1, int(np.ptp(across)) + 1)
    assert overlap(find_sector(frame(screen)).box, box) >= 0.97
