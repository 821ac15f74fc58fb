import pytest
import torch
from torch import nn

from usfmae.engine import utilisation as module_under_test
from usfmae.engine.utilisation import Utilisation, matmul_rate

CPU = torch.device("cpu")


def mean_square(module: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return module(batch[0]).square().mean()


def test_operations_by_hand():
    # A row of 8 numbers times an 8 x 4 matrix: 2 * 8 * 4 = 64. Backward the gradient of the matrix costs as
    # much; that of the input is not wanted.
    meter = Utilisation(mean_square, "fp32")
    meter.see(nn.Linear(8, 4), (torch.ones(32, 8),))
    assert meter.flops_per_image == 128


def test_fused_attention_counts_on_a_cpu_too():
    # One head, 4 tokens, width 8: two products of 2 * 4 * 4 * 8 = 256 forward, five backward (the scores are
    # computed again).
    def attend(module, batch):
        q = module(batch[0])[:, None]
        return nn.functional.scaled_dot_product_attention(q, q, q).sum()

    net, tokens = nn.Linear(8, 8), torch.ones(3, 4, 8)
    linear, both = Utilisation(mean_square, "fp32"), Utilisation(attend, "fp32")
    linear.see(net, (tokens,))
    both.see(net, (tokens,))
    assert both.flops_per_image - linear.flops_per_image == 7 * 256


def test_the_share_is_operations_over_the_ceiling_of_all_devices(monkeypatch):
    monkeypatch.setattr(module_under_test, "matmul_rate", lambda device, dtype: 6400.0)
    meter = Utilisation(mean_square, "fp32", num_devices=2)
    meter.see(nn.Linear(8, 4), (torch.ones(32, 8),))
    assert meter.mfu(25.0, CPU) == pytest.approx(128 * 25 / (6400 * 2))


def test_the_ceiling_is_measured_before_the_first_step(monkeypatch):
    measured = []
    monkeypatch.setattr(module_under_test, "matmul_rate", lambda *which: measured.append(which) or 1.0)
    meter = Utilisation(mean_square, "bf16")
    meter.see(nn.Linear(8, 4), (torch.ones(32, 8),))
    assert measured == [(CPU, torch.bfloat16)]
    meter.see(nn.Linear(8, 4), (torch.ones(32, 8),))
    assert len(measured) == 1


def test_a_shape_is_counted_once_and_again_when_images_change_size():
    calls = []

    def counted(module, batch):
        calls.append(tuple(batch[0].shape))
        return mean_square(module, batch)

    net = nn.Conv2d(1, 2, 3)
    meter = Utilisation(counted, "fp32")
    seen = []
    for side in (8, 8, 16, 8):
        meter.see(net, (torch.ones(5, 1, side, side),))
        seen.append(meter.flops_per_image)
    assert calls == [(1, 1, 8, 8), (1, 1, 16, 16)]
    assert seen[0] == seen[1] == seen[3] < seen[2]


def test_counting_leaves_no_gradient():
    net = nn.Linear(8, 4)
    Utilisation(mean_square, "fp32").see(net, (torch.ones(2, 8),))
    assert net.weight.grad is None


def test_the_ceiling_is_measured_once():
    assert matmul_rate(CPU, torch.float32) == matmul_rate(CPU, torch.float32) > 1e8
