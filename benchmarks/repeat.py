"""Does a run repeat itself? Its first steps again, with the same settings, seed and pool, loss by loss.

The run must have been trained with `loop.log_steps=1`. The repetition is stopped after so many steps.

Run:  python benchmarks/repeat.py RUN --corpus DIR [--weights START] [--steps 200]
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from kill_pretrain import losses, wait_for_step


def main() -> None:
    """Print how many losses are equal to the bit; fails unless all are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--weights", default="scratch", help="what the run started from")
    parser.add_argument("--steps", type=int, default=200)
    chosen = parser.parse_args()
    first = dict(losses(chosen.run))
    wanted = range(1, chosen.steps + 1)
    if not first.keys() >= set(wanted):
        sys.exit(f"{chosen.run} has not logged each of its first {chosen.steps} steps (loop.log_steps=1)")
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "again"
        words = ["pretrain", str(chosen.run), "--corpus", str(chosen.corpus), "--out", str(again)]
        run = subprocess.Popen(
            [sys.executable, "-m", "usfmae", *words, "--weights", chosen.weights], stderr=subprocess.DEVNULL
        )
        wait_for_step(run, again, chosen.steps, limit_s=3600)
        run.send_signal(signal.SIGINT)
        run.wait()
        second = dict(losses(again))
    equal = sum(first[step] == second.get(step) for step in wanted)
    print(f"{equal} of {chosen.steps} losses are equal to the bit; the last is {first[chosen.steps]!r}")
    print(json.dumps({"benchmark": "repeat", "steps": chosen.steps, "equal": equal}))
    if equal < chosen.steps:
        sys.exit(1)


if __name__ == "__main__":
    main()
