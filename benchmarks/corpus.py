"""How fast is a corpus built and read, and how much memory does that take?

Builds from the BUS-BRA stills of $USFMAE_DATA (PNG) with two workers, then from everything there, and reads
random batches back in one process. The peer: reading and shrinking the same files with OpenCV alone, on one
core, which no builder that decodes can beat per core; for batches, the ceiling is copying the same bytes
within memory. Memory is the resident set (RSS) summed over all processes, sampled every 50 ms: an upper
bound, since shared pages count more than once. A second, larger corpus shows that neither building nor
reading needs more memory for more images.

Run:  USFMAE_DATA=... python benchmarks/corpus.py [--images N]
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import psutil
from PIL import Image

from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import Corpus, open_corpus
from usfmae.corpus.sources import Source

BATCH = 128
Result = TypeVar("Result")


def measured(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """The result of `work`, its seconds, and the most memory in GB that all processes took together."""
    most, stop = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.is_set():
            most = max(most, memory_bytes())
            stop.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        result = work()
        seconds = time.perf_counter() - started
    finally:
        stop.set()
        watcher.join()
    return result, seconds, most / 1e9


def memory_bytes() -> int:
    """Resident set of this process and all below it, summed."""
    total, here = 0, psutil.Process()
    for process in [here, *here.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def stills_per_s_of_opencv(paths: list[Path]) -> float:
    """Decode and shrink with OpenCV on one core: no checks, no colour rules, no hashes, nothing stored."""
    cv2.setNumThreads(1)
    started = time.perf_counter()
    for path in paths:
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_AREA)
    return len(paths) / (time.perf_counter() - started)


def images_per_s(corpus: Corpus, *, seconds: float = 3.0) -> float:
    """Random batches in this process."""
    rng = np.random.default_rng(0)
    corpus.read(np.arange(min(len(corpus), BATCH)))
    started, num_read = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        num_read += len(corpus.read(rng.integers(0, len(corpus), BATCH)))
    return num_read / spent


def copies_per_s(size_px: int, *, seconds: float = 1.0) -> float:
    """The ceiling: fill the same batches from memory."""
    source = np.zeros((4096, size_px, size_px), np.uint8)
    rng = np.random.default_rng(0)
    started, num_read = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        num_read += len(source[rng.integers(0, len(source), BATCH)])
    return num_read / spent


def draw_noise(folder: Path, num_images: int) -> None:
    """Small files that are all different, to make a large corpus of."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(max(1, num_images // 64)):
        frames = [Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)) for _ in range(64)]
        frames[0].save(folder / f"{k:06d}.tif", save_all=True, append_images=frames[1:])


def main() -> None:
    """Print a table for people and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000, help="size of the large corpus, 6.5 GB")
    num_large = parser.parse_args().images
    data = Path(os.environ["USFMAE_DATA"])
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        stills = sorted((data / "bus-bra" / "Images").glob("*.png"))
        figures["opencv_stills_per_s_one_core"] = stills_per_s_of_opencv(stills)
        sources = [Source("bus-bra", data / "bus-bra", "bus-bra")]
        _, seconds, _ = measured(
            lambda: build_corpus(sources, out=tmp / "b", config=BuildConfig(), workers=2)
        )
        figures["build_stills_per_s"] = len(stills) / seconds
        sources = [Source("all", data)]
        corpus, seconds, most = measured(
            lambda: build_corpus(sources, out=tmp / "a", config=BuildConfig(), workers=2)
        )
        figures["build_all_files_per_s"] = corpus.record["sources"][0]["num_files"] / seconds
        figures["build_memory_gb"] = most
        figures["read_images_per_s"], _, figures["read_memory_gb"] = measured(lambda: images_per_s(corpus))
        figures["copy_images_per_s"] = copies_per_s(corpus.size_px)
        draw_noise(tmp / "noise", num_large)
        config = BuildConfig(max_frames_per_clip=None, files_per_part=16)
        sources = [Source("noise", tmp / "noise")]
        large, _, figures["build_large_memory_gb"] = measured(
            lambda: build_corpus(sources, out=tmp / "n", config=config, workers=2)
        )
        figures["large_images"] = len(large)
        del large
        figures["read_large_images_per_s"], _, figures["read_large_memory_gb"] = measured(
            lambda: images_per_s(open_corpus(tmp / "n"), seconds=10)
        )
    rows = [
        ("build, BUS-BRA PNG, 2 cores", "build_stills_per_s", "stills/s", "target 150"),
        ("  OpenCV alone, one core", "opencv_stills_per_s_one_core", "stills/s", "peer"),
        ("build, all development data, 2 cores", "build_all_files_per_s", "files/s", ""),
        ("  memory, all processes", "build_memory_gb", "GB", "target 1.5"),
        ("read random batches, one core", "read_images_per_s", "images/s", "target 10,000"),
        ("  memory copy", "copy_images_per_s", "images/s", "ceiling"),
        ("  memory", "read_memory_gb", "GB", "target 1.5"),
        (f"build {figures['large_images']:,} images, memory", "build_large_memory_gb", "GB", "target 1.5"),
        ("read from these, one core", "read_large_images_per_s", "images/s", "disk and cache"),
        ("  memory", "read_large_memory_gb", "GB", "target 1.5"),
    ]
    for title, key, unit, note in rows:
        print(f"{title:42}{figures[key]:12,.2f} {unit:9} {note}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
