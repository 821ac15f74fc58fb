"""What does not fit into memory, and what would make it fit."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from usfmae.base.errors import TrainingError


@contextmanager
def explain_out_of_memory(
    images: int, *, accumulate: int, recomputes: bool, precision: str, device: torch.device
) -> Iterator[None]:
    """Turn running out of memory in a step into an error that names the settings to change.

    Args:
        images: rows of the batch on this device.
        accumulate: parts into which they are cut.
        recomputes: whether blocks are computed again in the backward pass.
        precision: bf16 or fp32.
        device: where it ran out.

    Raises:
        TrainingError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        at_once = -(-images // accumulate)
        same: list[str] = []
        if at_once > 1:
            same.append(f"--set loop.accumulate={2 * accumulate} (the same result in parts half as large)")
        if not recomputes:
            same.append("--set loop.activation_checkpointing=true (the same result, about a third slower)")
        other = ["--set loop.precision=bf16"] if precision != "bf16" else []
        other.append("a smaller global_batch or network")
        ways = ["--resume with " + ", or ".join(same)] if same else []
        ways.append("--overwrite with " + ", or ".join(other))
        raise TrainingError(
            f"{device}: a step on {images} images ({at_once} at a time, {precision}) needs too much memory",
            hint="try " + "; or ".join(ways),
        ) from error


@contextmanager
def explain_no_room(what: str, *, hint: str) -> Iterator[None]:
    """Turn running out of memory into an error that says what did not fit.

    Raises:
        TrainingError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingError(f"{what} does not fit into memory ({first})", hint=hint) from error


@contextmanager
def explain_lost_worker() -> Iterator[None]:
    """Turn what torch raises, wherever this process is, when a process that prepares batches dies.

    Raises:
        TrainingError: one died.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:  # the last two: as it handed a batch over
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "a process that prepares batches was killed (by the system, where memory ran out)",
            hint="go on with --resume, and with fewer --set workers= if it happens again",
        ) from error


_WORDS = (
    *("DefaultCPUAllocator", "could not create a primitive", "bad_alloc"),
    *("not enough memory", "out of memory", "Out of memory"),
)
"""By which PyTorch, oneDNN and C++ say that memory ran out, and below them Windows and libraries of GPUs."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(word in str(error) for word in _WORDS)
