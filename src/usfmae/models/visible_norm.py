"""Batch norm over the visible places of all images of a batch, on however many processes they are."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def norm_rows(norm: nn.BatchNorm2d, rows: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """What `norm` makes of the visible places: in training by their own moments, else by the running ones.

    Moments are those of the rows of all processes that train together, so that several do what one does; all
    of them call this. Running moments follow as in torch (unbiased variance, the norm's momentum), but for
    the start: until a plain mean over the batches seen would move less, they are that mean, so that a short
    run is not left with those of its start.

    Args:
        norm: with running moments and scale and shift.
        rows: one per visible place; in training two at least over all processes.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if not norm.training:
        return _native(rows, norm, norm.running_mean, norm.running_var)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        out, mean, var = _over_processes(rows, norm)
    else:
        mean, var = torch.zeros_like(norm.running_mean), torch.zeros_like(norm.running_var)
        out = _native(rows, norm, mean, var, training=True)
    with torch.no_grad():
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        share = (1 / norm.num_batches_tracked.float()).clamp(min=norm.momentum)
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(var, share)
    return out


def _native(
    rows: Tensor, norm: nn.BatchNorm2d, mean: Tensor, var: Tensor, *, training: bool = False
) -> Tensor:
    """Torch's own, on rows laid out as the pixels of one picture, which its fast kernels know.

    In training, `mean` and `var` become the moments of the batch.
    """
    picture = rows.contiguous()[None, :, None].permute(0, 3, 1, 2)
    out = F.batch_norm(picture, mean, var, norm.weight, norm.bias, training, 1.0, norm.eps)
    return out.permute(0, 2, 3, 1).reshape(rows.shape)


def _over_processes(rows: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor]:
    """The rows normalised by the moments of those of all processes; mean and unbiased variance."""
    numbers = rows.to(torch.promote_types(rows.dtype, torch.float32))
    count = numbers.new_tensor([len(rows)])
    sums = _summed(torch.cat([numbers.sum(dim=0), count]))
    total = sums[-1].detach()
    mean = sums[:-1] / total
    centred = numbers - mean
    squares = _summed(centred.square().sum(dim=0))
    out = centred * (squares / total + norm.eps).rsqrt() * norm.weight + norm.bias
    return out.to(rows.dtype), mean.detach(), squares.detach() / (total - 1)


def _summed(part: Tensor) -> Tensor:
    total: Tensor = _Summed.apply(part)  # type: ignore[no-untyped-call]
    return total


class _Summed(torch.autograd.Function):
    """A sum over processes, for which each answers with the sum of all their gradients."""

    @staticmethod
    def forward(_ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
