"""`kill -9` during `usfmae corpus build`: the resumed build ends with the bytes of an undisturbed one."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import verify_corpus
from usfmae.corpus.sources import Source

CONFIG = BuildConfig(size_px=32, files_per_part=3)
PROGRAM = "from usfmae.cli.main import main; raise SystemExit(main())"


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pool") / "scans"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for k in range(150):
        Image.fromarray(noise.integers(0, 256, (40, 48), dtype=np.uint8)).save(folder / f"{k:03d}.png")
    (folder / "zero.png").write_bytes(b"")
    (folder / "again.png").write_bytes((folder / "070.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def undisturbed(scans, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "corpus"
    build_corpus([Source("scans", scans)], out=out, config=CONFIG)
    return out


def start(scans: Path, out: Path, *, workers: int) -> subprocess.Popen[bytes]:
    words = [
        "corpus",
        "build",
        "--images",
        str(scans),
        "--out",
        str(out),
        "--workers",
        str(workers),
        "--resume",
    ]
    settings = ["--set", f"size_px={CONFIG.size_px}", "--set", f"files_per_part={CONFIG.files_per_part}"]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *words, *settings], stderr=subprocess.PIPE)


def num_parts(out: Path) -> int:
    return len(list(out.glob("parts/[0-9]*")))


def kill_after(build: subprocess.Popen[bytes], out: Path, *, parts: int, then_s: float) -> None:
    """Kill a build with SIGKILL a moment after it stored that many parts; its workers must end too."""
    goal = num_parts(out) + parts
    while num_parts(out) < goal and build.poll() is None:
        time.sleep(0.01)
    time.sleep(then_s)
    workers = psutil.Process(build.pid).children(recursive=True) if build.poll() is None else []
    build.kill()
    _, said = build.communicate(timeout=10)
    assert build.returncode == -signal.SIGKILL, f"ended before it could be killed: {said.decode()}"
    assert psutil.wait_procs(workers, timeout=5)[1] == [], "workers live on after their parent"


def shards(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.npy"))}


@pytest.mark.parametrize(("workers", "kills"), [(1, 3), (2, 2)])
def test_killed_builds_resume_to_the_same_bytes(scans, undisturbed, tmp_path, workers, kills):
    moments = random.Random(workers)
    out = tmp_path / "corpus"
    for _ in range(kills):
        build = start(scans, out, workers=workers)
        kill_after(build, out, parts=moments.randint(0, 10), then_s=moments.uniform(0, 0.03))
    assert 0 < num_parts(out) < 51
    corpus = build_corpus([Source("scans", scans)], out=out, config=CONFIG, resume=True)
    assert shards(out) == shards(undisturbed)
    assert (out / "manifest.parquet").read_bytes() == (undisturbed / "manifest.parquet").read_bytes()
    assert len(corpus) == 150
    assert verify_corpus(out) == 103  # 51 shards, as many fingerprints, the manifest
    assert not list(out.rglob(".partial-*"))
