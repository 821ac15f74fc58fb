"""How fast a run goes and how much memory it takes."""

import resource
import time
from collections import deque

import torch


class RateMeter:
    """Images per second over the last `window` steps, so a pause does not spoil the number for long."""

    def __init__(self, window: int = 50) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=window + 1)
        self._count = 0
        self._marks.append((time.perf_counter(), 0))

    def add(self, num_images: int) -> None:
        """Count a step of `num_images`."""
        self._count += num_images
        self._marks.append((time.perf_counter(), self._count))

    @property
    def images_per_s(self) -> float:
        """Current rate; 0 before the first step."""
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else 0.0


def peak_memory_gb(device: torch.device) -> float:
    """Largest memory so far in GB (1e9 bytes): of the device for CUDA, resident of this process else."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
