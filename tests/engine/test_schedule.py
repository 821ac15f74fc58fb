import math

import pytest
from pydantic import ValidationError

from usfmae.engine.optim import OptimConfig
from usfmae.engine.schedule import Schedule, make_schedule, with_short_warmup


def test_rates_by_hand():
    # Warm-up of 2 steps to 1.0, then half a cosine over 4 steps down to 0.2.
    schedule = Schedule(peak=1.0, floor=0.2, warmup_steps=2, total_steps=6)
    quarter = 0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2
    assert [schedule.lr(s) for s in range(5)] == pytest.approx([0.5, 1.0, 1.0, quarter, 0.6])
    assert schedule.lr(6) == pytest.approx(0.2)
    assert schedule.lr(99) == pytest.approx(0.2)


def test_the_rate_grows_with_the_batch():
    config = OptimConfig(lr_per_256=1e-3, floor_lr_per_256=1e-5, warmup_epochs=1)
    schedule = make_schedule(config, global_batch=512, steps_per_epoch=10, total_steps=100)
    assert (schedule.peak, schedule.floor, schedule.warmup_steps) == (2e-3, 2e-5, 10)


def test_a_run_shorter_than_its_warm_up_only_warms_up():
    schedule = make_schedule(
        OptimConfig(warmup_epochs=40), global_batch=256, steps_per_epoch=10, total_steps=20
    )
    assert schedule.warmup_steps == 20
    assert schedule.lr(19) == pytest.approx(schedule.peak)


def test_a_warm_up_takes_at_most_a_tenth_of_a_short_run():
    config = OptimConfig(warmup_epochs=3.0, lr_per_256=8e-3)
    assert with_short_warmup(config, epochs=4) == config.model_copy(update={"warmup_epochs": 0.4})
    assert with_short_warmup(config, epochs=30) == with_short_warmup(config, epochs=300) == config


def test_a_floor_above_the_peak_is_refused():
    with pytest.raises(ValidationError, match="floor_lr_per_256 is above lr_per_256"):
        OptimConfig(lr_per_256=1e-4, floor_lr_per_256=1e-3)
