"""Does `kill -9` at random moments of `usfmae pretrain`, each followed by --resume, change one bit?

Trains a small network on a given corpus once undisturbed, then once with kills at random seconds, and
compares the encoder, the last checkpoint and the losses.

Run:  python benchmarks/kill_pretrain.py CORPUS [--kills 10] [--seed 0]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from usfmae.base.files import file_sha256
from usfmae.engine.metrics_log import read_metrics

PROGRAM = "from usfmae.cli.main import main; raise SystemExit(main())"
SETTINGS = (
    "epochs=0.6",
    "loop.checkpoint_steps=4",
    "loop.log_steps=1",
    "threads=1",
    "watch.every_epochs=0.2",
)


def start(corpus: Path, out: Path) -> subprocess.Popen[bytes]:
    """The run in a process of its own, quiet."""
    words = ["pretrain", "tiny_cpu", "--corpus", str(corpus), "--out", str(out), "--resume"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=quiet, stderr=quiet)


def facts(out: Path) -> dict[str, object]:
    """What must be equal."""
    last = sorted((out / "checkpoints").iterdir())[-1]
    lines = [line for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "train"]
    return {
        "weights": file_sha256(out / "weights.safetensors"),
        "model": file_sha256(last / "model.safetensors"),
        "optimizer": file_sha256(last / "optimizer.safetensors"),
        "losses": [(line["step"], line["loss"]) for line in lines],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder) / "whole", Path(folder) / "cut"
        began = time.perf_counter()
        assert start(given.corpus, whole).wait() == 0
        seconds = time.perf_counter() - began
        killed = 0
        while killed < given.kills:
            run = start(given.corpus, cut)
            try:
                run.wait(draw.uniform(3.0, 3.0 + 0.2 * seconds))
                break  # it ended before the kill: nothing is left to disturb
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
                killed += 1
        assert start(given.corpus, cut).wait() == 0
        same = {name: facts(whole)[name] == facts(cut)[name] for name in facts(whole)}
    print(f"undisturbed {seconds:.1f} s, {killed} kills; equal: {same}")
    print(json.dumps({"benchmark": "kill_pretrain", "kills": killed, "equal": same}))
    if not all(same.values()):
        sys.exit("the resumed run differs")


if __name__ == "__main__":
    main()
