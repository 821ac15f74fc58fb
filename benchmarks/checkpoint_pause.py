"""How long does training stand still for a checkpoint, and what does writing it beside cost?

A masked autoencoder (ViT-B/16, decoder of 8 blocks of 512) with Adam's two averages is saved `--rounds` times
in turn: while the loop waits (`loop.async_checkpoints=false`), and by a thread from a copy. While the thread
writes, plain matrix products go on as a step's would; their rate, against that of the same products when
nothing is written, says how many seconds of training the writing takes from the processor. The first of each
is not counted; the first copy also asks for its memory.

Run:  python benchmarks/checkpoint_pause.py [--size b] [--rounds 5] [--folder DIR] [--device cuda]
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from usfmae.engine.checkpoint import find_checkpoints
from usfmae.engine.devices import set_up_cpu
from usfmae.engine.optim import OptimConfig, build_optimizer
from usfmae.engine.saving import THREAD, saving
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.vit import SIZES, ViTConfig

SIDE = 1024
"""In numbers, of the products that stand for a step."""


def stepped(size: str, device: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network and its optimiser after a step."""
    module = MaskedAutoencoder(
        MaeConfig(encoder=ViTConfig(size=size), decoder=DecoderConfig(dim=512, num_layers=8, num_heads=16))
    )
    module.to(device)
    optimizer = build_optimizer(module, OptimConfig())
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return module, optimizer


def work_until(ended: Callable[[], bool], device: str) -> tuple[float, int]:
    """Seconds and products until it says so."""
    left, right = torch.randn(2, SIDE, SIDE, device=device)
    begun, count = time.perf_counter(), 0
    while not ended():
        product = torch.mm(left, right)
        count += 1
        if product.is_cuda:
            torch.cuda.synchronize()
    return time.perf_counter() - begun, count


def writing() -> bool:
    """Whether the thread of a saver is at work."""
    return any(thread.name == THREAD for thread in threading.enumerate())


def spread(values: list[float]) -> str:
    """Median, smallest, largest."""
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="b")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, help="on the disk to measure; default: that of temporary files"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    given = parser.parse_args()
    set_up_cpu(None)
    module, optimizer = stepped(given.size, given.device)
    waits: list[float] = []
    copies: list[float] = []
    writes: list[float] = []
    lost: list[float] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        out = Path(name)
        with (
            saving(out, module, optimizer, keep=1, background=False) as waiting,
            saving(out, module, optimizer, keep=1, background=True) as beside,
        ):
            for number in range(given.rounds + 1):
                begun = time.perf_counter()
                waiting.save(2 * number, needed=False)
                waits.append(time.perf_counter() - begun)
                until = time.perf_counter() + 5
                alone_s, alone = work_until(lambda until=until: time.perf_counter() > until, given.device)
                begun = time.perf_counter()
                beside.save(2 * number + 1, needed=False)
                copies.append(time.perf_counter() - begun)
                beside_s, count = work_until(lambda: not writing(), given.device)
                writes.append(beside_s)
                lost.append(beside_s - count * alone_s / alone)
        num_bytes = sum(path.stat().st_size for path in find_checkpoints(out)[-1].path.iterdir())
    first, copies, waits, writes, lost = copies[0], copies[1:], waits[1:], writes[1:], lost[1:]
    ratio = statistics.median(one / two for one, two in zip(waits, copies, strict=True))
    print(f"{num_bytes / 1e9:.2f} GB; training stands still for")
    print(f"  {spread(waits)} while the loop waits for the disk")
    print(f"  {spread(copies)} for the copy ({first:.2f} s for the first): {ratio:.0f} times less")
    print(
        f"the thread then writes for {spread(writes)}, which takes {spread(lost)} of work from the processor"
    )
    print(
        json.dumps(
            {
                "benchmark": "checkpoint_pause", "bytes": num_bytes, "rounds": given.rounds,
                "waits_s": statistics.median(waits), "copy_s": statistics.median(copies),
                "first_copy_s": first, "ratio": ratio, "lost_s": statistics.median(lost),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
