"""Which shifts and amounts are tried."""

import pytest

from usfmae.base.config import with_settings
from usfmae.base.errors import SettingError
from usfmae.evaluate.shifts_config import ShiftsConfig
from usfmae.images.shifts import SHIFTS


def test_amounts_are_sorted_and_hold_the_neutral_one():
    config = ShiftsConfig(gain=(6, -6, 6, 0), contrast=(), blur=2.0, crop="0.9,0.5")
    assert config.chosen() == {"gain": (-6.0, 0.0, 6.0), "blur": (0.0, 2.0), "crop": (0.5, 0.9, 1.0)}


def test_without_a_word_all_shifts_are_tried_with_the_amounts_of_the_table():
    assert list(ShiftsConfig().chosen()) == list(SHIFTS)
    for name, amounts in ShiftsConfig().chosen().items():
        assert set(amounts) == {*SHIFTS[name].amounts, SHIFTS[name].neutral}


def test_a_setting_is_written_with_commas_or_brackets():
    for written in ("gain=-6,6", "gain=[-6, 6]"):
        assert with_settings(ShiftsConfig(), [written]).gain == (-6.0, 6.0)
    assert "blur" not in with_settings(ShiftsConfig(), ["blur=[]"]).chosen()


def test_an_amount_that_makes_no_sense_is_named_with_its_shift():
    with pytest.raises(SettingError, match=r"crop: 20 is not between 0\.1 and 10"):
        with_settings(ShiftsConfig(), ["crop=20"])
    with pytest.raises(SettingError, match=r"gain\.0: Input should be a finite number"):
        with_settings(ShiftsConfig(), ["gain=nan"])
    with pytest.raises(SettingError, match="gain: amounts are numbers with commas between them"):
        with_settings(ShiftsConfig(), ["gain=1,,2"])
