"""Does `kill -9` at random steps of `usfmae pretrain`, each followed by a resume, change the result?

Trains a small network on a given corpus once undisturbed, then once with kills at random steps, and compares
the encoder, the last checkpoint and the losses. Alone (--ranks 1) every bit must be equal. With more ranks
torchrun starts them: every other kill takes one random rank, after which torchrun goes on by itself; the rest
take all processes at once, after which the command is given again with --resume. Losses must then be equal
to 1e-6.

Run:  python benchmarks/kill_pretrain.py CORPUS [--kills 20] [--seed 0] [--ranks 1] [--parallel ddp]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from usfmae.base.files import file_sha256
from usfmae.engine.metrics_log import read_metrics

EPOCHS = "0.6"
SETTINGS = (
    "loop.checkpoint_steps=4",
    "loop.log_steps=1",
    "threads=1",
    "watch.every_epochs=0.2",
)
LIMIT_S = 600


def start(given: argparse.Namespace, out: Path) -> subprocess.Popen[bytes]:
    """The run in processes of its own, quiet."""
    words = [
        "-m",
        "usfmae",
        "pretrain",
        "tiny_cpu",
        "--corpus",
        str(given.corpus),
        "--out",
        str(out),
        "--resume",
    ]
    settings = (*SETTINGS, f"epochs={given.epochs}", f"loop.parallel={given.parallel}")
    words += [word for setting in settings for word in ("--set", setting)]
    if given.ranks > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(given.ranks)]
        words = [*launcher, "--max-restarts", str(given.kills), *words]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, *words], stdout=quiet, stderr=quiet)


def losses(out: Path) -> list[tuple[int, float]]:
    """Step and loss of each logged step."""
    lines = read_metrics(out / "metrics.jsonl")
    return [(line["step"], line["loss"]) for line in lines if line["kind"] == "train"]


def kill_all(run: subprocess.Popen[bytes]) -> None:
    """End the run and everything it started at once."""
    family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    for process in family:
        process.kill()
    run.wait()


def kill_one(run: subprocess.Popen[bytes], draw: random.Random) -> None:
    """End one rank."""
    ranks = [child for child in psutil.Process(run.pid).children() if "usfmae" in " ".join(child.cmdline())]
    draw.choice(ranks).kill()


def wait_for_step(run: subprocess.Popen[bytes], out: Path, step: int, *, limit_s: float = LIMIT_S) -> None:
    """Until a step is logged; a run that ends before is a failure."""
    until = time.monotonic() + limit_s
    while max((done for done, _ in losses(out)), default=0) < step:
        if run.poll() is not None or time.monotonic() > until:
            sys.exit(f"the run ended or hung before step {step} (exit status {run.poll()})")
        time.sleep(0.005)


def disturbed(given: argparse.Namespace, out: Path, total: int) -> dict[str, int]:
    """The run with kills at random steps, to its end; how many of which kind."""
    draw = random.Random(given.seed)
    counts = {"one": 0, "all": 0}
    run = start(given, out)
    for number, step in enumerate(sorted(draw.sample(range(1, total), given.kills))):
        wait_for_step(run, out, step)
        time.sleep(draw.uniform(0, 0.3))
        if run.poll() is not None:
            break  # it ended before the kill: nothing is left to disturb
        if given.ranks > 1 and number % 2 == 0:
            counts["one"] += 1
            kill_one(run, draw)
            wait_until_cut_back(run, out, step)
        else:
            counts["all"] += 1
            kill_all(run)
            run = start(given, out)
            wait_until_cut_back(run, out, step)
    if run.wait(LIMIT_S) != 0:
        sys.exit(f"the last run failed (exit status {run.returncode})")
    return counts


def wait_until_cut_back(run: subprocess.Popen[bytes], out: Path, step: int) -> None:
    """Until a run that goes on has cut its log back to a checkpoint, or ends."""
    until = time.monotonic() + LIMIT_S
    changed = (out / "metrics.jsonl").stat().st_ino
    while (out / "metrics.jsonl").stat().st_ino == changed and run.poll() is None:
        if time.monotonic() > until:
            sys.exit(f"the run did not go on after the kill at step {step}")
        time.sleep(0.01)


def facts(out: Path) -> dict[str, object]:
    """What must be equal."""
    last = sorted((out / "checkpoints").iterdir())[-1]
    files = {path.name: file_sha256(path) for path in sorted(last.glob("*.safetensors"))}
    return {"weights": file_sha256(out / "weights.safetensors"), **files, "losses": losses(out)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--parallel", choices=["ddp", "fsdp"], default="ddp")
    parser.add_argument("--epochs", default=EPOCHS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder) / "whole", Path(folder) / "cut"
        began = time.perf_counter()
        if start(given, whole).wait() != 0:
            sys.exit("the undisturbed run failed")
        seconds = time.perf_counter() - began
        total = json.loads((whole / "run.json").read_text())["total_steps"]
        if total <= given.kills:
            sys.exit(f"{total} steps are too few for {given.kills} kills: raise --epochs")
        kills = disturbed(given, cut, total)
        one, two = facts(whole), facts(cut)
        same = {name: one[name] == two.get(name) for name in one}
        pairs = list(zip(losses(whole), losses(cut), strict=True))
        largest = max(abs(a - b) if i == j else float("inf") for (i, a), (j, b) in pairs)
    print(
        f"undisturbed {seconds:.1f} s, {total} steps; kills of one rank {kills['one']}, of all {kills['all']}"
    )
    print(f"equal to the bit: {same}; largest difference in loss {largest:.1e}")
    print(
        json.dumps(
            {
                "benchmark": "kill_pretrain", "ranks": given.ranks, "parallel": given.parallel,
                "kills": kills, "equal": same, "largest_loss_difference": largest,
            }
        )
    )  # fmt: skip
    if not (all(same.values()) if given.ranks == 1 else largest <= 1e-6):
        sys.exit("the resumed run differs")


if __name__ == "__main__":
    main()
