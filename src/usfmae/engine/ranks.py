"""The processes that train one network together: which rows are mine, what do all agree on, who writes.

A process that runs alone is `ALONE`; every method is then the identity, so that the loop has one text for
both. Small facts (flags, errors, names) travel over gloo between CPUs, so that asking never waits for a GPU.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from usfmae.base.errors import SettingError, TrainingError, UsfmaeError
from usfmae.base.files import said_by_disk
from usfmae.base.launch import launched
from usfmae.engine.meeting import agree_on_name

ParallelName = Literal["ddp", "fsdp"]

PATIENCE = timedelta(hours=1)
"""How long ranks wait for each other before they give up: the first one may draw and score that long."""

QUIET_S = 0.5
"""Pause before a group is taken apart. A thread of gloo that has not yet let go of its last tensor needs the
interpreter's lock, which whoever takes the group apart holds while waiting for that thread (pytorch/pytorch
issue 56297): on two busy cores a process that was told to stop hung until torchrun killed it after 30 s."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    """0 to world - 1."""

    world: int = 1
    """How many."""

    parallel: ParallelName | Literal["none"] = "none"
    """none: alone. ddp: each holds the whole network. fsdp: each holds a share of every tensor."""

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files, logs and draws."""
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Whether the network lies in pieces on the ranks."""
        return self.parallel == "fsdp"

    def rows(self, count: int) -> slice:
        """Which of the `count` rows of a global batch are this rank's: contiguous, equal but for one.

        Raises:
            SettingError: there are fewer rows than ranks.
        """
        if count < self.world:
            raise SettingError(
                f"a batch of {count} images cannot be shared by {self.world} processes",
                hint="start fewer processes, or raise global_batch",
            )
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over the ranks."""
        if self.world == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.world

    def anyone(self, flag: bool) -> bool:
        """Whether the flag is up on any rank; all get the same answer."""
        if self.world == 1:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags)

    def gather(self, value: ResultT) -> list[ResultT]:
        """What each rank says, in the order of the ranks; for small facts."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def first(self, work: Callable[[], ResultT]) -> ResultT:
        """Let the first rank do it; all get its (small) result, or its error.

        Raises:
            UsfmaeError: that of the first rank, on every rank.
        """
        if self.world == 1:
            return work()
        answer: list[Any] = [None, None]
        mine: Exception | None = None
        if self.leads:
            try:
                answer[0] = work()
            except Exception as error:
                mine = error
                answer[1] = _portable(error)
        dist.broadcast_object_list(answer, src=0)
        if mine is not None:
            raise mine
        if answer[1] is not None:
            raise answer[1]
        result: ResultT = answer[0]
        return result

    @contextmanager
    def shared(self, manager: AbstractContextManager[ResultT]) -> Iterator[ResultT]:
        """Enter `manager` on the first rank, use what it gives on all; it ends well only if all end well.

        Raises:
            Exception: what a rank raised inside, or `manager` at its end, on every rank.
        """
        if self.world == 1:
            with manager as value:
                yield value
            return
        stack = ExitStack()
        value = self.first(lambda: stack.enter_context(manager))
        mine: Exception | None = None
        try:
            yield value
        except Exception as error:
            mine = error
        worst = next((error for error in self.gather(mine and _portable(mine)) if error is not None), None)

        def leave() -> None:
            with stack:
                if worst is not None:
                    raise worst

        self.first(leave)

    @contextmanager
    def explain_loss_of_another(self) -> Iterator[None]:
        """Turn the network error that the death of another rank causes into one that says so."""
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise TrainingError(
                "another process of this run ended or cannot be reached",
                hint="its message says why; torchrun --max-restarts 3 goes on by itself, else use --resume",
            ) from error


ALONE = Ranks()
"""A process that trains by itself."""


@contextmanager
def join_ranks(device: torch.device, parallel: ParallelName) -> Iterator[Ranks]:
    """Meet the other processes that torchrun started; `ALONE` where there are none.

    Args:
        device: where this rank computes; decides between gloo and nccl for gradients.
        parallel: whether each holds the whole network or a share of it.
    """
    launch = launched()
    if launch.world == 1:
        yield ALONE
        return
    store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
    name = agree_on_name(store, rank=rank, world=world, patience=PATIENCE)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore(name, store),
        rank=rank,
        world_size=world,
        timeout=PATIENCE,
    )
    try:
        yield Ranks(rank, world, parallel)
    finally:
        time.sleep(QUIET_S)
        dist.destroy_process_group()


def _portable(error: Exception) -> Exception:
    """An error that can be sent to another process."""
    if isinstance(error, UsfmaeError):
        return error
    said = said_by_disk(error)
    if said is not None and said.errno is not None:
        return OSError(said.errno, said.strerror)
    return TrainingError(f"another process of this run failed: {type(error).__name__}: {error}")
