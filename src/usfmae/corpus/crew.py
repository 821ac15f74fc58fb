"""Who does the work of a build: this process, some processes of this machine, or a cluster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from usfmae.base.processes import in_processes
from usfmae.corpus.ray_workers import in_ray

Job = TypeVar("Job")
Result = TypeVar("Result")

EngineName = Literal["processes", "ray"]


@dataclass(frozen=True)
class Crew:
    """How many work, and where. The results are the same whichever is chosen."""

    workers: int = 1
    """Processes on this machine; 1 works in this one. A cluster has its own number."""

    engine: EngineName = "processes"
    """Processes of this machine, or Ray."""

    def run(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield `work(job)` for every job, in the order in which they end; see the two engines for errors.

        Args:
            work: a function of a module (or a `partial` of one), since it travels to other processes.
            jobs: what to work on.
        """
        engine = in_ray if self.engine == "ray" else in_processes
        return engine(work, jobs, workers=self.workers)
