"""A plan one of whose contenders needs more memory than the process may have, through the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from usfmae.base.files import read_json
from usfmae.datasets.fake import fake_dataset

LIMITED = """
import resource, sys
from pathlib import Path
import torch
from usfmae.cli.main import main
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[1:]))
"""
"""The command in a process that may have 2 GiB more than the libraries take."""

LONG = "another network of a long name"
PLAN = {
    "tasks": [{"name": "bus-bra", "folds": [2]}],
    "encoders": [
        {"name": "small"},
        # 4,096 px: 30 images are 1.9 GiB as numbers beside 0.5 GiB as bytes; 16, standardised, 2 GiB.
        {"name": "huge", "settings": ["network.image_px=4096", "network.patch_px=512"]},
        {"name": LONG, "settings": ["network.patch_px=16"]},
    ],
    "ways": [
        {"method": "knn", "settings": ["k=5"]},
        {"method": "finetune", "settings": ["epochs=0.5", "batch=16", "loop.precision=fp32"]},
    ],
    "seeds": [0],
    "settings": ["task.size_px=32", "network.image_px=16", "network.patch_px=8", "threads=1"],
    "bootstrap": {"num_resamples": 100},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple["subprocess.CompletedProcess[str]", Path]:
    root = tmp_path_factory.mktemp("memory")
    fake_dataset("bus-bra", root / "data/bus-bra", num_patients=30, variant="without-fold-1")
    (root / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    words = ["evaluate", "compare", "plan.yaml", "--data", "data", "--out", "out", "--device", "cpu"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # threads reserve addresses, too
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *words],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, root / "out"


def test_the_exit_status_says_that_cells_failed_and_stderr_which(ran):
    done, _ = ran
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "failed: bus-bra fold-2, huge, knn, seed 0: out of memory" in done.stderr
    assert "failed: bus-bra fold-2, huge, finetune, seed 0: " in done.stderr


def test_each_failed_cell_has_its_reason_and_the_rest_is_done(ran):
    _, out = ran
    found = sorted(path.relative_to(out / "cells").parts[2:4] for path in out.glob("cells/**/result.json"))
    names = LONG.replace(" ", "-"), "small"
    assert found == [(name, method) for name in names for method in ("finetune", "knn")]
    failed = {path.parts[-2]: read_json(path)["reason"] for path in out.glob("cells/**/*.failed.json")}
    assert set(failed) == {"knn", "finetune"}
    assert failed["knn"].startswith("out of memory (")
    assert "DefaultCPUAllocator" in failed["knn"]  # PyTorch's own words
    assert failed["finetune"] == "cpu: a step on 16 images (16 at a time, fp32) needs too much memory"


def test_the_page_names_them_and_compares_what_is_there(ran):
    _, out = ran
    page = (out / "report.html").read_text()
    assert "4 cells done, 2 failed, 0 not yet there" in page
    assert "Failed cells" in page
    assert "huge, finetune, seed 0: cpu: a step on 16 images" in page
    record = read_json(out / "comparison.json")
    assert {(one["first"], one["rival"]) for one in record["comparisons"]} == {("small", LONG)}


def test_the_numbers_stand_below_each_other_however_long_a_name_is(ran):
    done, _ = ran
    head, *rows = done.stdout.splitlines()[:5]
    assert head.split() == ["task", "way", "encoder", "macro-F1", "AUROC"]
    assert {len(row) for row in rows} == {len(head)}
    assert sum(LONG in row for row in rows) == 2
