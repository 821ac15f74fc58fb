"""How fast is a pretraining step, against Hugging Face's ViTMAE and against what the machine can multiply?

Both networks (ViT-B/16 at 224 px, one channel, decoder 512 wide with 8 blocks and 16 heads, 75 % hidden,
AdamW) have the same weights, images and hidden patches and take turns, each in a process of its own that
waits while the other works; the order within a round alternates. The ratio is the median over rounds. The
peer runs as its users run it, with the C library's default allocator; ours with the settings that `usfmae
pretrain` makes. In one process the two cannot be told apart: the heap that our settings keep serves the peer
too, and it then skips the 200,000 page faults that its step costs it alone (docs/results/pretraining.md).
Both get the fused AdamW.

The ceiling is the best rate of plain matrix products of the step's own shapes, measured in the same run; the
share counts the products that our step carries out.

Needs the extra `baselines`.  Run:  python benchmarks/pretrain_step.py [--device cuda --batch 256]
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch.compiler import set_stance
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from parity import copy_to_theirs
from usfmae.engine.compiling import compiling
from usfmae.engine.devices import autocast, set_up_cpu
from usfmae.engine.optim import OptimConfig, build_optimizer
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.masking import Hiding
from usfmae.models.vit import SIZES, ViTConfig, start_weights


def networks(size: str, image_px: int) -> tuple[MaskedAutoencoder, ViTMAEForPreTraining]:
    """Ours and theirs with the same weights."""
    dim, layers, heads = SIZES[size]
    ours = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(size=size, image_px=image_px),
            decoder=DecoderConfig(dim=512, num_layers=8, num_heads=16),
        )
    )
    start_weights(ours, torch.Generator().manual_seed(0))
    theirs = ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * dim,
            layer_norm_eps=1e-6, image_size=image_px, patch_size=16, num_channels=1, mask_ratio=0.75,
            norm_pix_loss=True,
        )
    )  # fmt: skip
    copy_to_theirs(ours, theirs)
    return ours, theirs


def ceiling(batch: int, tokens: int, dim: int, dtype: torch.dtype, device: torch.device) -> float:
    """Best rate of matrix products of the encoder's and decoder's shapes, in operations per second."""
    best = 0.0
    shapes = [(batch * tokens, dim, 4 * dim), (batch * tokens, 4 * dim, dim), (batch * 4 * tokens, 512, 2048)]
    for rows, inner, columns in [*shapes, (4096, 4096, 4096)]:
        a = torch.randn(rows, inner, device=device, dtype=dtype)
        b = torch.randn(inner, columns, device=device, dtype=dtype)
        for _ in range(2):
            a @ b
        repeats = max(3, int(1e11 / (2 * rows * inner * columns)))
        for _ in range(3):
            seconds = timed(lambda a=a, b=b, n=repeats: [a @ b for _ in range(n)], device)
            best = max(best, repeats * 2 * rows * inner * columns / seconds)
    return best


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of some work, everything on the device included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def work(who: str, chosen: argparse.Namespace, precision: str, orders: Connection) -> None:
    """Be one of the two and answer: loss (of a first step), step (in seconds), flops, ceiling."""
    device = torch.device(chosen.device)
    if who == "ours":
        set_up_cpu(chosen.threads)
    else:
        torch.set_num_threads(chosen.threads)
    ours, theirs = networks(chosen.size, chosen.image_px)
    network = (ours if who == "ours" else theirs).to(device).train()
    patches = (chosen.image_px // 16) ** 2
    hidden = round(0.75 * patches)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(chosen.batch, 1, chosen.image_px, chosen.image_px, generator=generator).to(device)
    noise = torch.rand(chosen.batch, patches, generator=generator)
    order = noise.argsort(dim=1)
    places = order[:, : patches - hidden].sort(dim=1).values, order[:, patches - hidden :].sort(dim=1).values
    hiding, noise = Hiding(places[0].to(device), places[1].to(device)), noise.to(device)
    if who == "ours":
        optimizer = build_optimizer(network, OptimConfig())
    else:
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True
        )

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision, device):
            if who == "ours":
                loss = network(images, hiding).loss
            else:
                loss = network(pixel_values=images, noise=noise).loss
        loss.backward()
        optimizer.step()
        return loss.detach()

    def flops() -> int:
        counter = FlopCounterMode(display=False)
        with counter, set_stance("force_eager"), autocast(precision, device):
            network(images, hiding).loss.backward()
        return counter.get_total_flops()

    def profile() -> str:
        with torch.profiler.profile() as seen:
            step()
        key = f"self_{'device' if device.type == 'cuda' else 'cpu'}_time_total"
        return seen.key_averages().table(sort_by=key, row_limit=20, max_name_column_width=50)

    answers: dict[str, Callable[[], Any]] = {
        "profile": profile,
        "loss": lambda: float(step()),
        "step": lambda: timed(lambda: [step() for _ in range(chosen.steps)], device) / chosen.steps,
        "flops": flops,
        "ceiling": lambda: ceiling(
            chosen.batch,
            patches - hidden + 1,
            SIZES[chosen.size][0],
            torch.bfloat16 if precision == "bf16" else torch.float32,
            device,
        ),
    }
    with compiling(network, "blocks" if who == "ours" and chosen.compile else "off", device):
        while (asked := orders.recv()) in answers:
            orders.send(answers[asked]())


def compare(chosen: argparse.Namespace, precision: str) -> dict[str, float]:
    """Times of both and the share of the ceiling, for one number type."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    workers = []
    for who in ("ours", "theirs"):
        pipes[who], end = spawn.Pipe()
        workers.append(spawn.Process(target=work, args=(who, chosen, precision, end), daemon=True))
        workers[-1].start()

    def ask(who: str, what: str) -> Any:
        pipes[who].send(what)
        return pipes[who].recv()

    losses = {who: ask(who, "loss") for who in pipes}
    for who in pipes:
        ask(who, "step")
    spent: dict[str, list[float]] = {who: [] for who in pipes}
    for turn in range(chosen.rounds):
        for who in list(pipes)[:: -1 if turn % 2 else 1]:
            spent[who].append(ask(who, "step"))
    if chosen.profile:
        print(ask("ours", "profile"))
    flops, top = ask("ours", "flops"), ask("ours", "ceiling")
    for who, worker in zip(pipes, workers, strict=True):
        pipes[who].send("end")
        worker.join()
    ratios = sorted(t / o for o, t in zip(spent["ours"], spent["theirs"], strict=True))
    seconds = statistics.median(spent["ours"])
    return {
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "ours_ms": 1e3 * seconds,
        "theirs_ms": 1e3 * statistics.median(spent["theirs"]),
        "images_per_s": chosen.batch / seconds,
        "gflop_per_step": flops / 1e9,
        "ceiling_gflops": top / 1e9,
        "ceiling_share": flops / seconds / top,
        "loss_ours": losses["ours"],
        "loss_theirs": losses["theirs"],
    }


