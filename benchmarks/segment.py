"""Lesions of BUS-BRA and tumours of MMOTU-2D, outlined: pretrained weights against the same net from scratch.

Each start is trained and tested by the functions of `usfmae evaluate segment` with its own defaults (half the
learning rate and no layer decay from scratch), on the same images, splits, seed and epochs. The gain is
paired: the mean over images of the difference in Dice, on shared draws of patients. What is there is
resumed. Test images are looked for in the corpus that the weights were pretrained on, and the JSON says so.

Cost:  270,000 training images in all: 4 folds of BUS-BRA and one split of MMOTU-2D, 30 epochs, two starts.
       ViT-Ti with one thread on two cores that ten others share: 8 images/s at 64 px (9 hours), 2 at 128 px.
       Smoke: --task bus-bra --folds 2 --epochs 2 --set image_px=64 --set task.size_px=96, 10 minutes there.
Run:   USFMAE_DATA=... python benchmarks/segment.py --weights runs/ti-all --out results/segment
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from usfmae.base.config import with_settings
from usfmae.cli.evaluate import pretraining_pool
from usfmae.evaluate.overlap import mean_overlap
from usfmae.evaluate.segment import segment
from usfmae.evaluate.segment_config import SegmentConfig, scratch_segment_config
from usfmae.evaluate.segment_page import write_segment_page
from usfmae.evaluate.segment_scores import read_scores
from usfmae.evaluate.segment_task import load_segment_task
from usfmae.evaluate.start import Weights, shown_to

FOLDERS = {"bus-bra": "bus-bra", "mmotu-2d": "mmotu-2d"}


def shown(metric: dict[str, Any]) -> str:
    """`value [low, high]`."""
    if metric["low"] is None:
        return f"{metric['value']:.3f}"
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def gain(first: Path, second: Path) -> dict[str, Any]:
    """Dice of the second result less that of the first, image by image, with its interval over patients."""
    before, _ = read_scores(first)
    after, _ = read_scores(second)
    order = {path: row for row, path in enumerate(after.paths)}
    after = after.rows([order[path] for path in before.paths])
    difference = after.overlaps[:, :, 0] - before.overlaps[:, :, 0]
    overall, _ = mean_overlap(difference, before.group_ids, config=SegmentConfig().bootstrap)
    won = float(np.nanmean(np.nan_to_num(difference) > 0))
    return {**overall.record(), "share_of_images_better": won}


def main() -> None:
    """Train what is not there yet, print the table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="weights file or run folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--task", choices=FOLDERS, action="append", help="only this one; may be repeated")
    parser.add_argument("--epochs", type=float, default=30.0)
    parser.add_argument("--folds", type=int, nargs="*", help="of BUS-BRA; all by default")
    parser.add_argument(
        "--corpus", type=Path, action="append", default=[],
        help="corpus the weights were pretrained on, where their run does not lead to it; may be repeated",
    )  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="further settings")
    words = parser.parse_args()
    data = Path(os.environ["USFMAE_DATA"])
    fit, crop = shown_to(words.weights)
    figures: dict[str, Any] = {}
    print("| task | start | Dice | IoU | HD95 | mAP masks | mAP@50 masks | mAP boxes | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for task in words.task or FOLDERS:
        results: dict[str, dict[str, Any]] = {}
        folders = {start: words.out / f"{task}-{start}" for start in ("scratch", "pretrained")}
        for start, folder in folders.items():
            weights: Weights = "scratch" if start == "scratch" else words.weights
            config = scratch_segment_config() if start == "scratch" else SegmentConfig()
            settings = [f"task.fit={fit}", f"task.crop={crop}", f"epochs={words.epochs}", *words.set]
            if task == "bus-bra" and words.folds:
                settings.append(f"task.folds={words.folds}")
            config = with_settings(config, settings)
            loaded = load_segment_task(task, data / FOLDERS[task], config=config.task)
            like = words.weights if start == "scratch" else None
            result = segment(
                loaded, weights, out=folder, config=config, like=like, resume=folder.exists(),
                pretraining_pool=pretraining_pool(weights, words.corpus),
            )  # fmt: skip
            write_segment_page(folder, loaded)
            results[start] = result
            metrics = result["metrics"]
            cells = " | ".join(shown(metrics[name]) for name in metrics)
            print(f"| {task} | {start} | {cells} | {result['seconds']:.0f} |", flush=True)
        paired = gain(folders["scratch"], folders["pretrained"])
        better = f"{100 * paired['share_of_images_better']:.0f} % of images better"
        print(f"| {task} | gain in Dice, paired | {shown(paired)} | {better} | | | | | |", flush=True)
        figures[task] = {
            **{
                start: {name: each["value"] for name, each in r["metrics"].items()}
                for start, r in results.items()
            },
            "dice_gain": paired,
            "hd95_unit": results["scratch"]["hd95_unit"],
            "contamination": results["pretrained"]["contamination"],
            "images_per_s": [fold["images_per_s"] for fold in results["pretrained"]["folds"]],
        }
    print(json.dumps({"benchmark": "segment", "epochs": words.epochs, "tasks": figures}))


if __name__ == "__main__":
    main()
