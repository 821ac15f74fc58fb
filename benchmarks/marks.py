"""How well burned-in marks are found and filled, on real frames with planted marks.

The frames are those of `marks_clean.csv`: 111 frames of the evaluation side of `marks_data.py`, of ten
sources, each with a box (per cent of height and width) in which no mark was seen by eye. Two more lists were
drawn with a seed and boxed by eye alone: `marks_clean_development.csv`, 122 frames of the development side,
to look at while fitting, and `marks_clean_fresh.csv`, 122 other frames of the evaluation side. Six marks are
planted in each box, and only pixels inside are judged, so the own marks of a frame do not count. Half of the
fonts were never seen in fitting. The limit on filled pixels is lifted for the measurement; how many frames it
would have left unfilled is printed.

Doppler: blobs of at least 20 pixels in red, orange or blue, between 8 % and 84 % of the width (beside lie
colour scales and blue text), in every such frame of the evaluation side of MMOTU-2D
that has at least 30 red pixels (a colour scale), and in all of carotid.

Run:  USFMAE_DATA=... python benchmarks/marks.py [--side development|fresh] [--rounds 2] [--paper-every 1]
"""

import argparse
import csv
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from marks_data import SOURCES, frames_of
from usfmae.images.clean import CleanConfig, clean_frame
from usfmae.images.fill import fill, grown
from usfmae.images.frame import Frame
from usfmae.images.read import read_frame
from usfmae.images.simulate.burn_in import KINDS, BurnedIn, burn_in

FONT_FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FONTS: list[int | str] = [
    *(cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, str(FONT_FOLDER / "DejaVuSans.ttf")),
    str(FONT_FOLDER / "DejaVuSansMono-Bold.ttf"),
    *(cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX, "", str(FONT_FOLDER / "STIXGeneral.ttf")),
]
PLANTED = ("text", "text", "caliper", "caliper", "line", "logo")
SHAPES = ("caliper", "line", "logo")
LISTS = {
    "evaluation": "marks_clean.csv",
    "development": "marks_clean_development.csv",
    "fresh": "marks_clean_fresh.csv",
}
OPEN = CleanConfig(max_filled_ratio=1)


def clean_parts(side: str) -> Iterator[tuple[str, Frame, np.ndarray]]:
    """Source, frame, and where it carries no marks of its own."""
    evaluation = side != "development"
    paths = {
        (source, path.name): path for source in SOURCES for path in frames_of(source, evaluation=evaluation)
    }
    with (Path(__file__).parent / LISTS[side]).open() as file:
        for row in csv.DictReader(file):
            frame = read_frame(paths[row["source"], row["name"]])
            yield (
                row["source"],
                frame,
                _box(frame, *(float(row[f"{k}_pct"]) for k in ("top", "left", "bottom", "right"))),
            )


def _box(frame: Frame, top: float, left: float, bottom: float, right: float) -> np.ndarray:
    inside = np.zeros((frame.height, frame.width), bool)
    rows = slice(int(frame.height * top / 100), int(frame.height * bottom / 100))
    inside[rows, int(frame.width * left / 100) : int(frame.width * right / 100)] = True
    return inside


def planted(side: str, rounds: int) -> Iterator[tuple[str, Frame, np.ndarray, Frame, BurnedIn]]:
    """Source, frame, its clean part, the frame with marks, and the marks."""
    for index, (source, frame, inside) in enumerate(clean_parts(side)):
        for turn in range(rounds):
            rng = np.random.default_rng([index, turn, 99])
            pixels = frame.pixels
            if pixels.ndim == 2 and turn % 2:
                pixels = np.repeat(pixels[..., None], 3, 2)
            quality = int(rng.integers(50, 96)) if rng.random() < 0.6 else None
            kinds = rng.permutation(PLANTED)
            burned = burn_in(pixels, rng=rng, kinds=kinds, allowed=inside, fonts=FONTS, jpeg_quality=quality)
            original = Frame(pixels, frame.spacing_mm, frame.source)
            yield source, original, inside, Frame(burned.pixels, None, frame.source), burned


