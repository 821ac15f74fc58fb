"""Fit the small network of `images.marks` on marks planted in the development frames of $USFMAE_DATA.

Needs torch and onnx (extra `deploy`). Backgrounds of sources with few marks of their own (`TRUSTED`) count in
full; elsewhere, what the half-fitted network takes for a mark is neither right nor wrong, since it may be one
of the frame's own. Flow of real Doppler frames, and flow painted on others, counts as no mark everywhere.

What the anti-aliased rim of ink and the pixels beside it weigh decides how tightly a mark is drawn. The
stored network began with loose weights and ended with these (docs/decisions/burned-in-marks.md).

Run:  USFMAE_DATA=... python benchmarks/marks_fit.py --out marks.onnx [--steps 8000] [--start marks.onnx]
Cost: 0.2 s a step on one core.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

from marks_data import SOURCES, frames_of
from marks_net import MarkNet, from_onnx, to_onnx
from usfmae.images.read import read_frame
from usfmae.images.simulate.burn_in import KINDS, burn_in

TRUSTED = ("fetal-head", "muscle", "carotid-cca", "stu-hospital", "liver", "busi-normal")
SHARES = {
    "bus-bra": 0.22,
    "mmotu-2d": 0.30,
    "busi": 0.08,
    "busi-normal": 0.12,
    "fetal-head": 0.12,
    "muscle": 0.07,
    "muscle-lower-limb": 0.05,
    "carotid-cca": 0.04,
    "stu-hospital": 0.04,
    "brachial-plexus": 0.04,
    "liver": 0.05,
    "carotid": 0.01,
}
FONT_FOLDER = Path(__import__("matplotlib").get_data_path()) / "fonts" / "ttf"
FONTS: list[int | str] = [
    *(cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_SIMPLEX),
    *(
        str(FONT_FOLDER / f"DejaVu{name}.ttf")
        for name in ("Sans", "Sans-Bold", "SansMono", "SansMono-Bold", "Sans-Oblique", "Serif", "Serif-Bold")
    ),
    *(str(FONT_FOLDER / f"{name}.ttf") for name in ("cmr10", "cmb10", "cmss10", "cmtt10")),
]
CROP_PX = 192
BF16 = True
INK_WEIGHT, TEXT_WEIGHT, RIM_WEIGHT, BESIDE_WEIGHT = 2.0, 1.0, 0.15, 2.0
"""Of ink, of text on top, of its anti-aliased rim, and of the pixels beside, which must be left alone."""


def backgrounds() -> dict[str, list[np.ndarray]]:
    """Development frames by source, in memory; at most 250 of each."""
    found: dict[str, list[np.ndarray]] = {}
    for source in SOURCES:
        paths = list(frames_of(source, evaluation=False))
        np.random.default_rng(0).shuffle(paths)
        for path in paths[: 420 if source == "busi" else 250]:
            name = "busi-normal" if path.name.startswith("normal") else source
            pixels = read_frame(path).pixels
            found.setdefault(name, []).append(np.dstack([pixels, 255 * real_flow(pixels)]).astype(np.uint8))
    return found


def real_flow(pixels: np.ndarray) -> np.ndarray:
    """Flow of a colour frame: blobs of 20 or more red, orange or blue pixels, away from scales and text."""
    if pixels.ndim == 2:
        return np.zeros(pixels.shape, bool)
    hue, saturation, value = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV))
    flow = (saturation > 110) & (value > 70) & ((hue < 22) | (hue > 165) | ((hue > 85) & (hue < 130)))
    across = np.arange(pixels.shape[1]) / pixels.shape[1]
    flow &= ((across > 0.08) & (across < 0.84))[None]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(flow.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= 20
    large[0] = False
    return large[labels] if large[labels].sum() >= 60 else np.zeros(flow.shape, bool)


def crop(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random square at a random zoom, mirrored or not, brighter or darker."""
    zoom = float(np.exp(rng.uniform(np.log(0.65), np.log(1.7))))
    side = round(CROP_PX / zoom)
    top, left = (int(rng.integers(max(1, pixels.shape[axis] - side + 1))) for axis in (0, 1))
    pixels = pixels[top : top + side, left : left + side]
    tall, wide = (min(CROP_PX, round(length * zoom)) for length in pixels.shape[:2])
    pixels = cv2.resize(pixels, (wide, tall), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    pixels = cv2.copyMakeBorder(pixels, 0, CROP_PX - tall, 0, CROP_PX - wide, cv2.BORDER_CONSTANT)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    gain, gamma = rng.uniform(0.7, 1.35), np.exp(rng.uniform(-0.4, 0.4))
    table = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
    shown = table[pixels[..., :-1]]
    return np.ascontiguousarray(shown[..., 0] if shown.shape[2] == 1 else shown), pixels[..., -1] > 127


def with_doppler(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Blobs as colour and power Doppler lay them over grey, and where they are."""
    field = cv2.GaussianBlur(
        rng.standard_normal(pixels.shape[:2]).astype(np.float32), (0, 0), np.exp(rng.uniform(0.2, 2.3))
    )
    field = field / np.abs(field).max()
    rough = cv2.GaussianBlur(rng.standard_normal(field.shape).astype(np.float32), (0, 0), 1.0)
    speed = np.clip((np.abs(field) - rng.uniform(0.25, 0.6)) * rng.uniform(2, 5) + 0.12 * rough, 0, 1)
    window = np.zeros(field.shape, bool)
    top, left = int(rng.integers(100)), int(rng.integers(100))
    window[top : top + int(rng.integers(40, 160)), left : left + int(rng.integers(40, 160))] = True
    flows = (np.abs(field) > 0.25) & (speed > 0.05) & window
    turned = rng.random() < 0.5
    toward = (field > 0) != turned
    if rng.random() < 0.3:
        toward[:] = True
    red = np.stack([140 + 115 * speed, 230 * speed**1.5, 30 * speed], -1)
    blue = np.stack([30 * speed, 210 * speed**1.5, 140 + 115 * speed], -1)
    flow = np.where(toward[..., None], red, blue)
    opaque = rng.uniform(0.7, 1)
    flow = opaque * np.clip(flow, 0, 255) + (1 - opaque) * pixels
    return np.where(flows[..., None], flow, pixels).astype(np.uint8), flows


def example(
    frames: dict[str, list[np.ndarray]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One crop, its label map, every pixel that ink changed, and where it is sure to carry no other marks."""
    names = [name for name in SHARES if name in frames]
    share = np.array([SHARES[name] for name in names])
    name = names[int(rng.choice(len(names), p=share / share.sum()))]
    pixels, flows = crop(frames[name][int(rng.integers(len(frames[name])))], rng)
    sure = np.full(pixels.shape[:2], name in TRUSTED) | flows
    if rng.random() < 0.3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, 2)
    if rng.random() < 0.25:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    if pixels.ndim == 3 and rng.random() < 0.3:
        pixels, flows = with_doppler(pixels, rng)
        sure |= flows
    kinds = list(rng.choice(KINDS, int(rng.integers(0, 9)), p=[0.54, 0.15, 0.14, 0.07, 0.1]))
    quality = int(rng.integers(40, 96)) if rng.random() < 0.6 else None
    burned = burn_in(np.ascontiguousarray(pixels), rng=rng, kinds=kinds, fonts=FONTS, jpeg_quality=quality)
    return burned.pixels, burned.label_map, burned.touched, sure


def planes(pixels: np.ndarray) -> np.ndarray:
    """As `images.marks` feeds the network: luma and two colour differences."""
    from usfmae.images.mark_network import planes as real

    return real(pixels)[0]


def loss_of(net: MarkNet, batch: list, *, forgiving: bool) -> torch.Tensor:
    """Binary loss for mark or not at full size, plus which kind at half size."""
    inputs = torch.from_numpy(np.stack([planes(pixels) for pixels, *_ in batch]))
    labels = torch.from_numpy(np.stack([label for _, label, *_ in batch])).long()
    touched = torch.from_numpy(np.stack([touched for _, _, touched, _ in batch]))
    sure = torch.from_numpy(np.stack([sure for *_, sure in batch]))
    with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
        out = net(inputs.contiguous(memory_format=torch.channels_last))
    out = out.float()
    marks = functional.pixel_shuffle(out[:, :4], 2)[:, 0]
    ink = labels > 0
    # The rim of ink is better filled with it; what compression changed further off may be or not.
    rim = (functional.max_pool2d(ink[:, None].float(), 3, 1, 1)[:, 0] > 0) & touched & ~ink
    free = ~ink & ~touched
    each = functional.binary_cross_entropy_with_logits(marks, (ink | rim).float(), reduction="none")
    beside = (functional.max_pool2d((ink | touched)[:, None].float(), 3, 1, 1)[:, 0] > 0) & free
    weight = INK_WEIGHT * ink + TEXT_WEIGHT * (labels == 1) + RIM_WEIGHT * rim
    weight = weight + 1.0 * free + (BESIDE_WEIGHT - 1) * beside
    if forgiving:
        doubtful = ~sure & free & (marks.detach() > 0.0)
        doubtful = functional.max_pool2d(doubtful[:, None].float(), 5, 1, 2)[:, 0] * free * ~sure
        weight = weight * (1 - doubtful)
    binary = (each * weight).sum() / weight.sum()
    half = functional.max_pool2d(labels[:, None].float(), 2)[:, 0].long()
    where = half > 0
    kind = (
        functional.cross_entropy(out[:, 4:].permute(0, 2, 3, 1)[where], half[where] - 1)
        if where.any()
        else binary * 0
    )
    return binary + 0.1 * kind


def main() -> None:
    """Fit and store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--trusted-steps", type=int, default=300)
    parser.add_argument("--start", type=Path, help="go on from a stored network")
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(chosen.threads)
    cv2.setNumThreads(1)
    rng, frames, net = (
        np.random.default_rng(chosen.seed),
        backgrounds(),
        MarkNet().to(memory_format=torch.channels_last),
    )
    print({name: len(many) for name, many in frames.items()}, sum(p.numel() for p in net.parameters()))
    if chosen.start:
        inputs = np.stack([planes(example(frames, rng)[0]) for _ in range(48)])
        from_onnx(net, chosen.start, torch.from_numpy(inputs))
    clean = {name: many for name, many in frames.items() if name in TRUSTED}
    optim = torch.optim.AdamW(net.parameters(), lr=chosen.rate, weight_decay=1e-4)
    begun, total = time.monotonic(), 0.0
    for step in range(chosen.steps):
        done = max(step / chosen.steps, (time.monotonic() - begun) / chosen.seconds)
        if done >= 1:
            break
        for group in optim.param_groups:
            group["lr"] = chosen.rate * min(1, step / 50) * 0.5 * (1 + np.cos(np.pi * done))
        forgiving = step >= chosen.trusted_steps
        batch = [example(frames if forgiving else clean, rng) for _ in range(16)]
        loss = loss_of(net, batch, forgiving=forgiving)
        optim.zero_grad()
        loss.backward()
        optim.step()
        total += float(loss.detach())
        if step % 50 == 49:
            print(step + 1, round(total / 50, 4), f"{time.monotonic() - begun:.0f} s", flush=True)
            total = 0.0
        if step % 100 == 99:
            to_onnx(net, chosen.out)
    to_onnx(net, chosen.out)


if __name__ == "__main__":
    main()
