"""Work spread over processes, that ends when it should: on an error, on Ctrl-C, and when we are killed."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

import cv2

from usfmae.base.errors import CorpusError

Job = TypeVar("Job")
Result = TypeVar("Result")


GO_ON = "go on with --resume, perhaps with fewer --workers; what was stored is kept"


def in_processes(
    work: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int, hint: str = GO_ON
) -> Iterator[Result]:
    """Yield `work(job)` for every job, in the order in which they end.

    Args:
        work: a function of a module (or a `partial` of one), since processes are spawned.
        jobs: what to work on.
        workers: processes; 1 or fewer works right here, in order.
        hint: what to do when one of them died.

    Raises:
        CorpusError: a process died; jobs that had ended were yielded before.
        Exception: whatever `work` raises. Jobs that have begun are finished first, the others are dropped.
    """
    if workers <= 1 or len(jobs) <= 1:
        yield from map(work, jobs)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_begin_worker
    )
    try:
        for future in as_completed([pool.submit(work, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise CorpusError("a worker process died (killed, or out of memory)", hint=hint) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    cv2.setNumThreads(1)  # the processes share the cores already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets begun jobs end
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers: without this they would go on, beside the resumed build."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