def main() -> None:
    """Print a table for people and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="b", choices=sorted(SIZES))
    parser.add_argument("--image-px", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1, help="timed steps per turn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=["bf16", "fp32"], choices=["bf16", "fp32"])
    parser.add_argument("--compile", action="store_true", help="ours with loop.compile=blocks")
    parser.add_argument("--profile", action="store_true", help="print where a step of ours goes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    rows = {precision: compare(chosen, precision) for precision in chosen.precision}
    print(
        f"{'':6}{'ours ms':>9}{'HF ms':>9}{'ratio':>7}{'from':>7}{'to':>7}{'images/s':>10}{'of ceiling':>12}"
    )
    for name, row in rows.items():
        print(
            f"{name:6}{row['ours_ms']:9.0f}{row['theirs_ms']:9.0f}{row['ratio']:7.2f}{row['ratio_low']:7.2f}"
            f"{row['ratio_high']:7.2f}{row['images_per_s']:10.1f}{row['ceiling_share']:12.2f}"
            f"   loss {row['loss_ours']:.6f} / {row['loss_theirs']:.6f}"
        )
    figures = {f"ratio_{name}": round(row["ratio"], 3) for name, row in rows.items()}
    share = rows[chosen.precision[0]]["ceiling_share"]
    print(json.dumps({**figures, "ceiling_share": round(share, 3), "rows": rows}))


if __name__ == "__main__":
    main()
