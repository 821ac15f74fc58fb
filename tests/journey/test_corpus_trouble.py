"""A full disk or a killed worker ends `usfmae corpus build` with one message and one hint.

Nothing half-written passes for a corpus, and `--resume` ends with the bytes of an undisturbed build.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from usfmae.base.errors import CorpusError
from usfmae.cli.main import main
from usfmae.corpus.shards import verify_corpus

PROGRAM = "from usfmae.cli.main import main; raise SystemExit(main())"
NOISE = np.random.default_rng(0)
CLIP_FRAMES, NUM_PARTS = 12, 34
SMALL_FILES = 6_000
"""Bytes: more than any other file that is written until the clip's shard, which needs 12 KiB and more."""


def words(scans: Path, out: Path, *, workers: int) -> list[str]:
    settings = ["size_px=32", "files_per_part=3"]
    return [
        *("corpus", "build", "--images", str(scans), "--out", str(out)),
        *("--workers", str(workers), "--resume", *(f"--set={setting}" for setting in settings)),
    ]


def built(scans: Path, out: Path, capsys: pytest.CaptureFixture[str], *, workers: int = 1) -> str:
    """What is said by a build that must fail in good order."""
    capsys.readouterr()
    status = main(words(scans, out, workers=workers))
    return in_good_order(status, capsys.readouterr().err)


def in_good_order(status: int, said: str) -> str:
    assert status == 2, said
    assert "error: " in said
    assert "Traceback" not in said
    return said


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Within, no file of this process and those it starts may grow larger."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


def goes_on(scans: Path, out: Path) -> dict[str, bytes]:
    """Verifying refuses what is there; resuming makes it whole."""
    with pytest.raises(CorpusError, match="is not finished"):
        verify_corpus(out)
    assert main(words(scans, out, workers=1)) == 0
    assert verify_corpus(out) > 1
    return stored(out)


def stored(out: Path) -> dict[str, bytes]:
    """Every file of a corpus, corpus.json without times and the place it was called from."""
    record = json.loads((out / "corpus.json").read_text())
    told = {name: value for name, value in record.items() if name not in ("made_by", "seconds")}
    files = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "corpus.json"
    }
    return {**files, "corpus.json": json.dumps(told).encode()}


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """99 stills, and a clip in the midst of them whose part is larger than the others."""
    folder = tmp_path_factory.mktemp("pool") / "scans"
    folder.mkdir()
    for k in range(99):
        Image.fromarray(NOISE.integers(0, 256, (40, 48), dtype=np.uint8)).save(folder / f"{k:03d}.png")
    first, *rest = [
        Image.fromarray(NOISE.integers(0, 256, (40, 48), dtype=np.uint8)) for _ in range(CLIP_FRAMES)
    ]
    first.save(folder / "050-clip.tif", save_all=True, append_images=rest)
    return folder


@pytest.fixture(scope="module")
def undisturbed(scans, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "corpus"
    assert main(words(scans, out, workers=1)) == 0
    return stored(out)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_may_not_grow_stops_the_build_and_room_lets_it_go_on(
    scans, undisturbed, tmp_path, capsys, workers
):
    out = tmp_path / "corpus"
    with files_of_at_most(SMALL_FILES):
        said = built(scans, out, capsys, workers=workers)
    assert "shard.npy: cannot be written (File too large)" in said
    assert "hint: files may not grow so large here (ulimit -f); raise that, then go on with --resume" in said
    parts = {path.name for path in (out / "parts").iterdir()}
    assert {f"{k:05d}" for k in range(16)} <= parts
    assert "00016" not in parts  # files 48, 49 and the clip, which sorts before 050.png
    assert not list(out.rglob(".partial-*"))
    assert goes_on(scans, out) == undisturbed


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of its own; skipped where this user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_build_wherever_it_fills_and_room_lets_it_go_on(
    scans, undisturbed, small_disk, capsys
):
    out = small_disk / "corpus"
    needed = sum(-(-len(content) // 4096) for content in undisturbed.values())  # pages of 4 KiB
    for pages in (needed // 10, needed - 1):  # the second time every part has room, and the end has not
        subprocess.run(["mount", "-o", f"remount,size={4 * pages}k", str(small_disk)], check=True)
        said = built(scans, out, capsys)
        assert "cannot be written (No space left on device)" in said
        assert "hint: free some space, then go on with --resume" in said
        assert not list(out.rglob(".partial-*"))
    assert len(list(out.glob("parts/[0-9]*"))) == NUM_PARTS
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert goes_on(scans, out) == undisturbed


def test_a_killed_worker_stops_the_build_with_a_message_and_resume_ends_the_same(
    scans, undisturbed, tmp_path
):
    out = tmp_path / "corpus"
    command = [sys.executable, "-c", PROGRAM, *words(scans, out, workers=2)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(out.glob("parts/[0-9]*")) and running.poll() is None:
        time.sleep(0.005)
    children = psutil.Process(running.pid).children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    said = running.communicate(timeout=120)[1]
    in_good_order(running.returncode, said)
    assert "error: a worker process died (killed, or out of memory)" in said
    assert "hint: go on with --resume, perhaps with fewer --workers; what was stored is kept" in said
    assert psutil.wait_procs(children, timeout=5)[1] == [], "processes live on after the build"
    assert 0 < len(list(out.glob("parts/[0-9]*"))) < NUM_PARTS
    assert goes_on(scans, out) == undisturbed
