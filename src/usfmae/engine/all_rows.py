"""The rows of a batch from all ranks, for a loss that is a statistic of the whole; gradients go back."""

from typing import Any

import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F  # noqa: N812

from usfmae.engine.ranks import Ranks


def rows_of_all(rows: Float[Tensor, "mine d"], ranks: Ranks, *, count: int) -> Float[Tensor, "count d"]:
    """What all ranks have, in the order of the global batch; `rows` itself in a process that is alone.

    A rank whose loss is a function of all rows differentiates it by those of every rank. Each gets the sum
    of what all ranks say about its own, and as gradients of weights are then averaged over the ranks, a loss
    that each weighs by its share of the batch (as `loop.train` does) has the gradients of one process.

    Args:
        rows: those of this rank, `ranks.rows(count)` of the batch; ranks may differ by one.
        ranks: all of them call this.
        count: rows of the global batch.
    """
    if ranks.world == 1:
        return rows
    mine = ranks.rows(count)
    assert len(rows) == mine.stop - mine.start, "these are not the rows of this rank"
    whole: Tensor = _Sum.apply(F.pad(rows, (0, 0, mine.start, count - mine.stop)))  # type: ignore[no-untyped-call]
    return whole


class _Sum(Function):
    """Sum over the ranks, forward and backward: where each has zeros in the rows of others, that collects."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total
