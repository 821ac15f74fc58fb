"""Fused code for the parts of a network that repeat, made by `torch.compile` on the spot."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from usfmae.base.errors import SettingError
from usfmae.engine.parallel import Forward, forward_through

CompileName = Literal["off", "blocks", "graphs"]

_LIMIT = 64
"""Kinds of block (shape of input, drop path) that are compiled before torch gives up on compiling more."""


@contextmanager
def compiling(module: nn.Module, name: CompileName, device: torch.device) -> Iterator[Callable[[], None]]:
    """Train with compiled blocks; what is computed without gradients stays as it is.

    Blocks of one shape share their code, so a network compiles in the time of its few kinds of block, however
    deep it is, and DDP, FSDP2 and activation checkpointing see the blocks that they know. "graphs" also
    replays a block's kernels as CUDA graphs, which pays where kernels are so small that starting them takes
    longer than running them. What a replay returns lies in memory that the next replay writes into, and
    autograd makes such memory the gradients of weights (pytorch/pytorch issue 169545): where a batch comes in
    parts, they are copied out of it before the next part.

    Yields:
        What to call before each forward pass.

    Raises:
        SettingError: "graphs" away from CUDA, or the machine has no compiler.
    """
    if name == "off":
        yield _nothing
        return
    if name == "graphs" and device.type != "cuda":
        raise SettingError("loop.compile=graphs: CUDA graphs need a GPU", hint="--set loop.compile=blocks")
    from torch._inductor.exc import InductorError  # takes seconds, so only where it is needed

    mode = "reduce-overhead" if name == "graphs" else None

    def compiled(block: nn.Module, forward: Forward) -> Forward:
        fused = torch.compile(forward, dynamic=False, mode=mode)

        def chosen(*args: Any, **kwargs: Any) -> Tensor:
            training = block.training and torch.is_grad_enabled()
            return (fused if training else forward)(*args, **kwargs)

        return chosen

    try:
        with forward_through(module, compiled), torch._dynamo.config.patch(recompile_limit=_LIMIT):
            yield partial(_begin_replay, module) if name == "graphs" else _nothing
    except InductorError as error:
        raise SettingError(
            f"loop.compile={name}: this machine cannot compile ({str(error).splitlines()[0]})",
            hint="install a C++ compiler (Debian: apt install g++), or leave loop.compile at off",
        ) from error


def _begin_replay(module: nn.Module) -> None:
    copy_gradients(module)
    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


def copy_gradients(module: nn.Module) -> None:
    """Give gradients memory of their own; before the first part of a batch there are none."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad = parameter.grad.clone()


def _nothing() -> None:
    pass
