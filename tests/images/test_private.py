"""Frames from scanners keep no text: none around the echo, none in it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from screens import CONVEX, LINEAR, decorate, frame, on_screen, sector_of

from usfmae.images.clean import CleanConfig, Cleaned
from usfmae.images.private import ROUNDS, without_identity
from usfmae.images.sector import Sector, find_sector

CONFIG = CleanConfig()
NAME = "ZAPFENSTEIN"


def likeness_of(word: str, pixels, scale: float) -> float:
    """How much the place that looks most like a word looks like it: a correlation, 1 for the word itself."""
    (width, height), below = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    drawn = np.zeros((height + below + 2, width + 2), np.uint8)
    cv2.putText(drawn, word, (1, height + 1), cv2.FONT_HERSHEY_SIMPLEX, scale, 230, 1)
    return float(cv2.matchTemplate(pixels, drawn, cv2.TM_CCOEFF_NORMED).max())


@pytest.mark.parametrize("device", [LINEAR, CONVEX], ids=["linear", "convex"])
def test_what_is_written_around_the_echo_is_gone_and_the_echo_is_not(device):
    screen, _, inside = on_screen(*sector_of(device))
    shown = frame(decorate(screen.copy()))
    sector = find_sector(shown)
    assert sector is not None
    private = without_identity(shown, config=CONFIG, sector=sector)
    assert private.flags == ()
    assert not private.frame.pixels[~sector.mask].any()
    assert likeness_of("MUSTER^E", shown.pixels, 0.35) > 0.95
    assert likeness_of("MUSTER^E", private.frame.pixels, 0.35) < 0.6
    kept = private.frame.pixels[inside] == screen[inside]
    assert kept.mean() > 0.94  # the outline is found on a smaller picture


def test_a_name_in_the_echo_is_filled():
    screen, _, inside = on_screen(*sector_of(LINEAR))
    bare = screen.copy()
    cv2.putText(screen, NAME, (84, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 230, 1)
    shown = frame(screen)
    sector = find_sector(frame(bare))
    private = without_identity(shown, config=CONFIG, sector=sector)
    assert likeness_of(NAME, shown.pixels, 0.4) > 0.9
    assert private.flags == ()
    assert likeness_of(NAME, private.frame.pixels, 0.4) < 0.6
    assert not (private.mask & ~inside).any()


def test_a_frame_that_filling_would_ruin_is_given_up_if_it_has_text():
    screen, _, _ = on_screen(*sector_of(LINEAR))
    for row in range(50, 180, 14):
        cv2.putText(screen, NAME + " 1953", (74, row), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 235, 1)
    private = without_identity(frame(screen), config=CONFIG, sector=find_sector(frame(screen)))
    assert "may_identify" in private.flags


def test_text_that_survives_filling_gives_the_frame_up(monkeypatch):
    """A fault of cleaning, planted: it leaves the frame as it is and says nothing."""
    screen, _, _ = on_screen(*sector_of(LINEAR))
    bare = find_sector(frame(screen.copy()))
    cv2.putText(screen, NAME, (84, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 230, 1)
    asked = []

    def lazy(seen, **_):
        asked.append(seen)
        return Cleaned(seen, np.zeros((seen.height, seen.width), bool), ())

    monkeypatch.setattr("usfmae.images.private.clean_frame", lazy)
    private = without_identity(frame(screen), config=CONFIG, sector=bare)
    assert private.flags == ("may_identify",)
    assert len(asked) == ROUNDS


def test_a_whole_picture_is_not_blackened():
    picture, _ = sector_of(LINEAR)
    whole = np.ones(picture.shape, bool)
    shown = frame(picture)
    private = without_identity(shown, config=CONFIG, sector=Sector("whole", (0, 0, *picture.shape), whole))
    assert (private.frame.pixels == picture).mean() > 0.97
    assert without_identity(shown, config=CONFIG, sector=None).frame.pixels.shape == picture.shape


def test_where_cleaning_is_off_a_frame_is_freed_of_text_all_the_same():
    screen, _, _ = on_screen(*sector_of(LINEAR))
    cv2.putText(screen, NAME, (84, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 230, 1)
    off = without_identity(frame(screen), config=CleanConfig(mode="none"), sector=None)
    on = without_identity(frame(screen), config=CONFIG, sector=None)
    assert np.array_equal(off.frame.pixels, on.frame.pixels)
    assert off.mask.any()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 50), st.integers(1, 40), st.integers(1, 40))
@example(47, 22, 40)  # a mark on the border of the echo, whose filling reaches beyond it
def test_colour_frames_of_any_size_keep_their_shape_and_no_pixel_outside(seed, height, width):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), bool)
    mask[: height // 2 + 1, : width // 2 + 1] = True
    sector = Sector("rectangle", (0, 0, height // 2 + 1, width // 2 + 1), mask)
    before = pixels.copy()
    private = without_identity(replace(frame(pixels), pixels=pixels), config=CONFIG, sector=sector)
    assert private.frame.pixels.shape == pixels.shape
    assert not private.frame.pixels[~mask].any()
    assert not private.mask[~mask].any()
    assert np.array_equal(pixels, before)
