import pytest

from usfmae.engine import meters
from usfmae.engine.meters import RateMeter


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def perf_counter(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(meters, "time", clock)
    return clock


def slow(clock, seconds):
    for number, one in enumerate(seconds):
        clock.now += one
        yield number


def test_waiting_and_speed_by_hand(clock):
    # Two steps of 4 s each: 1 s and 2 s until the batch was there. 20 images in 8 s, 3 s of them waiting.
    meter = RateMeter()
    batches = slow(clock, [1, 2])
    for number, work in enumerate([3, 2]):
        assert meter.next(batches) == number
        clock.now += work
        meter.add(10)
    assert meter.images_per_s == pytest.approx(20 / 8)
    assert meter.data_wait == pytest.approx(3 / 8)


def test_old_waiting_is_forgotten(clock):
    meter = RateMeter(window=2)
    batches = slow(clock, [50, 0, 0, 0])
    for _ in range(4):
        meter.next(batches)
        clock.now += 1
        meter.add(1)
    assert meter.data_wait == 0
    assert meter.images_per_s == 1


def test_nothing_was_measured_before_the_first_step(clock):
    assert (RateMeter().data_wait, RateMeter().images_per_s) == (0, 0)
