"""How fast is a pretraining step, against Hugging Face's ViTMAE and against what the machine can multiply?

Both networks (ViT-B/16 at 224 px, one channel, decoder 512 wide with 8 blocks and 16 heads, 75 % hidden,
AdamW) have the same weights, images and hidden patches and take turns in one process; the order within a
round alternates. The ratio is the median over rounds. The peer runs as its users run it: with the C
library's own allocator settings (those that glibc arrives at by itself) and PyTorch's default AdamW; ours
with the settings that `usfmae pretrain` makes, the fused AdamW among them. A second ratio gives the peer the
fused AdamW too.
The ceiling is the best rate of plain matrix products of the step's own shapes, measured in the same
process; the share counts the products that our step carries out.

Needs the extra `baselines`.  Run:  python benchmarks/pretrain_step.py [--device cuda --batch 256]
"""

import argparse
import contextlib
import ctypes
import json
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from parity import copy_to_theirs
from usfmae.engine.devices import autocast, set_up_cpu
from usfmae.engine.optim import OptimConfig, build_optimizer
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.masking import Hiding
from usfmae.models.vit import SIZES, ViTConfig, start_weights

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
GLIBC_LARGEST_DYNAMIC = 32 << 20
"""Where glibc's own, growing mmap threshold ends up in a program that frees large blocks."""


def library_allocator() -> None:
    """The C library's settings, as they are after large blocks were freed."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, GLIBC_LARGEST_DYNAMIC)
        mallopt(TRIM_THRESHOLD, 2 * GLIBC_LARGEST_DYNAMIC)


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


def compare(chosen: argparse.Namespace, precision: str, device: torch.device) -> dict[str, float]:
    """Times of both and the share of the ceiling, for one number type."""
    ours, theirs = (network.to(device).train() for network in networks(chosen.size, chosen.image_px))
    patches = (chosen.image_px // 16) ** 2
    hidden = round(0.75 * patches)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(chosen.batch, 1, chosen.image_px, chosen.image_px, generator=generator).to(device)
    noise = torch.rand(chosen.batch, patches, generator=generator)
    order = noise.argsort(dim=1)
    places = order[:, : patches - hidden].sort(dim=1).values, order[:, patches - hidden :].sort(dim=1).values
    hiding, noise = Hiding(places[0].to(device), places[1].to(device)), noise.to(device)
    optimizers = {
        "ours": build_optimizer(ours, OptimConfig()),
        "theirs": torch.optim.AdamW(theirs.parameters(), lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05),
        "theirs, fused": torch.optim.AdamW(
            theirs.parameters(), lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True
        ),
    }

    def their_loss() -> torch.Tensor:
        return theirs(pixel_values=images, noise=noise).loss

    forward = {
        "ours": lambda: ours(images, hiding).loss,
        "theirs": their_loss,
        "theirs, fused": their_loss,
    }

    def step(who: str) -> torch.Tensor:
        optimizers[who].zero_grad(set_to_none=True)
        with autocast(precision, device):
            loss = forward[who]()
        loss.backward()
        optimizers[who].step()
        return loss.detach()

    def allocator(who: str) -> None:
        set_up_cpu(chosen.threads) if who == "ours" else library_allocator()

    losses = {}
    for who in forward:
        allocator(who)
        losses[who] = float(step(who))
        step(who)
    counter = FlopCounterMode(display=False)
    with counter:
        step("ours")
    spent: dict[str, list[float]] = {who: [] for who in forward}
    for turn in range(chosen.rounds):
        for who in list(forward)[:: -1 if turn % 2 else 1]:
            allocator(who)
            step(who)
            seconds = timed(lambda who=who: [step(who) for _ in range(chosen.steps)], device)
            spent[who].append(seconds / chosen.steps)
    allocator("ours")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    top = ceiling(chosen.batch, patches - hidden + 1, SIZES[chosen.size][0], dtype, device)
    ratios, fused = (
        sorted(t / o for o, t in zip(spent["ours"], spent[who], strict=True))
        for who in ("theirs", "theirs, fused")
    )
    seconds = statistics.median(spent["ours"])
    return {
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "ratio_fused": statistics.median(fused),
        "ratio_fused_low": fused[0],
        "ratio_fused_high": fused[-1],
        "ours_ms": 1e3 * seconds,
        "theirs_ms": 1e3 * statistics.median(spent["theirs"]),
        "images_per_s": chosen.batch / seconds,
        "gflop_per_step": counter.get_total_flops() / 1e9,
        "ceiling_gflops": top / 1e9,
        "ceiling_share": counter.get_total_flops() / seconds / top,
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
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    torch.set_num_threads(chosen.threads)
    rows = {precision: compare(chosen, precision, device) for precision in ("bf16", "fp32")}
    print(
        f"{'':6}{'ours ms':>9}{'HF ms':>9}{'ratio':>7}{'from':>7}{'to':>7}{'images/s':>10}{'of ceiling':>12}"
        "   with HF's AdamW fused"
    )
    for name, row in rows.items():
        print(
            f"{name:6}{row['ours_ms']:9.0f}{row['theirs_ms']:9.0f}{row['ratio']:7.2f}{row['ratio_low']:7.2f}"
            f"{row['ratio_high']:7.2f}{row['images_per_s']:10.1f}{row['ceiling_share']:12.2f}"
            f"   {row['ratio_fused']:.2f} ({row['ratio_fused_low']:.2f} to {row['ratio_fused_high']:.2f})"
            f"   loss {row['loss_ours']:.6f} / {row['loss_theirs']:.6f}"
        )
    figures = {f"ratio_{name}": round(row["ratio"], 3) for name, row in rows.items()}
    print(json.dumps({**figures, "ceiling_share": round(rows["bf16"]["ceiling_share"], 3), "rows": rows}))


if __name__ == "__main__":
    main()
