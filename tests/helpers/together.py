"""Starting the command with torchrun, and looking at what it does meanwhile."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from usfmae.engine.metrics_log import read_metrics

SOURCE = Path(__file__).parents[2] / "src"
TIMEOUT_S = 300


def torchrun(*words: object, world: int = 2, restarts: int = 0) -> subprocess.Popen[str]:
    """Start `world` processes; `words` are a script and its arguments."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    command = [sys.executable, *launcher, "--max-restarts", str(restarts), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finished(run: subprocess.Popen[str]) -> str:
    """Wait for the end; what it said."""
    try:
        return run.communicate(timeout=TIMEOUT_S)[1]
    finally:
        end_all(run)


def end_all(run: subprocess.Popen[str]) -> None:
    """Leave no process behind, whatever happened."""
    if run.poll() is None:
        for child in psutil.Process(run.pid).children(recursive=True):
            child.kill()
        run.kill()


def losses(out: Path) -> list[float]:
    """The loss of each logged step."""
    return [line["loss"] for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "train"]


def wait_until(run: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait while the run goes on."""
    until = time.monotonic() + TIMEOUT_S
    while not condition():
        if run.poll() is not None or time.monotonic() > until:
            end_all(run)
            raise AssertionError(f"ended or hung before its time: {finished(run)}")
        time.sleep(0.02)


def process_of(run: subprocess.Popen[str], rank: int) -> psutil.Process:
    """The process of one rank."""
    return next(
        child
        for child in psutil.Process(run.pid).children()
        if child.environ().get("RANK") == str(rank) and "pretrain" in child.cmdline()
    )