def db(square: float) -> float:
    """PSNR of a mean squared error of 8-bit pixels."""
    return 10 * np.log10(255**2 / max(square, 1e-9))


def squares(pixels: np.ndarray, original: np.ndarray, where: np.ndarray) -> float:
    """Mean squared error where marks were planted."""
    return float(np.mean((pixels[where].astype(float) - original[where].astype(float)) ** 2))


def count(totals: dict, mask: np.ndarray, burned: BurnedIn, sector: np.ndarray) -> None:
    """Add what a mask covers of planted marks, and of sector pixels without any."""
    for top, left, height, width in burned.text_boxes:
        there = np.s_[top : top + height, left : left + width]
        glyph = burned.label_map[there] == 1
        if glyph.any():
            totals["text"].append(mask[there][glyph].mean() >= 0.9)
    for kind in SHAPES:
        ink = burned.label_map == KINDS.index(kind) + 1
        totals[kind].append([(mask & ink).sum(), ink.sum()])
    for key, free in (("touched", ~burned.touched), ("beyond", ~grown(burned.touched, 2))):
        totals[key].append([(mask & free & sector).sum(), (free & sector).sum()])


def shares(totals: dict) -> dict[str, float]:
    """Counts as shares; `not_text` is all planted ink but text."""
    row = {"text": float(np.mean(totals["text"]))}
    row |= {key: float(np.divide(*np.sum(totals[key], axis=0))) for key in (*SHAPES, "touched", "beyond")}
    row["not_text"] = float(np.divide(*np.sum([np.sum(totals[kind], axis=0) for kind in SHAPES], axis=0)))
    return row


def measure(side: str, rounds: int, *, paper_every: int) -> dict:
    """All figures of planted marks; also prints the table."""
    totals: dict = defaultdict(lambda: defaultdict(list))
    errors = defaultdict(list)
    num = over_limit = 0
    for source, original, inside, marked, burned in planted(side, rounds):
        ink = burned.label_map > 0
        bright = original.pixels if original.pixels.ndim == 2 else original.pixels.max(axis=2)
        sector = inside & (cv2.blur(bright, (15, 15)) > 8)
        cleaned = clean_frame(marked, config=OPEN)
        over_limit += cleaned.mask[sector].mean() > CleanConfig().max_filled_ratio
        for name in (source, "ours"):
            count(totals[name], cleaned.mask, burned, sector)
        for how in ("smooth", "telea", "navier_stokes"):
            errors[how].append(squares(fill(marked.pixels, cleaned.mask, how=how), original.pixels, ink))
        errors["unfilled"].append(squares(marked.pixels, original.pixels, ink))
        errors["ours"].append(squares(cleaned.frame.pixels, original.pixels, ink))
        if paper_every and num % paper_every == 0:
            theirs = clean_frame(marked, config=CleanConfig(mode="paper", max_filled_ratio=1))
            count(totals["paper"], theirs.mask, burned, sector)
            errors["paper"].append(squares(theirs.frame.pixels, original.pixels, ink))
            errors["ours, same frames"].append(errors["ours"][-1])
        num += 1
    figures: dict = {"frames": num, "over_limit": int(over_limit)}
    heads = ("text", "caliper", "line", "logo", "touched", ">2 px", "no text")
    print(f"{'per cent':20}", *(f"{head:>8}" for head in heads))
    for name, counts in totals.items():
        row = shares(counts)
        print(f"{name:20}", *(f"{100 * value:8.2f}" for value in row.values()))
        if name in ("ours", "paper"):
            figures[name] = row
    for name, values in errors.items():
        figures[f"psnr_{name}"] = float(np.mean([db(value) for value in values]))
        print(f"PSNR of planted ink, {name:18}: mean {figures[f'psnr_{name}']:.2f} dB, {len(values)} frames")
    if errors["paper"]:
        pairs = zip(errors["ours, same frames"], errors["paper"], strict=True)
        figures["better_than_paper"] = float(np.mean([ours < theirs for ours, theirs in pairs]))
        print(f"ours beats the paper's on {100 * figures['better_than_paper']:.1f} % of frames")
    return figures


