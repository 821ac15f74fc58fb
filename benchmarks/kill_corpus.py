"""Does `kill -9` at ten random moments of `usfmae corpus build`, each followed by --resume, change one byte?

Builds a corpus of everything in $USFMAE_DATA once undisturbed, then once with ten kills, with two workers,
BUSI held out, and compares every shard, the manifest and the corpus hash. Some kills come at a random second
of the start and the held-out pass, the others a random moment after a random number of parts was stored.
With --synthetic, the pool is that many drawn frames in clips of 64 instead, cropped and cleaned, nothing held
out.

Run:  USFMAE_DATA=... python benchmarks/kill_corpus.py [--kills 10] [--seed 0] [--synthetic 100000]
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from PIL import Image

from usfmae.base.files import file_sha256, read_json
from usfmae.corpus.shards import open_corpus, verify_corpus

FRAMES_PER_CLIP = 64
PROGRAM = "from usfmae.cli.main import main; raise SystemExit(main())"


def real_pool() -> list[str]:
    """What to build: everything in $USFMAE_DATA but BUSI."""
    data = Path(os.environ["USFMAE_DATA"])
    busi = data / "busi" / "Dataset_BUSI_with_GT"
    return ["--images", str(data), "--hold-out", f"busi={busi}", "--set", "files_per_part=64"]


def synthetic_pool(folder: Path, num_frames: int) -> list[str]:
    """Draw clips of smooth noise in a dark margin; what to build of them."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for k in range(num_frames // FRAMES_PER_CLIP):
        coarse = rng.integers(0, 256, (FRAMES_PER_CLIP, 9, 9), dtype=np.uint8)
        frames = np.zeros((FRAMES_PER_CLIP, 72, 72), np.uint8)
        for frame, small in zip(frames, coarse, strict=True):
            frame[4:68, 4:68] = cv2.resize(small, (64, 64), interpolation=cv2.INTER_CUBIC)
        first, *others = (Image.fromarray(frame) for frame in frames)
        first.save(folder / f"{k:06d}.tif", save_all=True, append_images=others)
    settings = ("max_frames_per_clip=null", "files_per_part=16", "crop=sector", "clean.mode=ours")
    return ["--images", str(folder), *(word for setting in settings for word in ("--set", setting))]


def start(out: Path, pool: list[str]) -> subprocess.Popen[bytes]:
    """The build in a process of its own, quiet."""
    words = ["corpus", "build", *pool, "--out", str(out), "--workers", "2", "--resume"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def num_parts(out: Path) -> int:
    """Parts that are stored."""
    return len(list(out.glob("parts/[0-9]*")))


def kill_after(build: subprocess.Popen[bytes], out: Path, *, parts: int, then_s: float) -> int:
    """Kill a build some seconds after it stored some more parts.

    Returns:
        How many of its workers outlived it by more than 5 s.
    """
    goal = num_parts(out) + parts
    while num_parts(out) < goal and build.poll() is None:
        time.sleep(0.01)
    try:
        build.wait(then_s)
    except subprocess.TimeoutExpired:
        workers = psutil.Process(build.pid).children(recursive=True)
        build.kill()
        build.wait()
        return len(psutil.wait_procs(workers, timeout=5)[1])
    return 0


def hashes(out: Path) -> dict[str, str]:
    """The checksum of every file but corpus.json, which holds times."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != "corpus.json")
    return {str(path.relative_to(out)): file_sha256(path) for path in files}


def state(out: Path) -> str:
    """Where a kill found the build, for the table."""
    status = read_json(out / "corpus.json")["status"] if (out / "corpus.json").exists() else "not begun"
    return f"{status}, {num_parts(out)} parts stored"


def main() -> None:
    """Print a line per kill and one of JSON; exit status 1 if a byte differs or a kill came too late."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--synthetic", type=int, default=0, help="frames to draw instead of reading data")
    words = parser.parse_args()
    moments = random.Random(words.seed)
    with tempfile.TemporaryDirectory() as name:
        plain, killed = Path(name) / "plain", Path(name) / "killed"
        pool = synthetic_pool(Path(name) / "clips", words.synthetic) if words.synthetic else real_pool()
        started = time.perf_counter()
        assert start(plain, pool).wait() == 0
        whole_s = time.perf_counter() - started
        print(f"undisturbed: {len(open_corpus(plain))} images in {whole_s:.1f} s")
        num_killed = num_outlived = 0
        for k in range(words.kills):
            build = start(killed, pool)
            # Little enough that all kills come before the end, since work of unfinished parts is lost.
            by_time = k % 4 == 0
            parts = 0 if by_time else moments.randint(0, num_parts(plain) // (2 * words.kills))
            then_s = moments.uniform(0, whole_s / (2 * words.kills) if by_time else 0.3)
            num_outlived += kill_after(build, killed, parts=parts, then_s=then_s)
            num_killed += build.returncode == -signal.SIGKILL
            how = "killed" if build.returncode == -signal.SIGKILL else f"ended ({build.returncode})"
            print(f"kill {k + 1}: {how}, {state(killed)}")
            if build.returncode == 0:
                break
        assert start(killed, pool).wait() == 0
        verify_corpus(killed)
        same = hashes(plain) == hashes(killed)
        same_hash = open_corpus(plain).sha256 == open_corpus(killed).sha256
        figures = {
            "kills": num_killed,
            "bit_identical": same and same_hash,
            "workers_outlived": num_outlived,
            "files_compared": len(hashes(plain)),
            "seconds_undisturbed": round(whole_s, 1),
        }
        print(json.dumps(figures))
        sys.exit(0 if figures["bit_identical"] and num_killed == words.kills else 1)


if __name__ == "__main__":
    main()
