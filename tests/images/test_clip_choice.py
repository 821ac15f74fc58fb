"""Frames of a clip, spread by what changes."""

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.base.errors import ImageError
from usfmae.images.clip_choice import KEPT_PER_CHOSEN, spread_by_change
from usfmae.images.frame import Frame, FrameSource


def clip(levels) -> list[Frame]:
    """Flat frames: the change between two is the difference of their levels."""
    return [
        Frame(np.full((40, 48), level, np.uint8), None, FrameSource("clip", index, len(levels)))
        for index, level in enumerate(levels)
    ]


def chosen(levels, max_frames: int) -> list[int]:
    return [frame.source.frame_index for frame in spread_by_change(clip(levels), max_frames)]


def test_by_hand():
    # The way is 0, 10, 20, 30, 40; three shares of 13.3 have their middles at 6.7, 20 and 33.3.
    assert chosen([0, 10, 20, 30, 40], 3) == [1, 2, 3]


def test_a_pause_gets_one_frame_however_long_it_is():
    levels = [*range(0, 100, 10), *[100] * 500, *range(110, 210, 10)]
    kept = chosen(levels, 8)
    assert len(kept) == 8
    assert sum(10 <= index < 510 for index in kept) <= 1


def test_there_and_back_counts_as_change():
    assert chosen([0, 50, 0, 50, 0], 5) == [0, 1, 2, 3, 4]


def test_a_clip_in_which_nothing_changes_gives_its_first_frame():
    assert chosen([7] * 20, 4) == [0]
    assert chosen([], 4) == []


@given(st.lists(st.integers(0, 255), min_size=1, max_size=200), st.integers(1, 20))
def test_at_most_as_many_as_asked_for_in_order_and_the_same_each_time(levels, max_frames):
    kept = chosen(levels, max_frames)
    assert 1 <= len(kept) <= max_frames
    assert kept == sorted(set(kept))
    assert kept == chosen(levels, max_frames)


@settings(deadline=None)
@given(st.integers(10, 400), st.integers(2, 16))
def test_steady_change_is_spread_evenly(num_frames, max_frames):
    # A ramp that turns at both ends changes by one each frame.
    levels = np.abs((np.arange(num_frames) + 255) % 510 - 255).tolist()
    kept = chosen(levels, max_frames)
    steps = np.diff([-1, *kept, num_frames])
    assert len(kept) == min(max_frames, num_frames)
    assert steps.max() <= 2.5 * num_frames / max_frames + 2


def test_memory_does_not_grow_with_the_clip():
    alive, most = 0, 0

    def dropped():
        nonlocal alive
        alive -= 1

    def frames():
        nonlocal alive, most
        for index in range(1000):
            pixels = np.full((40, 48), index % 256, np.uint8)
            weakref.finalize(pixels, dropped)
            alive += 1
            most = max(most, alive)
            yield Frame(pixels, None, FrameSource("clip", index, 1000))

    list(spread_by_change(frames(), 4))
    assert KEPT_PER_CHOSEN * 4 <= most <= KEPT_PER_CHOSEN * 4 + 3


def test_frames_before_damage_are_kept_and_the_damage_is_told():
    def broken():
        yield from clip([0, 50, 100])
        raise ImageError("clip: breaks off")

    kept = []
    with pytest.raises(ImageError, match="breaks off"):
        kept.extend(frame.source.frame_index for frame in spread_by_change(broken(), 5))
    assert kept == [0, 1, 2]


def test_no_frame_is_a_bad_argument():
    with pytest.raises(ValueError, match="at least 1"):
        list(spread_by_change([], 0))
