"""How fast a run goes and how much memory it takes."""

import resource
import time
from collections import deque
from collections.abc import Iterator
from typing import TypeVar

import torch

BatchT = TypeVar("BatchT")


class RateMeter:
    """Images per second over the last `window` steps, so a pause does not spoil the number for long, and the
    share of that time in which the loop had no batch."""

    def __init__(self, window: int = 50) -> None:
        self._marks: deque[tuple[float, int, float]] = deque(maxlen=window + 1)
        self._count, self._waited = 0, 0.0
        self._marks.append((time.perf_counter(), 0, 0.0))

    def next(self, batches: Iterator[BatchT]) -> BatchT:
        """The next batch, with the time until it is there counted as waiting.

        A GPU may still be busy with steps before while the loop waits, so on it this is an upper bound.
        """
        asked = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - asked
        return batch

    def add(self, num_images: int) -> None:
        """Count a step of `num_images`."""
        self._count += num_images
        self._marks.append((time.perf_counter(), self._count, self._waited))

    @property
    def images_per_s(self) -> float:
        """Current rate; 0 before the first step."""
        (start, before, _), (end, after, _) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else 0.0

    @property
    def data_wait(self) -> float:
        """Share of the time, between 0 and 1, spent waiting for batches; 0 before the first step."""
        (start, _, before), (end, _, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else 0.0


def peak_memory_gb(device: torch.device) -> float:
    """Largest memory so far in GB (1e9 bytes): of the device for CUDA, resident of this process else."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
