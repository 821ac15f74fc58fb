import os

import pytest
import torch

from usfmae.base.errors import SettingError
from usfmae.base.input_spec import InputSpec
from usfmae.engine.devices import pick_augment_place, pick_device, pick_precision, set_up_cpu, to_input


def test_standardisation_by_hand():
    # 51 / 255 = 0.2: (0.2 - 0.1) / 0.5 = 0.2 in the first channel, (0.2 - 0.4) / 0.25 = -0.8 in the second.
    spec = InputSpec(image_px=8, channels=2, mean=(0.1, 0.4), std=(0.5, 0.25))
    inputs = to_input(torch.full((1, 8, 8), 51, dtype=torch.uint8), spec, torch.device("cpu"))
    assert inputs.shape == (1, 2, 8, 8)
    assert inputs[0, :, 0, 0].tolist() == pytest.approx([0.2, -0.8])


def test_one_mean_serves_all_channels():
    spec = InputSpec(image_px=8, channels=3, mean=(0.5,), std=(0.5,))
    inputs = to_input(torch.zeros(2, 8, 8, dtype=torch.uint8), spec, torch.device("cpu"))
    assert inputs.shape == (2, 3, 8, 8)
    assert inputs.unique().tolist() == [-1]


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(SettingError, match="this machine has none"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"


def test_a_precision_asked_for_is_kept():
    assert pick_precision("fp32", torch.device("cpu")) == "fp32"
    assert pick_precision("bf16", torch.device("cpu")) == "bf16"
    assert pick_precision("auto", torch.device("cpu")) in {"bf16", "fp32"}


def test_views_are_made_where_the_network_is_unless_that_is_a_cpu():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [pick_augment_place("auto", device) for device in (cpu, cuda)] == ["cpu", "device"]
    assert pick_augment_place("device", cpu) == "device"
    assert pick_augment_place("cpu", cuda) == "cpu"


def test_standardisation_made_while_evaluating_serves_training_too():
    spec, images = InputSpec(image_px=8, mean=(0.3,), std=(0.7,)), torch.ones(1, 8, 8, dtype=torch.uint8)
    with torch.inference_mode():
        to_input(images, spec, torch.device("cpu"))
    weight = torch.ones(1, requires_grad=True)
    (to_input(images, spec, torch.device("cpu")) * weight).sum().backward()
    assert weight.grad is not None


def test_threads_are_those_asked_for_and_no_more_than_the_environment_says(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    try:
        found = []
        for variable, asked in (("", None), ("2", None), ("50", None), ("0", None), ("4,2", None), ("2", 3)):
            monkeypatch.setenv("OMP_NUM_THREADS", variable)
            set_up_cpu(asked)
            found.append(torch.get_num_threads())
        assert found == [6, 2, 6, 6, 6, 3]
        monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as torchrun does
        for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "x"}.items():
            monkeypatch.setenv(name, str(value))
        set_up_cpu()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
