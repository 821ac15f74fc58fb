import math

import pytest
import torch

from usfmae.models.positions import resize_positions, sincos_positions


def test_positions_by_hand():
    # Width 8: quarters are sin(across), cos(across), sin(down), cos(down) at frequencies 1 and 1/100.
    positions = sincos_positions((2, 3), 8)
    assert positions.shape == (1, 7, 8)
    assert positions[0, 0].tolist() == [0] * 8
    down, across = 1, 2
    expected = [
        math.sin(across), math.sin(across / 100), math.cos(across), math.cos(across / 100),
        math.sin(down), math.sin(down / 100), math.cos(down), math.cos(down / 100),
    ]  # fmt: skip
    torch.testing.assert_close(positions[0, 1 + down * 3 + across], torch.tensor(expected))


def test_a_width_that_is_no_multiple_of_four_is_refused():
    with pytest.raises(ValueError, match="dim=6 is not a multiple of 4"):
        sincos_positions((2, 2), 6)


def test_the_same_grid_leaves_positions_untouched():
    positions = torch.randn(1, 13, 8)
    assert resize_positions(positions, old=(3, 4), new=(3, 4)) is positions


def test_the_class_position_is_never_resampled():
    positions = torch.randn(1, 10, 8)
    resized = resize_positions(positions, old=(3, 3), new=(6, 5))
    assert resized.shape == (1, 31, 8)
    assert torch.equal(resized[:, 0], positions[:, 0])


def test_constant_positions_stay_constant():
    positions = torch.ones(1, 17, 4)
    torch.testing.assert_close(resize_positions(positions, old=(4, 4), new=(7, 2)), torch.ones(1, 15, 4))


def test_positions_of_another_grid_are_refused():
    with pytest.raises(ValueError, match="10 positions do not fit 2 x 2 patches and a class"):
        resize_positions(torch.zeros(1, 10, 4), old=(2, 2), new=(3, 3))
