"""A step that does not fit into memory: what would make it fit."""

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
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        at_once = -(-images // accumulate)
        ways: list[str] = []
        if at_once > 1:
            ways.append(f"--set loop.accumulate={2 * accumulate} (the same result in parts half as large)")
        if not recomputes:
            ways.append("--set loop.activation_checkpointing=true (the same result, about a third slower)")
        if precision != "bf16":
            ways.append("--set loop.precision=bf16")
        ways.append("a smaller global_batch or network")
        raise TrainingError(
            f"{device}: a step on {images} images ({at_once} at a time, {precision}) needs too much memory",
            hint="try " + ", or ".join(ways),
        ) from error
