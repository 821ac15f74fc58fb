"""How many augmented 224 px images a second does one core make from shards?

Draws simulated scans, stores them as a corpus of 256 px and copies that into shards until the pool holds
`--images`: all lie in different places, though only 256 differ. Batches of 256 are then made as a run
makes them: random rows read from the shards, numbers drawn, views cut and changed, in one process with one
thread; by turns with the default settings, with every change of brightness on, and with the paper's
settings. Figures are medians over `--rounds`, by the clock; "by CPU time" is for a machine that does other
things too. The peer: the same scans as PNG files, decoded, cropped and resized (bicubic) and flipped with
Pillow, image by image, as a folder of files is commonly read.

With `--device cuda` the views of the same numbers are also made there, copies from pinned memory included.

Run:  python benchmarks/input.py [--images N] [--rounds N] [--seconds S] [--device cuda]
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from usfmae.base.seeds import rng_for
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.part import SHARD_FILE, part_folder
from usfmae.corpus.shards import Corpus
from usfmae.corpus.sources import Source
from usfmae.engine.augment import augment_batch
from usfmae.engine.augment_device import apply_views_on_device
from usfmae.engine.views import AugmentConfig, draw_views
from usfmae.images.simulate.dataset import write_simulated_dataset
from usfmae.recipes.registry import get_recipe

BATCH, SIDE = 256, 224
MILD = (0.8, 1.25)
EVERYTHING = AugmentConfig(
    gain=MILD, contrast=MILD, gamma=MILD, time_gain=MILD, speckle=(0.0, 0.1), shadow=0.5
)


def drawn_pool(folder: Path, *, num_images: int, images_per_shard: int) -> tuple[Corpus, list[Path]]:
    """A corpus of at least `num_images`, simulated scans copied into many shards, and their PNG files."""
    stills = write_simulated_dataset(
        folder / "scans", num_patients=128, images_per_patient=2, labelled=False, workers=1
    )
    config = BuildConfig(files_per_part=images_per_shard, keep_per_cluster=None)
    small = build_corpus([Source("scans", folder / "scans")], out=folder / "small", config=config)
    num_shards = len(small.record["shards"])
    copies = -(-num_images // len(small))
    tables = []
    for copy in range(copies):
        shards = small.manifest["shard"].to_numpy() + copy * num_shards
        column = small.manifest.schema.get_field_index("shard")
        tables.append(
            small.manifest.set_column(column, "shard", pa.array(shards, small.manifest["shard"].type))
        )
        for shard in range(num_shards):
            new = part_folder(folder / "pool", shard + copy * num_shards)
            new.mkdir(parents=True)
            shutil.copyfile(part_folder(small.folder, shard) / SHARD_FILE, new / SHARD_FILE)
    return Corpus(folder / "pool", small.record, pa.concat_tables(tables)), stills


def rates(work: Callable[[int], int], *, seconds: float) -> tuple[float, float]:
    """Images a second by the clock and by processor time of `work`, called with 0, 1, ... for a while."""
    work(0)
    started, cpu, images, step = time.perf_counter(), time.process_time(), 0, 1
    while (spent := time.perf_counter() - started) < seconds:
        images += work(step)
        step += 1
    return images / spent, images / (time.process_time() - cpu)


def from_shards(corpus: Corpus, config: AugmentConfig) -> Callable[[int], int]:
    """Makes batch number `step` as a run does."""

    def work(step: int) -> int:
        rows = rng_for(0, "rows", step).integers(0, len(corpus), BATCH)
        views = augment_batch(
            corpus.read(rows), image_px=SIDE, config=config, rng=rng_for(0, "augment", step)
        )
        return len(views)

    return work


def from_files(stills: list[Path]) -> Callable[[int], int]:
    """The peer: one PNG decoded, cropped, resized and flipped by Pillow for each view."""

    def work(step: int) -> int:
        rng = rng_for(0, "files", step)
        for place in rng.integers(0, len(stills), 8):
            with Image.open(stills[place]) as opened:
                image = opened.convert("L")
            share = np.sqrt(rng.uniform(0.4, 1.0))
            width, height = image.width * share, image.height * share
            left, top = rng.random() * (image.width - width), rng.random() * (image.height - height)
            box = (left, top, left + width, top + height)
            view = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
            if rng.random() < 0.5:
                view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            np.asarray(view)
        return 8

    return work


def on_device(corpus: Corpus, config: AugmentConfig, device: torch.device) -> Callable[[int], int]:
    """Views of one batch of pinned images, copied and made on the device; reading is not part of it."""
    images = torch.from_numpy(corpus.read(np.arange(BATCH))).pin_memory()
    drawn = draw_views(BATCH, corpus.size_px, config, rng_for(0, "augment"), size_px=(SIDE, SIDE))
    numbers = torch.from_numpy(drawn.numbers()).pin_memory()

    def work(_step: int) -> int:
        for _ in range(8):
            apply_views_on_device(
                images.to(device, non_blocking=True),
                numbers.to(device, non_blocking=True),
                size_px=(SIDE, SIDE),
                config=config,
            )
        torch.cuda.synchronize(device)
        return 8 * BATCH

    return work


def main() -> None:
    """Print a table for people and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="size of the pool, 1.3 GB")
    parser.add_argument("--images-per-shard", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        corpus, stills = drawn_pool(
            Path(name), num_images=args.images, images_per_shard=args.images_per_shard
        )
        works = {
            "default": from_shards(corpus, AugmentConfig()),
            "everything": from_shards(corpus, EVERYTHING),
            "paper": from_shards(corpus, get_recipe("usfmae_paper").augment),
            "read_only": lambda step: len(
                corpus.read(rng_for(0, "rows", step).integers(0, len(corpus), BATCH))
            ),
            "png_pillow": from_files(stills),
        }
        if args.device == "cuda":
            works["device_default"] = on_device(corpus, AugmentConfig(), torch.device("cuda"))
            works["device_everything"] = on_device(corpus, EVERYTHING, torch.device("cuda"))
        measured: dict[str, list[tuple[float, float]]] = {work: [] for work in works}
        for _ in range(args.rounds):
            for title, work in works.items():
                measured[title].append(rates(work, seconds=args.seconds))
    print(
        f"{'views of 224 px, one core':28}{'median /s':>10}{'lowest':>10}{'highest':>10}{'by CPU time':>13}"
    )
    figures: dict[str, object] = {"benchmark": "input", "num_images": len(corpus), "views_px": SIDE}
    for title, pairs in measured.items():
        clock, cpu = zip(*pairs, strict=True)
        figures[f"{title}_per_s"] = round(statistics.median(clock))
        figures[f"{title}_cpu_per_s"] = round(statistics.median(cpu))
        print(
            f"{title:28}{statistics.median(clock):10,.0f}{min(clock):9,.0f}{max(clock):9,.0f}"
            f"{statistics.median(cpu):13,.0f}"
        )
    ratios = [
        ours[0] / peer[0] for ours, peer in zip(measured["default"], measured["png_pillow"], strict=True)
    ]
    figures["ratio_to_png_pillow"] = round(statistics.median(ratios), 1)
    figures["images_per_s"] = figures["default_per_s"]
    figures["cpu_images_per_s"] = figures["default_cpu_per_s"]
    print(f"default / png_pillow: {figures['ratio_to_png_pillow']} (median of paired ratios)")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
