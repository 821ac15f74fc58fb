"""Batches by step number, made ahead in worker processes or in this one: the same batches either way."""

import atexit
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from usfmae.base.errors import UsfmaeError
from usfmae.engine.loop import Batch
from usfmae.engine.memory import explain_no_room

BatchMaker = Callable[[int], Batch]
"""Makes batch number `step`, a pure function of the step; picklable."""

_SMALLER = "a smaller global_batch with --overwrite, or fewer --set workers= with --resume"

AHEAD = 4
"""Batches made ahead by each worker, or by the thread."""


class _Steps(Dataset[Batch | UsfmaeError]):
    def __init__(self, make: BatchMaker) -> None:
        self._make = make

    def __getitem__(self, step: int) -> Batch | UsfmaeError:
        """The batch, or what went wrong: torch would turn an error of a worker into its traceback."""
        try:
            with explain_no_room(f"batch {step}", hint=_SMALLER):
                return self._make(step)
        except UsfmaeError as error:
            return error


def step_batches(
    make: BatchMaker, steps: Sequence[int], *, workers: int, pin: bool = False
) -> Iterable[Batch]:
    """The batches of `steps`, in order.

    Args:
        make: called once per step, in a worker when there are any.
        steps: which batches, for example `range(first, total)`.
        workers: processes that prepare batches ahead; 0 makes them in this process: on a CPU when they are
            asked for, and while a GPU works ahead in a thread, which suffices where it makes the views.
        pin: put them into page-locked memory, for an asynchronous copy to a GPU.

    Raises:
        UsfmaeError: of `make`, when its batch is asked for.
        TrainingError: a batch does not fit into memory.
    """
    loader = DataLoader(
        _Steps(make),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=_start_worker,
    )
    made = iter(loader)
    end = partial(_end, made)
    atexit.register(end)
    batches = _taken(made, end)
    return made_ahead(batches, count=AHEAD) if pin and not workers else batches


def _taken(made: Iterator[Sequence[torch.Tensor] | UsfmaeError], end: Callable[[], None]) -> Iterator[Batch]:
    """The batches, and the end of the workers with the last, with an error, or when nobody wants more."""
    try:
        for what in made:
            if isinstance(what, UsfmaeError):
                raise what
            yield tuple(what)  # the loader makes lists of tuples
    finally:
        end()
        atexit.unregister(end)


def _end(made: object) -> None:
    """End the worker processes of a torch iterator, which has no public way to ask for that.

    Workers take no notice of the signal that Python sends its children when it ends, so it would wait for one
    that is left for ever. They hold nothing that a kill could lose.
    """
    if (shut_down := getattr(made, "_shutdown_workers", None)) is not None:
        shut_down()
        for process in getattr(made, "_workers", []):
            if process.is_alive():
                process.kill()


def made_ahead(batches: Iterable[Batch], *, count: int) -> Iterator[Batch]:
    """The same batches, up to `count` of them made ahead by a thread.

    The thread ends when the iterator is closed or forgotten; what goes wrong in it is raised here.
    """
    made: queue.Queue[Batch | BaseException | None] = queue.Queue(count)
    stopped = threading.Event()

    def put(what: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                made.put(what, timeout=0.1)
                return

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="batches ahead", daemon=True)
    thread.start()
    try:
        while (batch := made.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        stopped.set()
        thread.join()


def _start_worker(_worker: int) -> None:
    # A terminal and torchrun send their signal to the whole group; the run still wants batches until its
    # checkpoint is written, and then ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
