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
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Generic, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import psutil
from PIL import Image

from usfmae.base.config import with_settings
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.curate import curate
from usfmae.corpus.shards import Corpus, open_corpus
from usfmae.corpus.sources import Source
from usfmae.images.clip import CLIP_SUFFIXES
from usfmae.images.clip_choice import spread_by_change
from usfmae.images.read import num_frames, read_frames

BATCH = 128
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured(Generic[Result]):
    """What a piece of work took."""

    result: Result
    seconds: float
    cpu_s: float
    """Processor time of this process and of all children that have ended."""

    memory_gb: float
    """The most resident memory that all processes had together; `_parent` and `_worker` of one alone."""

    parent_gb: float
    worker_gb: float


def measured(work: Callable[[], Result]) -> Measured[Result]:
    """Do `work` while its memory is watched."""
    most, stop = [0, 0, 0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            parent, *workers = resident_bytes()
            now = (parent + sum(workers), parent, max(workers, default=0))
            most[:] = map(max, most, now)
            stop.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, used = time.perf_counter(), cpu_s()
    try:
        result = work()
        seconds, used = time.perf_counter() - started, cpu_s() - used
    finally:
        stop.set()
        watcher.join()
    return Measured(result, seconds, used, *(number / 1e9 for number in most))


def cpu_s() -> float:
    """Processor time so far, in user and system, of this process and of its children that have ended."""
    return sum(getrusage(who).ru_utime + getrusage(who).ru_stime for who in (RUSAGE_SELF, RUSAGE_CHILDREN))


def resident_bytes() -> list[int]:
    """Resident set of this process, then of each below it."""
    found, here = [], psutil.Process()
    for process in [here, *here.children(recursive=True)]:
        try:
            found.append(process.memory_info().rss)
        except psutil.Error:
            continue
    return found


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


def build_cleaned(data: Path, out: Path, figures: dict[str, float]) -> list[tuple[str, str, str, str]]:
    """BUS-BRA stills, marks filled and cropped to the sector; returns rows of the table."""
    stills = len(list((data / "bus-bra" / "Images").glob("*.png")))
    config = with_settings(BuildConfig(), ["clean.mode=ours", "crop=sector"])
    sources = [Source("bus-bra", data / "bus-bra", "bus-bra")]
    figures["cleaned_load"] = os.getloadavg()[0]
    took = measured(lambda: build_corpus(sources, out=out, config=config, workers=2))
    figures["cleaned_images"] = len(took.result)
    figures["cleaned_seconds"], figures["cleaned_cpu_s"] = took.seconds, took.cpu_s
    figures["cleaned_stills_per_s"] = stills / took.seconds
    figures["cleaned_stills_per_s_and_core"] = stills / took.cpu_s
    figures["cleaned_parent_gb"], figures["cleaned_worker_gb"] = took.parent_gb, took.worker_gb
    return [
        ("cleaned and cropped, BUS-BRA PNG, 2 cores", "cleaned_stills_per_s", "stills/s", "by the clock"),
        ("  per second of one core", "cleaned_stills_per_s_and_core", "stills/s", "target 60"),
        ("  on the clock, load before it", "cleaned_seconds", "s", f"load {figures['cleaned_load']:.1f}"),
        ("  processor time, all processes", "cleaned_cpu_s", "s", ""),
        ("  memory, this process", "cleaned_parent_gb", "GB", "target 2"),
        ("  memory, the largest worker", "cleaned_worker_gb", "GB", "target 2"),
    ]


def clips(data: Path, figures: dict[str, float]) -> list[tuple[str, str, str, str]]:
    """Frames of POCUS clips that are decoded, compared and chosen from; then the kept are cleaned too."""
    cv2.setNumThreads(1)
    config = with_settings(BuildConfig(), ["clean.mode=ours", "crop=sector"])
    chosen_from, curated_from = [], []
    for path in sorted(path for path in (data / "pocus").rglob("*") if path.suffix.lower() in CLIP_SUFFIXES):
        seen = min(num_frames(path), config.looked_at_per_clip or 10**9)
        started = time.process_time()
        looked_at = read_frames(path, max_frames=config.looked_at_per_clip)
        kept = list(spread_by_change(looked_at, config.max_frames_per_clip or 10**9))
        chosen_from.append((seen, time.process_time() - started))
        for _ in curate(kept, config):
            pass
        curated_from.append((seen, time.process_time() - started))
    for name, pairs in (("clips", chosen_from), ("clips_cleaned", curated_from)):
        rates = [frames / seconds for frames, seconds in pairs]
        figures[f"{name}_slowest_frames_per_s"] = min(rates)
        figures[f"{name}_frames_per_s"] = sum(n for n, _ in pairs) / sum(s for _, s in pairs)
    return [
        (
            f"{len(chosen_from)} clips, 16 frames chosen, one core",
            "clips_frames_per_s",
            "frames/s",
            "target 300",
        ),
        ("  the slowest clip", "clips_slowest_frames_per_s", "frames/s", ""),
        ("  kept frames cropped and cleaned too", "clips_cleaned_frames_per_s", "frames/s", ""),
        ("  the slowest clip", "clips_cleaned_slowest_frames_per_s", "frames/s", ""),
    ]


def show(rows: list[tuple[str, str, str, str]], figures: dict[str, float]) -> None:
    """The table and the line of JSON."""
    for title, key, unit, note in rows:
        print(f"{title:42}{figures[key]:12,.2f} {unit:9} {note}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


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
    parser.add_argument("--cleaned-only", action="store_true", help="only cleaning, cropping and clips")
    words = parser.parse_args()
    num_large = words.images
    data = Path(os.environ["USFMAE_DATA"])
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        cleaned = build_cleaned(data, tmp / "c", figures)
        cleaned += clips(data, figures)
        if words.cleaned_only:
            show(cleaned, figures)
            return
        stills = sorted((data / "bus-bra" / "Images").glob("*.png"))
        figures["opencv_stills_per_s_one_core"] = stills_per_s_of_opencv(stills)
        sources = [Source("bus-bra", data / "bus-bra", "bus-bra")]
        took = measured(lambda: build_corpus(sources, out=tmp / "b", config=BuildConfig(), workers=2))
        figures["build_stills_per_s"] = len(stills) / took.seconds
        sources = [Source("all", data)]
        took = measured(lambda: build_corpus(sources, out=tmp / "a", config=BuildConfig(), workers=2))
        corpus = took.result
        figures["build_all_files_per_s"] = corpus.record["sources"][0]["num_files"] / took.seconds
        figures["build_memory_gb"] = took.memory_gb
        read = measured(lambda: images_per_s(corpus))
        figures["read_images_per_s"], figures["read_memory_gb"] = read.result, read.memory_gb
        figures["copy_images_per_s"] = copies_per_s(corpus.size_px)
        draw_noise(tmp / "noise", num_large)
        config = BuildConfig(max_frames_per_clip=None, files_per_part=16)
        sources = [Source("noise", tmp / "noise")]
        took = measured(lambda: build_corpus(sources, out=tmp / "n", config=config, workers=2))
        figures["large_images"], figures["build_large_memory_gb"] = len(took.result), took.memory_gb
        del took
        read = measured(lambda: images_per_s(open_corpus(tmp / "n"), seconds=10))
        figures["read_large_images_per_s"], figures["read_large_memory_gb"] = read.result, read.memory_gb
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
    show([*rows, *cleaned], figures)


if __name__ == "__main__":
    main()
