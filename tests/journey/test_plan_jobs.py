"""A plan whose cells two processes share, through the command line."""

import json
import signal
import subprocess
import sys

import yaml

from usfmae.base.files import read_json, write_json
from usfmae.cli.main import main
from usfmae.datasets.fake import fake_dataset

PLAN = {
    "tasks": [{"name": "bus-bra", "folds": [2, 3]}],
    "encoders": [{"name": "small"}, {"name": "other", "settings": ["network.patch_px=16"]}],
    "ways": [{"method": "knn", "settings": ["k=5"]}],
    "seeds": [0],
    "settings": ["task.size_px=32", "network.image_px=16", "network.patch_px=8"],
    "bootstrap": {"num_resamples": 100},
}
KILLED = """
import os, signal, sys
from pathlib import Path
from usfmae.evaluate.plan_attempts import attempt, lock_of
folder = Path(sys.argv[1])
lock_of(folder).mkdir(parents=True)
with attempt(folder, kills=int(sys.argv[2])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_processes_make_all_cells_but_those_that_killed_twice(tmp_path, capfd):
    fake_dataset("bus-bra", tmp_path / "data/bus-bra", num_patients=30, variant="without-fold-1")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    out = tmp_path / "out"
    write_json(out / "plan.json", {})
    once, twice = (out / "cells/bus-bra/fold-2" / name / "knn/seed-0" for name in ("small", "other"))
    for folder, kills in ((once, 0), (twice, 1)):
        done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(kills)], check=False)
        assert done.returncode == -signal.SIGKILL
    words = ["evaluate", "compare", tmp_path / "plan.yaml", "--data", tmp_path / "data", "--out", out]
    assert main([str(word) for word in (*words, "--jobs", 2, "--resume", "--device", "cpu")]) == 3
    made = {path.parent for path in out.glob("cells/**/result.json")}
    assert len(made) == 3
    assert once in made
    assert (
        "killed, probably for memory (2 times" in read_json(twice.with_name("seed-0.failed.json"))["reason"]
    )
    record = json.loads((out / "comparison.json").read_text())
    assert (record["cells"]["done"], len(record["cells"]["failed"])) == (3, 1)
    assert record["cells"]["not_there"] == []
    assert "3 cells done, 1 failed" in (out / "report.html").read_text()
    threads = {read_json(folder / "result.json")["made_by"]["settings"]["threads"] for folder in made}
    assert len(threads) == 1  # the cores are divided between the two
    said = capfd.readouterr().err
    assert "failed: bus-bra fold-2, other, knn, seed 0: the process was killed" in said
