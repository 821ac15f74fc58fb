"""Does the sector that we find lie where a person sees it?

Boxes of 268 frames of 15 sources were drawn by eye on enlarged pictures with rulers, before a detector had
seen the frames; they stand in three lists below tests/images, and `--boxes` names others. Frames of clips are
judged with five others of their clip, as a corpus does it. Reads the folder that $USFMAE_DATA names.

Times are of stills of at most 340 px a side, on one core, each frame's fastest of three calls, since
other programs may run: `median_ms` and `mean_ms` by the clock, `cpu_ms` the mean of processor time.

Run:  USFMAE_DATA=... python benchmarks/sector.py [--boxes FILE ...]
"""

import argparse
import csv
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from usfmae.images.b_mode import why_no_b_mode
from usfmae.images.clip import CLIP_SUFFIXES
from usfmae.images.frame import Box, Frame
from usfmae.images.read import read_frame, read_frames
from usfmae.images.sector import find_sector, overlap

BOXES = Path(__file__).parent.parent / "tests" / "images"
LISTS = ("sector_boxes.csv", "sector_boxes_fresh.csv", "sector_boxes_blind.csv")
"""120 frames, of which rules were mended; 30 and 118 drawn before a detector had seen them."""

GOOD = 0.95
FILLED = 0.97
"""A box that covers so much of a picture is of one without margins, where the whole picture is right."""


def _milliseconds(clock: Callable[[], float], frame: Frame) -> float:
    start = clock()
    find_sector(frame)
    return 1e3 * (clock() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--boxes", type=Path, nargs="+", default=[BOXES / name for name in LISTS])
    args = parser.parse_args()
    root = os.environ.get("USFMAE_DATA")
    if not root:
        raise SystemExit("set USFMAE_DATA to the folder with the real images")
    cv2.setNumThreads(1)
    rows = [(boxes.name, row) for boxes in args.boxes for row in csv.DictReader(boxes.open(newline=""))]
    overlaps: dict[str, list[float]] = defaultdict(list)
    by_list: dict[str, list[float]] = defaultdict(list)
    margins: list[float] = []
    wall_ms, cpu_ms, misses, rejected = [], [], [], []
    for boxes, row in rows:
        path = Path(root) / row["file"]
        frame = read_frame(path, int(row["frame"]))
        is_clip = frame.source.num_frames > 1 and path.suffix.lower() in CLIP_SUFFIXES
        clip = list(read_frames(path, max_frames=5)) if is_clip else []
        truth: Box = (int(row["top"]), int(row["left"]), int(row["height"]), int(row["width"]))
        sector = find_sector(frame, clip=clip)
        if not clip and max(frame.height, frame.width) <= 340:
            wall_ms.append(min(_milliseconds(time.perf_counter, frame) for _ in range(3)))
            cpu_ms.append(min(_milliseconds(time.process_time, frame) for _ in range(3)))
        share = overlap(sector.box, truth) if sector else 0.0
        overlaps[row["set"]].append(share)
        by_list[boxes].append(share)
        if truth[2] * truth[3] < FILLED * frame.height * frame.width:
            margins.append(share)
        if share < GOOD:
            misses.append((share, row["file"], sector.box if sector else None, truth))
        reason = why_no_b_mode(frame, sector)
        if reason:
            rejected.append((row["file"], reason))
    print(f"{'source':20} {'frames':>6} {'IoU >= 0.95':>12} {'mean IoU':>9} {'lowest':>7}")
    for source, shares in overlaps.items():
        good = np.mean(np.array(shares) >= GOOD)
        print(f"{source:20} {len(shares):6} {good:12.0%} {np.mean(shares):9.3f} {min(shares):7.3f}")
    for name, shares in (*by_list.items(), ("of all, with margins", margins)):
        good = np.mean(np.array(shares) >= GOOD)
        print(f"{name:26}{len(shares):4} frames, {good:.1%} with an IoU of at least {GOOD}")
    for share, name, box, truth in sorted(misses):
        print(f"  {share:.3f}  {name}: found {box}, by eye {truth}")
    for name, reason in rejected:
        print(f"  rejected {name}: {reason}")
    every = np.concatenate([np.array(shares) for shares in overlaps.values()])
    figures = {
        "benchmark": "sector",
        "num_frames": len(every),
        "share_iou_95": round(float(np.mean(every >= GOOD)), 4),
        "share_iou_95_with_margins": round(float(np.mean(np.array(margins) >= GOOD)), 4),
        "mean_iou": round(float(every.mean()), 4),
        "num_rejected": len(rejected),
        "median_ms": round(float(np.median(wall_ms)), 2),
        "mean_ms": round(float(np.mean(wall_ms)), 2),
        "cpu_ms": round(float(np.mean(cpu_ms)), 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
