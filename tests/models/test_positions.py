import math

import pytest
import torch

from usfmae.models.positions import (
    decoder_positions,
    resize_positions,
    sincos_positions,
    sincos_positions_on,
)


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


def test_remembered_positions_are_the_same_and_do_for_training_whoever_asked_first():
    with torch.inference_mode():
        remembered = sincos_positions_on((3, 5), 8, torch.device("cpu"))
    assert torch.equal(remembered, sincos_positions((3, 5), 8))
    assert not remembered.is_inference()
    assert sincos_positions_on((3, 5), 8, torch.device("cpu")) is remembered


def test_a_decoder_stores_positions_of_its_own_grid_and_computes_others():
    stored = torch.full((1, 1 + 6, 8), 7.0)
    assert torch.equal(decoder_positions(stored, own=(2, 3), grid=(2, 3)), stored[0])
    assert torch.equal(decoder_positions(stored, own=(2, 3), grid=(3, 2)), sincos_positions((3, 2), 8)[0])
