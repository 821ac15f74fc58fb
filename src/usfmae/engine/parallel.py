"""How a network lies on the ranks: whole on each (DDP) or in pieces (FSDP2); how it is seen whole again."""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint as recomputed

from usfmae.engine.ranks import Ranks

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """The parts that repeat: children of every `nn.ModuleList`, for a transformer its blocks."""
    for child in module.modules():
        if isinstance(child, nn.ModuleList):
            yield from child


Forward = Callable[..., Tensor]


@contextmanager
def forward_through(module: nn.Module, wrap: Callable[[nn.Module, Forward], Forward]) -> Iterator[None]:
    """Let each block of `module` compute by what `wrap` makes of its `forward`; nests."""
    before = [(block, vars(block).get("forward")) for block in blocks_of(module)]
    for block, _ in before:
        block.forward = wrap(block, block.forward)
    try:
        yield
    finally:
        for block, own in before:
            if own is None:
                del block.forward  # that of the class is behind it
            else:
                block.forward = own


def recomputing(module: nn.Module) -> AbstractContextManager[None]:
    """Keep only the inputs of blocks for the backward pass and compute the rest again (Chen et al. 2016,
    "Training deep nets with sublinear memory cost", sec. 4); the result is the same to the bit."""
    return forward_through(module, lambda block, forward: partial(_recomputed, block, forward))


def _recomputed(block: nn.Module, forward: Forward, *args: Any, **kwargs: Any) -> Tensor:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    out: Tensor = recomputed(forward, *args, use_reentrant=False, **kwargs)
    return out


def shard(module: nn.Module, ranks: Ranks) -> None:
    """Cut every tensor of `module` over the ranks, in place, where `ranks` says fsdp (Zhao et al. 2023).

    Blocks are gathered one at a time while they compute. All ranks must hold the same values. The optimiser
    is built afterwards, on the pieces.
    """
    if not ranks.sharded:
        return
    # It warns of changing an output in place, which no step does.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    device = next(module.parameters()).device
    mesh = init_device_mesh(device.type, (ranks.world,))
    for block in blocks_of(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def in_step(module: nn.Module, ranks: Ranks) -> nn.Module:
    """What a step calls: `module`, so wrapped that gradients become the mean over the ranks."""
    if ranks.parallel != "ddp":
        return module
    return DistributedDataParallel(module, gradient_as_bucket_view=True)


def gradients_kept_back(stepped: nn.Module, *, until_last: bool) -> AbstractContextManager[object]:
    """A context for one part of a batch: ranks exchange gradients only with the last."""
    if isinstance(stepped, FSDPModule):
        stepped.set_requires_gradient_sync(not until_last)
        return nullcontext()
    if isinstance(stepped, DistributedDataParallel) and until_last:
        return stepped.no_sync()
    return nullcontext()


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the pieces of all ranks; called by all of them."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(full: Tensor, target: Tensor) -> Tensor:
    """A whole tensor that every rank holds, on the device of `target` and cut as it is."""
    moved = full.to(target.device)
    if not isinstance(target, DTensor):
        return moved
    return distribute_tensor(moved, target.device_mesh, target.placements, src_data_rank=None)


def whole_on_first(module: ModuleT, ranks: Ranks) -> Callable[[], ModuleT]:
    """A function that gives the network with its present weights, whole, on the first rank.

    Without fsdp that is `module` itself. With it, all ranks must call the function, and only what the first
    one gets is whole: a copy, filled anew by each call.

    Args:
        module: before `shard`.
    """
    if not ranks.sharded:
        return lambda: module
    twin = copy.deepcopy(module) if ranks.leads else module
    places = twin.state_dict() if ranks.leads else {}

    def filled() -> ModuleT:
        for name, tensor in module.state_dict().items():
            full = whole(tensor)
            if places:
                places[name].copy_(full)
        return twin

    return filled
