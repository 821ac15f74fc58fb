"""A step's matrix products by the faster library give what PyTorch's own give."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from usfmae.models import products


def drawn() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows, weight, bias, and what the result is weighed with."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    rows, weight, bias = (
        draw(2, 5, 12).requires_grad_(),
        draw(7, 12).requires_grad_(),
        draw(7).requires_grad_(),
    )
    return rows, weight, bias, draw(2, 5, 7)


@pytest.mark.parametrize("bf16", [False, True])
def test_value_and_all_gradients_are_those_of_torch(bf16: bool) -> None:
    found = []
    for product in (products.linear, F.linear):
        rows, weight, bias, weighed = drawn()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            out = product(rows, weight, bias)
        (out.float() * weighed).sum().backward()
        found.append([out.detach(), rows.grad, weight.grad, bias.grad])
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        assert theirs is not None
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        torch.testing.assert_close(ours, theirs, rtol=1e-2 if bf16 else 1e-5, atol=1e-2 if bf16 else 1e-5)


def test_gradients_are_only_worked_out_where_wanted() -> None:
    rows, weight, bias, _ = drawn()
    products.linear(rows.detach(), weight, bias).sum().backward()
    assert rows.grad is None
    assert weight.grad is not None


def test_a_step_on_a_cpu_goes_to_onednn_and_nothing_else_does() -> None:
    rows, weight, bias, _ = drawn()
    with torch.profiler.profile() as profile:
        products.linear(rows, weight, bias)
    assert "mkldnn::_linear_pointwise" in {event.key for event in profile.key_averages()}
    for dtype, grad in ((torch.float64, True), (torch.float32, False)):
        with torch.profiler.profile() as profile, torch.set_grad_enabled(grad):
            products.linear(*(part.to(dtype) for part in (rows, weight, bias)))
        assert "mkldnn::_linear_pointwise" not in {event.key for event in profile.key_averages()}


def test_second_use_of_a_weight_adds_to_its_gradient() -> None:
    """The MLP of a block that is met twice, as with accumulation."""
    rows, weight, bias, _ = drawn()
    for _ in range(2):
        products.linear(rows, weight, bias).sum().backward()
    twice = weight.grad
    rows, weight, bias, _ = drawn()
    products.linear(rows, weight, bias).sum().backward()
    assert twice is not None
    assert weight.grad is not None
    torch.testing.assert_close(twice, 2 * weight.grad)
