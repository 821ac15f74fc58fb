"""Any number type to 8 bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from usfmae.images.intensity import to_8_bits


@pytest.mark.parametrize(
    ("values", "stored_bits", "expected"),
    [
        ([0, 1, 1023], None, [0, 0, 255]),  # 10 bits hold 1023
        ([0, 512, 4095], None, [0, 32, 255]),  # 512 * 255 / 4095 = 31.9
        ([0, 200, 255], None, [0, 200, 255]),  # 8-bit values in a 16-bit file stay
        ([0, 200, 255], 12, [0, 12, 16]),  # unless the file says that it uses 12
        ([0, 65535, 257], 16, [0, 255, 1]),
        ([0, 300, 4095], 8, [0, 19, 255]),  # a file that claims fewer bits than it uses
    ],
)
def test_integers_by_hand(values, stored_bits, expected):
    assert to_8_bits(np.array(values, np.uint16), stored_bits=stored_bits).tolist() == expected


def test_signed_and_float_values_by_hand():
    assert to_8_bits(np.array([-100, 50, 100], np.int16)).tolist() == [0, 191, 255]
    assert to_8_bits(np.array([0, 16384, 32767], np.int16)).tolist() == [0, 128, 255]  # 15 bits and a sign
    assert to_8_bits(np.array([0.0, 0.5, 1.0])).tolist() == [0, 128, 255]
    assert to_8_bits(np.array([0.0, 5.0, np.nan, np.inf])).tolist() == [0, 255, 0, 0]
    assert to_8_bits(np.array([True, False])).tolist() == [255, 0]


def test_text_is_a_bad_argument():
    with pytest.raises(ValueError, match="cannot read pixels of type"):
        to_8_bits(np.array(["a"]))


@given(hnp.arrays(np.uint16, st.integers(1, 20)))
def test_brighter_stays_brighter(values):
    order = np.argsort(values, kind="stable")
    assert (np.diff(to_8_bits(values)[order].astype(int)) >= 0).all()