def untouched(side: str) -> float:
    """Share of sector pixels touched in frames with no mark planted."""
    counts = []
    for _, frame, inside in clean_parts(side):
        grey = frame.pixels if frame.pixels.ndim == 2 else frame.pixels.max(axis=2)
        sector = inside & (cv2.blur(grey, (15, 15)) > 8)
        counts.append([(clean_frame(frame, config=OPEN).mask & sector).sum(), sector.sum()])
    share = float(np.divide(*np.sum(counts, axis=0)))
    print(f"touched where nothing was planted: {100 * share:.3f} % of sector pixels")
    return share


def doppler(*, evaluation: bool) -> dict:
    """Share of flow pixels that are touched."""
    paths = list(frames_of("mmotu-2d", evaluation=evaluation))
    paths += [path for side in (False, True) for path in frames_of("carotid", evaluation=side)]
    counts, worst = [], []
    for path in paths:
        frame = read_frame(path)
        if frame.pixels.ndim == 2:
            continue
        hue, saturation, value = cv2.split(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2HSV))
        flow = (saturation > 110) & (value > 70) & ((hue < 22) | (hue > 165) | ((hue > 85) & (hue < 130)))
        if ((saturation > 110) & (value > 70) & ((hue < 22) | (hue > 165))).sum() < 30:
            continue  # no colour scale: blue boxes of text, no Doppler
        across = np.arange(frame.width) / frame.width
        flow &= ((across > 0.08) & (across < 0.84))[None]
        _, labels, stats, _ = cv2.connectedComponentsWithStats(flow.astype(np.uint8), connectivity=8)
        large = stats[:, cv2.CC_STAT_AREA] >= 20
        large[0] = False
        flow = large[labels]
        if flow.sum() < 60:
            continue
        touched = clean_frame(frame, config=OPEN).mask
        counts.append([(touched & flow).sum(), flow.sum()])
        worst.append((float(np.divide(*counts[-1])), path.name))
    share = float(np.divide(*np.sum(counts, axis=0)))
    over = sum(each > 0.05 for each, _ in worst)
    print(
        f"Doppler: {len(counts)} frames, {100 * share:.2f} % of flow pixels touched, {over} frames above 5 %;"
        f" worst {sorted(worst, reverse=True)[:4]}"
    )
    return {"frames": len(counts), "touched": share, "frames_over_5_pct": over}


def speed() -> dict:
    """Seconds of processor time per BUS-BRA still: decode, clean, resize; one thread."""
    from usfmae.images.prepare import prepare

    paths = list(frames_of("bus-bra", evaluation=True))[:60]
    config, spent = CleanConfig(), defaultdict(list)
    for path in paths:
        begin = time.process_time()
        frame = read_frame(path)
        read = time.process_time()
        cleaned = clean_frame(frame, config=config)
        cleaned_at = time.process_time()
        prepare(cleaned.frame, size_px=256)
        end = time.process_time()
        for name, seconds in (("decode", read - begin), ("clean", cleaned_at - read), ("all", end - begin)):
            spent[name].append(seconds)
    figures = {f"{name}_ms": 1000 * float(np.median(values)) for name, values in spent.items()}
    figures["stills_per_second"] = 1 / float(np.mean(spent["all"]))
    print("BUS-BRA, one core:", {name: round(value, 2) for name, value in figures.items()})
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=tuple(LISTS), default="evaluation")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--paper-every", type=int, default=1, help="every so many frames; 0 for never")
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    figures = measure(chosen.side, chosen.rounds, paper_every=chosen.paper_every)
    figures["touched_unplanted"] = untouched(chosen.side)
    figures["doppler"] = doppler(evaluation=chosen.side != "development")
    figures["speed"] = speed()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
