"""Processes that are killed while they make a cell, as the kernel kills them where memory is short."""

import signal
import subprocess
import sys

import pytest

from usfmae.base.files import read_json
from usfmae.evaluate.plan import Plan, PlanEncoder, PlanTask, PlanWay
from usfmae.evaluate.plan_attempts import attempt, clear_attempts, killed_attempts, lock_of
from usfmae.evaluate.plan_run import PlanRun, failed_file, state_of
from usfmae.evaluate.statistics import BootstrapConfig

BEGINS = """
import os, signal, sys
from pathlib import Path
from usfmae.evaluate.plan_attempts import attempt, killed_attempts
folder = Path(sys.argv[1])
before = killed_attempts(folder)
with attempt(folder, kills=before.num if before else int(sys.argv[2])):
    if len(sys.argv) > 3:
        (folder / sys.argv[3]).mkdir(parents=True)
        (folder / sys.argv[3] / "state.json").write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_in(folder, *, kills=0, checkpoint=None):
    """A process begins the cell, may write a checkpoint, and is killed."""
    words = [str(folder), str(kills), *([checkpoint] if checkpoint else [])]
    done = subprocess.run([sys.executable, "-c", BEGINS, *words], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.fixture
def cell(tmp_path):
    folder = tmp_path / "seed-0"
    lock_of(folder).mkdir()
    return folder


def test_kills_without_a_checkpoint_between_are_counted(cell):
    assert killed_attempts(cell) is None
    for num in (1, 2):
        killed_in(cell)
        assert killed_attempts(cell).num == num
    assert "killed, probably for memory (2 times without a new checkpoint, last process" in (
        killed_attempts(cell).reason
    )
    clear_attempts(cell)
    assert killed_attempts(cell) is None


def test_a_checkpoint_or_a_finished_split_begins_the_count_anew(cell):
    killed_in(cell)
    killed_in(cell, checkpoint="folds/fold-2/checkpoints/step_00000010")
    assert killed_attempts(cell).num == 0
    killed_in(cell)
    assert killed_attempts(cell).num == 1
    (cell / "folds/fold-2/fold.json").write_text("{}")
    assert killed_attempts(cell).num == 0


def test_an_error_leaves_nothing_behind(cell):
    with pytest.raises(KeyboardInterrupt), attempt(cell, kills=1):
        assert killed_attempts(cell).num == 2  # as it would be seen if this process were killed here
        raise KeyboardInterrupt
    assert killed_attempts(cell) is None


@pytest.fixture
def run(fake_bus_bra, tmp_path):
    made = Plan(
        tasks=(PlanTask(name="bus-bra", folds=(2,)),),
        encoders=(PlanEncoder(name="one"), PlanEncoder(name="other")),
        ways=(PlanWay(method="knn", settings=("k=5",)),),
        seeds=(0,),
        settings=("task.size_px=32", "network.image_px=16", "network.patch_px=8", "threads=1"),
        bootstrap=BootstrapConfig(num_resamples=100),
    )
    out = tmp_path / "out"
    return PlanRun(made, data=fake_bus_bra.parent, out=out, device="cpu", pool_of=lambda _: None, threads=1)


def test_a_cell_that_was_killed_once_is_made_as_if_nothing_had_been(run):
    folder = run.out / run.cells[0].folder
    lock_of(folder).mkdir(parents=True)
    killed_in(folder)
    assert list(run.killed()) == run.cells[:1]
    assert len(run.run().done) == 2
    assert run.killed() == {}


def test_a_cell_that_was_killed_twice_has_failed_and_is_tried_once_when_asked_again(run):
    folder = run.out / run.cells[0].folder
    lock_of(folder).mkdir(parents=True)
    killed_in(folder)
    assert run.run(try_killed=False).elsewhere == run.cells[:1]  # another process is to try it
    killed_in(folder)
    state = run.run()
    assert state.done == run.cells[1:]
    assert "killed, probably for memory (2 times" in state.failed[run.cells[0]]
    assert state_of(run).failed == state.failed
    assert run.killed() == {}
    assert run.run(try_killers=False).failed == state.failed  # nobody has asked for it
    # Asked, and killed again, it has failed at once.
    killed_in(folder, kills=read_json(failed_file(folder))["kills"])
    assert "(2 times" in run.run().failed[run.cells[0]]
    # Asked once more with memory enough, it is made.
    assert len(run.run().done) == 2
    assert not failed_file(folder).exists()
