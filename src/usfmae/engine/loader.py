"""Batches by step number, made ahead in worker processes or in this one: the same batches either way."""

import signal
from collections.abc import Callable, Iterable, Sequence

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from usfmae.engine.loop import Batch

BatchMaker = Callable[[int], Batch]
"""Makes batch number `step`, a pure function of the step; picklable."""


class _Steps(Dataset[Batch]):
    def __init__(self, make: BatchMaker) -> None:
        self._make = make

    def __getitem__(self, step: int) -> Batch:
        return self._make(step)


def step_batches(
    make: BatchMaker, steps: Sequence[int], *, workers: int, pin: bool = False
) -> Iterable[Batch]:
    """The batches of `steps`, in order.

    Args:
        make: called once per step, in a worker when there are any.
        steps: which batches, for example `range(first, total)`.
        workers: processes that prepare batches ahead; 0 makes them in this process.
        pin: put them into page-locked memory, for an asynchronous copy to a GPU.
    """
    loader = DataLoader(
        _Steps(make),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_start_worker,
    )
    return map(tuple, loader)  # the loader makes lists of tuples


def _start_worker(_worker: int) -> None:
    # A terminal and torchrun send their signal to the whole group; the run still wants batches until its
    # checkpoint is written, and then ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
