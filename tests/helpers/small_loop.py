"""A loop of 12 steps on a tiny network, for what can go wrong in one."""

import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from usfmae.engine.loop import LoopConfig, LoopResult, train
from usfmae.engine.optim import OptimConfig, build_optimizer
from usfmae.engine.saving import THREAD
from usfmae.engine.schedule import Schedule

TOTAL = 12


def batch(step: int) -> tuple[torch.Tensor, ...]:
    numbers = torch.randn(6, 5, generator=torch.Generator().manual_seed(step))
    return numbers[:, :4], numbers[:, 4:]


def batches_from(first: int) -> Iterator[tuple[torch.Tensor, ...]]:
    return (batch(step) for step in range(first, TOTAL))


def squared_error(module: nn.Module, part: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return (module(part[0]) - part[1]).square().mean()


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))


def run(
    out: Path,
    module: nn.Module | None = None,
    *,
    batches=batches_from,
    step=squared_error,
    total: int = TOTAL,
    given=None,
    **config,
) -> tuple[nn.Module, LoopResult]:
    """Train from the newest checkpoint in `out`; the network and how it ended. `given` goes to `train`."""
    module = module or net()
    result = train(
        module,
        step,
        batches,
        out=out,
        config=LoopConfig(**{"precision": "fp32", "checkpoint_steps": 4, "log_steps": 3, **config}),
        optimizer=build_optimizer(module, OptimConfig()),
        schedule=Schedule(peak=0.05, floor=0, warmup_steps=2, total_steps=total),
        clip_norm=1.0,
        steps_per_epoch=6,
        seed=0,
        **(given or {}),
    )
    return module, result


def equal(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def until_written() -> None:
    """Wait for the thread that writes a checkpoint, so that what follows does not depend on its speed."""
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join()
