"""How long does training stand still for a checkpoint, and what does writing it beside cost?

A masked autoencoder (ViT-B/16, decoder of 8 blocks of 512) with Adam's two averages is saved `--rounds` times
in turn: while the loop waits (`loop.async_checkpoints=false`), and by a thread from a copy. Seconds are told
by the clock and by processor time: the second is for a machine that does other things too, and what the
thread takes of it is what training may lose where no core is free. The first of each is not counted; the
first copy also asks for its memory.

Run:  python benchmarks/checkpoint_pause.py [--size b] [--rounds 5] [--folder DIR] [--device cuda]
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from usfmae.engine.checkpoint import find_checkpoints
from usfmae.engine.devices import set_up_cpu
from usfmae.engine.optim import OptimConfig, build_optimizer
from usfmae.engine.saving import THREAD, saving
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.vit import SIZES, ViTConfig


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


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock and of processor time."""
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - cpu


def until_written() -> None:
    """Sleep while the thread of a saver is at work."""
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join()


def spread(times: list[tuple[float, float]]) -> str:
    """Median, smallest, largest by the clock; median of processor time."""
    clock, cpu = zip(*times, strict=True)
    told = f"{statistics.median(clock):.2f} s ({min(clock):.2f} to {max(clock):.2f})"
    return f"{told}, {statistics.median(cpu):.2f} s of processor time"


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
    waits: list[tuple[float, float]] = []
    copies: list[tuple[float, float]] = []
    writes: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        out = Path(name)
        with (
            saving(out, module, optimizer, keep=1, background=False) as waiting,
            saving(out, module, optimizer, keep=1, background=True) as beside,
        ):
            for step in range(0, 2 * (given.rounds + 1), 2):
                waits.append(timed(partial(waiting.save, step, needed=False)))
                copies.append(timed(partial(beside.save, step + 1, needed=False)))
                writes.append(timed(until_written))
        num_bytes = sum(path.stat().st_size for path in find_checkpoints(out)[-1].path.iterdir())
    first, copies, waits, writes = copies[0], copies[1:], waits[1:], writes[1:]
    medians = {
        name: [statistics.median(values) for values in zip(*times, strict=True)]
        for name, times in (("waits", waits), ("copy", copies), ("thread", writes))
    }
    print(f"{num_bytes / 1e9:.2f} GB; training stands still for")
    print(f"  {spread(waits)}, while the loop waits for the disk")
    print(f"  {spread(copies)}, for the copy (the first {first[0]:.2f} s)")
    print(f"the thread then writes for {spread(writes)}")
    print(
        json.dumps(
            {
                "benchmark": "checkpoint_pause", "bytes": num_bytes, "rounds": given.rounds,
                **{f"{name}_s": clock for name, (clock, _) in medians.items()},
                **{f"{name}_cpu_s": cpu for name, (_, cpu) in medians.items()},
                "first_copy_s": first[0], "ratio": medians["waits"][0] / medians["copy"][0],
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
