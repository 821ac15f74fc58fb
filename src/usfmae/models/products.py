"""Matrix products of a training step, by the faster library where a machine has two.

PyTorch on a CPU multiplies fp32 with MKL and bf16 with oneDNN. On AMD cores with AVX-512 MKL reaches 180
to 190 of the 210 GFLOP/s that oneDNN reaches on the shapes of a ViT-B, so both number types go to oneDNN, by
the operator that `torch.compile` calls for a linear map on a CPU. The gradient of the weight stays with
PyTorch's own product, which is the faster one for that (docs/results/pretraining.md).
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import register_flop_formula


class Linear(nn.Linear):
    """`torch.nn.Linear`, the same keys and start; `linear` in place of its product."""

    def forward(self, rows: Float[Tensor, "... k"]) -> Float[Tensor, "... n"]:
        return linear(rows, self.weight, self.bias)


def linear(
    rows: Float[Tensor, "... k"], weight: Float[Tensor, "n k"], bias: Float[Tensor, " n"] | None
) -> Float[Tensor, "... n"]:
    """rows weight^T + bias, in the number type that autocast asks for.

    Without gradients, and on every other device, this is `torch.nn.functional.linear`.
    """
    training = torch.is_grad_enabled() and weight.requires_grad and not torch.compiler.is_compiling()
    autocasts = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if autocasts else weight.dtype
    if not (training and weight.device.type == "cpu" and bias is not None and _has_onednn(dtype)):
        return F.linear(rows, weight, bias)
    out: Tensor = _Product.apply(rows, weight, bias, dtype)  # type: ignore[no-untyped-call]
    return out


class _Product(torch.autograd.Function):
    """Forward pass and the gradient of the rows by oneDNN, the gradient of the weight by `torch.mm`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.types = rows.dtype, weight.dtype
        rows, weight, bias = rows.to(dtype), weight.to(dtype), bias.to(dtype)
        ctx.save_for_backward(rows, weight)
        return _times(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0]
        rows, weight = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        for_rows = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_rows = _times(flat, weight.t(), None).reshape(rows.shape).to(ctx.types[0])
        if ctx.needs_input_grad[1]:
            for_weight = torch.mm(flat.t(), rows.reshape(-1, rows.shape[-1])).to(ctx.types[1])
        if ctx.needs_input_grad[2]:
            for_bias = flat.sum(dim=0).to(ctx.types[1])
        return for_rows, for_weight, for_bias, None


def _times(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product


def _has_onednn(dtype: torch.dtype) -> bool:
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    return torch._C._has_mkldnn and bool(torch.backends.mkldnn.enabled)


if torch._C._has_mkldnn:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _operations(rows: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
        """For `torch.utils.flop_counter`: two operations for each row, column and term."""
        return 2 * math.prod(rows) * weight[0]
