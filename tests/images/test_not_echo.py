"""Strips over time are told by their beat, and the 2-D image beside them is found."""

import cv2
import numpy as np
import pytest
from screens import CONVEX, LINEAR, decorate, doppler, frame, m_mode, on_screen, sector_of

from usfmae.images.b_mode import why_no_b_mode
from usfmae.images.not_echo import MIN_BEATS, beats, strip_rows
from usfmae.images.sector import find_sector, overlap
from usfmae.images.simulate.device import DEVICES
from usfmae.images.simulate.study import simulate_study

STRIPS = {
    "m-mode": m_mode,
    "faint quick m-mode": lambda rng, size=(100, 280): m_mode(rng, size, beat_px=30, swing_px=3),
    "spectrum above": doppler,
    "spectrum below": lambda rng, size=(70, 280): doppler(rng, size, ways="down"),
    "spectrum on both sides": lambda rng, size=(70, 280): doppler(rng, size, ways="both"),
}


def test_beats_by_hand():
    # Columns 0 and 200 by turns, 8 and 8: the same again after 16 and 32 columns.
    square = np.where(np.arange(128) // 8 % 2 == 0, 200, 0).astype(np.uint8)
    assert beats(np.tile(square, (40, 1))) == pytest.approx(1.0, abs=0.01)
    # One change half way is no beat, nor are rows that never change, nor noise.
    assert beats(np.tile(np.repeat(np.array([0, 200], np.uint8), 64), (40, 1))) == 0
    assert beats(np.tile(np.arange(40, dtype=np.uint8)[:, None], (1, 128))) == 0
    assert beats(np.random.default_rng(0).integers(0, 255, (40, 128)).astype(np.uint8)) < MIN_BEATS / 2


def test_a_beat_that_is_seen_only_once_does_not_count():
    once = np.zeros((40, 128), np.uint8)
    once[:, 20:26] = once[:, 68:74] = 200  # two bars, 48 columns apart: nothing again at 96
    assert beats(once) < MIN_BEATS
    once[:, 116:122] = 200
    assert beats(once) > MIN_BEATS


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_tissue_has_no_beat(device):
    picture = simulate_study(3, device=device, lesion=None, seed=1).frame.pixels
    assert beats(picture) < MIN_BEATS / 2


@pytest.mark.parametrize("name", STRIPS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_strip_alone_is_no_b_mode(name, seed):
    screen = np.zeros((240, 320), np.uint8)
    strip = STRIPS[name](np.random.default_rng(seed))
    screen[125 : 125 + strip.shape[0], 20:300] = strip
    if seed == 1:
        decorate(screen)
    if seed == 2:
        _, coded = cv2.imencode(".jpg", screen, [cv2.IMWRITE_JPEG_QUALITY, 85])
        screen = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    picture = frame(screen)
    reason = why_no_b_mode(picture, find_sector(picture))
    assert reason == "is a Doppler spectrum or an M-mode strip without a 2-D image"


def test_a_strip_that_a_black_layer_cuts_in_two_is_no_b_mode():
    strip = m_mode(np.random.default_rng(0))
    strip[:45] = m_mode(np.random.default_rng(5), (45, 280), swing_px=0.0)  # still: no beat above the layer
    strip[45:52] = 0
    screen = np.zeros((240, 320), np.uint8)
    screen[125:225, 20:300] = strip
    assert why_no_b_mode(frame(screen), find_sector(frame(screen))) is not None


@pytest.mark.parametrize("device", [LINEAR, CONVEX], ids=lambda device: device.name)
@pytest.mark.parametrize("name", STRIPS)
def test_of_a_duplex_screen_the_2_d_image_is_kept(name, device):
    # The strip below is larger than the image.
    screen, box, _ = on_screen(*sector_of(device), size=(340, 340), place=(20, 80))
    below = box[0] + box[2] + 12
    screen[below : below + 100, 20:320] = STRIPS[name](np.random.default_rng(3), (100, 300))
    picture = frame(screen)
    sector = find_sector(picture)
    assert overlap(sector.box, box) >= 0.95
    assert why_no_b_mode(picture, sector) is None


def test_the_rows_of_a_strip_below_an_image():
    tissue, _ = sector_of(LINEAR)
    region = np.zeros((300, tissue.shape[1]), np.uint8)
    region[: tissue.shape[0]] = tissue
    region[200:] = m_mode(np.random.default_rng(0), (100, tissue.shape[1]), beat_px=40)
    assert strip_rows(region) == (pytest.approx(200, abs=3), 300)
    assert strip_rows(tissue) is None
    assert strip_rows(region[200:]) == (0, 100)


def test_a_flat_doppler_colour_is_no_panel():
    picture, _ = sector_of(LINEAR)
    colour = np.repeat(picture[..., None], 3, axis=2)
    colour[30:, :-12] = (255, 255, 0)
    sector = find_sector(frame(colour))
    assert sector.kind == "whole"
    assert why_no_b_mode(frame(colour), sector) is None
    grey_panel = np.where(colour == (255, 255, 0), 120, colour)
    assert find_sector(frame(grey_panel)).kind != "whole"
