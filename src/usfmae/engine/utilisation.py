"""What share of the machine's own matrix products a run gets out of it (MFU).

Model FLOPs utilisation as in Chowdhery et al. 2022, "PaLM", appendix B, but against a rate that was measured
on this device instead of the one on its data sheet.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.compiler import set_stance
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from usfmae.engine.devices import PrecisionName, autocast
from usfmae.engine.loss_parts import StepLoss, total_of

SIDES = {"cuda": 8192, "cpu": 2048}
"""Side of the square matrices that are multiplied: large enough for the best rate, and quick."""

MEASURE_S = 0.25
"""Time that measuring the ceiling takes at least, warming up aside."""

_forward: Callable[..., int] = sdpa_flop_count
_backward: Callable[..., int] = sdpa_backward_flop_count
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: _forward(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, query, key, value, *_, **__: _backward(gradient, query, key, value)
    ),
}
"""What PyTorch's counter knows of GPUs only: the fused attention, from the shapes of its arguments."""


@dataclass
class Utilisation:
    """Counts the products of a step once for each shape of batch, on one image, and compares rates.

    Counting runs the network forward and backward on the first image of a batch before its step. The loop
    sets the random state anew for every step and clears gradients first, and running statistics are put back,
    so no number of the run changes.
    Products that activation checkpointing computes again are counted if it is on while counting.
    """

    step_function: Callable[[nn.Module, tuple[Tensor, ...]], StepLoss]
    """That of the loop."""

    precision: PrecisionName
    """Resolved: bf16 or fp32."""

    num_devices: int = 1
    """Over which the images per second are counted."""

    _per_image: dict[tuple[torch.Size, ...], float] = field(default_factory=dict)
    _current: float = 0.0

    def see(self, module: nn.Module, batch: tuple[Tensor, ...]) -> None:
        """Count if batches of this shape were not seen before. Gradients of `module` are cleared then.

        The ceiling is measured before the first batch, not when the first share is asked for: a GPU may be
        full by then.

        Args:
            module: the network itself, not a wrapper that talks to other processes.
            batch: the next batch of the loop.
        """
        if not self._per_image:  # while a GPU still has room for the matrices
            matmul_rate(next(module.parameters()).device, self._dtype)
        shapes = tuple(tensor.shape[1:] for tensor in batch)
        if shapes not in self._per_image:
            self._per_image[shapes] = self._count(module, tuple(tensor[:1] for tensor in batch))
        self._current = self._per_image[shapes]

    def _count(self, module: nn.Module, one: tuple[Tensor, ...]) -> float:
        device = next(module.parameters()).device
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
        with counter, set_stance("force_eager"):
            with autocast("bf16" if self.precision == "bf16" else "fp32", device):
                loss = total_of(self.step_function(module, one))
            loss.backward()  # type: ignore[no-untyped-call]
        module.zero_grad(set_to_none=True)
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])  # batch norm has seen the image
        return float(counter.get_total_flops())

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def flops_per_image(self) -> float:
        """Operations of one image forward and backward, two per multiplication; 0 before the first batch."""
        return self._current

    def mfu(self, images_per_s: float, device: torch.device) -> float:
        """Share of the measured ceiling of all devices that the run makes use of."""
        ceiling = matmul_rate(device, self._dtype)
        return self._current * images_per_s / (ceiling * self.num_devices)


@lru_cache(maxsize=8)
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Best rate of a large square matrix product in operations per second, measured once in a process.

    It takes about half a second, and it is a rate of this moment: on a machine that others use too it is low,
    and the share that a run seems to reach is high.
    """
    side = SIDES.get(device.type, SIDES["cpu"])
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(side, side, generator=generator).to(device, dtype)
    out = torch.empty_like(a)
    torch.mm(a, a, out=out)
    best, start = 0.0, time.perf_counter()
    while True:
        before = _now(device)
        torch.mm(a, a, out=out)
        after = _now(device)
        best = max(best, 2 * side**3 / max(after - before, 1e-9))
        if after - start > MEASURE_S:
            return best


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
