"""The same work over many machines, by Ray: results do not depend on where a job ran.

Every machine sees sources and corpus at the same paths (a shared file system). A job whose machine dies is
tried again elsewhere by Ray; parts are written whole or not at all, so a second try does no harm.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import cv2

from usfmae.base.errors import CorpusError, MissingExtraError
from usfmae.base.logs import get_logger

log = get_logger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")

IN_FLIGHT_PER_CPU = 2
"""Jobs handed to Ray before the first has ended: enough to keep every core busy, few enough to drop at once
when something fails."""


def in_ray(work: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int) -> Iterator[Result]:
    """Yield `work(job)` for every job, in the order in which they end.

    Joins the cluster of $RAY_ADDRESS where that is set and uses all of it; otherwise starts Ray on this
    machine with `workers` processes and stops it at the end. Nothing is reported to anybody (Ray's usage
    statistics are off), and no dashboard is opened.

    Args:
        work: a function of a module (or a `partial` of one).
        jobs: what to work on.
        workers: processes on this machine; ignored in a cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        CorpusError: the cluster cannot be reached, or a worker died again and again.
        Exception: whatever `work` raises. Jobs that have not begun are dropped.
    """
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray starts
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "--engine ray needs Ray, which is not installed", hint="pip install 'usfmae[cluster]'"
        ) from error
    address = os.environ.get("RAY_ADDRESS")
    where = {"address": address} if address else {"num_cpus": max(1, workers), "include_dashboard": False}
    started_here = not ray.is_initialized()
    try:
        if started_here:
            ray.init(logging_level="ERROR", log_to_driver=False, configure_logging=False, **where)
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        log.info("ray: %d cores of %d machines", cpus, len(ray.nodes()))
        remote = ray.remote(_work_alone).options(max_retries=3)
        waiting = iter(jobs)
        running = [remote.remote(work, job) for job in islice(waiting, cpus * IN_FLIGHT_PER_CPU)]
        while running:
            (ended, *_), running = ray.wait(running, num_returns=1)
            running += [remote.remote(work, job) for job in islice(waiting, 1)]
            yield ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise CorpusError(
            f"ray: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            hint="go on with --resume, perhaps without --engine ray; what was stored is kept",
        ) from error
    finally:
        if started_here:
            ray.shutdown()


def _work_alone(work: Callable[[Job], Result], job: Job) -> Result:
    cv2.setNumThreads(1)  # the processes share the cores already
    return work(job)
