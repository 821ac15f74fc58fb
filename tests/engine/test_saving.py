"""Checkpoints that a thread writes: what they hold, what waits for them, what becomes of their errors."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file
from small_loop import TOTAL, batch, equal, net, run, until_written
from torch import nn

from usfmae.base.errors import FolderError, TrainingError
from usfmae.base.interrupt import Interrupted
from usfmae.engine.checkpoint import find_checkpoints, load_checkpoint
from usfmae.engine.optim import OptimConfig, build_optimizer
from usfmae.engine.saving import THREAD, HostCopy, saving


def writing() -> bool:
    return any(thread.name == THREAD for thread in threading.enumerate())


def write_by(monkeypatch, how: Callable[[dict[str, torch.Tensor], Path], None]) -> None:
    """What safetensors does is done by `how`."""
    monkeypatch.setattr("usfmae.engine.checkpoint.save_file", how)


@pytest.fixture
def disk(monkeypatch) -> Iterator[threading.Event]:
    """A disk that takes nothing in before it is set."""
    ready = threading.Event()

    def held(tensors, path):
        assert ready.wait(60)
        safetensors.torch.save_file(tensors, path)

    write_by(monkeypatch, held)
    yield ready
    ready.set()


def calling(step: int, what: Callable[[], None]):
    """Batches; `what` is called before that of `step` is made."""

    def batches(first: int) -> Iterator[tuple[torch.Tensor, ...]]:
        for number in range(first, TOTAL):
            if number == step:
                what()
            yield batch(number)

    return batches


def later(what: threading.Event) -> Callable[[], None]:
    """Sets it in a moment, when whoever calls this waits for it."""
    return lambda: threading.Timer(0.3, what.set).start()


def steps_of(run: Path) -> list[int]:
    return [done.step for done in find_checkpoints(run)]


def files_of(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes()
        for done in find_checkpoints(run)
        for path in done.path.iterdir()
    }


def test_a_copy_does_not_follow_what_it_was_made_of():
    tensors = {
        "matrix": torch.arange(6.0).reshape(2, 3).t(),  # not contiguous
        "half": torch.ones(3, dtype=torch.bfloat16),
        "step": torch.tensor(7),
        "weight": nn.Parameter(torch.ones(2)),
    }
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    copied = HostCopy().of({"file": tensors})["file"]
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.zero_()
    for name, value in copied.items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype
        assert value.is_contiguous()
        assert not value.requires_grad


def test_the_next_copy_takes_the_memory_of_the_one_before():
    copy, weight = HostCopy(), torch.ones(3)
    first = copy.of({"file": {"weight": weight}})["file"]["weight"]
    place = first.data_ptr()
    again = copy.of({"file": {"weight": 2 * weight}})["file"]["weight"]
    assert (again.data_ptr(), again.tolist()) == (place, [2, 2, 2])
    grown = copy.of({"file": {"weight": torch.ones(4)}})["file"]["weight"]
    assert grown.tolist() == [1, 1, 1, 1]


def test_checkpoints_are_the_same_to_the_byte_whoever_writes_them(tmp_path):
    one, two = tmp_path / "thread", tmp_path / "loop"
    nets = [
        run(out, checkpoint_steps=2, keep_checkpoints=TOTAL, async_checkpoints=out == one)[0]
        for out in (one, two)
    ]
    assert len(files_of(one)) == 3 * TOTAL // 2
    assert files_of(one) == files_of(two)
    assert equal(*nets)


def test_training_goes_on_while_a_checkpoint_is_written_and_it_holds_the_weights_of_its_step(tmp_path, disk):
    seen = []

    def look() -> None:  # three steps after the checkpoint of 4 was begun
        seen.extend([writing(), find_checkpoints(tmp_path / "thread")])
        disk.set()

    disk.set()
    run(tmp_path / "loop", async_checkpoints=False, keep_checkpoints=3)
    disk.clear()
    run(tmp_path / "thread", batches=calling(7, look), keep_checkpoints=3)
    assert seen == [True, []]
    assert files_of(tmp_path / "thread") == files_of(tmp_path / "loop")


def test_a_checkpoint_waits_for_the_one_before(tmp_path, disk):
    made = []

    def batches(first: int) -> Iterator[tuple[torch.Tensor, ...]]:
        for number in range(first, TOTAL):
            made.append(number)
            if number == 3:  # the step after which the second checkpoint is due
                threading.Timer(0.3, open_disk).start()
            yield batch(number)

    def open_disk() -> None:
        made.append("ready")
        disk.set()

    run(tmp_path, batches=batches, checkpoint_steps=2)
    assert made == [0, 1, 2, 3, "ready", *range(4, TOTAL)]
    assert steps_of(tmp_path) == [10, 12]


def test_a_signal_ends_a_run_when_what_was_begun_and_its_own_checkpoint_are_whole(tmp_path, disk):
    def stop() -> None:
        later(disk)()
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped after step 6 of 12"):
        run(tmp_path, batches=calling(5, stop))
    assert not writing()
    assert steps_of(tmp_path) == [4, 6]
    assert equal(run(tmp_path)[0], run(tmp_path / "whole")[0])


def test_a_run_that_fails_ends_when_what_was_begun_is_whole(tmp_path, disk, caplog):
    caplog.set_level(logging.INFO)

    def fail() -> None:
        later(disk)()
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, batches=calling(6, fail))
    assert not writing()
    assert steps_of(tmp_path) == [4]
    assert "the checkpoint of step 4 is being finished" in caplog.text


def test_a_run_whose_loss_is_no_number_names_the_checkpoint_that_was_being_written(tmp_path, disk):
    def batches(first: int) -> Iterator[tuple[torch.Tensor, ...]]:
        for number, (inputs, targets) in enumerate(calling(6, later(disk))(first)):
            yield inputs, targets * (float("nan") if number == 6 else 1)

    with pytest.raises(TrainingError, match=r"at step 6 .*the last good checkpoint is .*step_00000004;"):
        run(tmp_path, batches=batches)


def no_room(_tensors, _path) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_when_it_is_met(tmp_path, monkeypatch, caplog):
    write_by(monkeypatch, no_room)
    told = []

    def look() -> None:
        told.append(caplog.text.count("step_00000004: cannot be written (No space left on device); none was"))
        write_by(monkeypatch, safetensors.torch.save_file)

    def batches(first: int) -> Iterator[tuple[torch.Tensor, ...]]:
        for one in calling(6, look)(first):
            until_written()
            yield one

    run(tmp_path, batches=batches)
    assert told == [1]
    assert steps_of(tmp_path) == [8, 12]


def test_what_goes_wrong_in_the_thread_ends_the_run(tmp_path, monkeypatch):
    def broken(_tensors, _path):
        raise ValueError("a bug")

    write_by(monkeypatch, broken)
    with pytest.raises(ValueError, match="a bug"):
        run(tmp_path)
    assert not list(tmp_path.rglob(".partial-*"))


def test_what_goes_wrong_in_the_thread_does_not_hide_why_a_run_ended(tmp_path, monkeypatch, caplog):
    release = threading.Event()

    def broken(_tensors, _path):
        release.wait(60)
        raise ValueError("a bug")

    def fail() -> None:
        later(release)()
        raise RuntimeError("power cut")

    write_by(monkeypatch, broken)
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, batches=calling(6, fail))
    assert "the last checkpoint could not be written (ValueError: a bug)" in caplog.text


def test_without_memory_for_a_copy_the_loop_waits(tmp_path, monkeypatch, caplog):
    def none_left(*_args, **_kwargs):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    whole = run(tmp_path / "whole", async_checkpoints=False)[0]
    start = net()
    monkeypatch.setattr(torch, "empty", none_left)
    assert equal(run(tmp_path / "cut", start)[0], whole)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    assert caplog.text.count("no memory is left for a copy of the weights: training waits") == 1


def test_a_needed_checkpoint_that_does_not_fit_is_an_error_though_its_step_was_begun(tmp_path, monkeypatch):
    module = net()
    optimizer = build_optimizer(module, OptimConfig())
    write_by(monkeypatch, no_room)
    with saving(tmp_path, module, optimizer, keep=2, background=True) as saver:
        saver.save(1, needed=False)
        with pytest.raises(FolderError, match="step_00000001: cannot be written"):
            saver.save(1, needed=True)
        write_by(monkeypatch, safetensors.torch.save_file)
        saver.save(1, needed=True)
    assert steps_of(tmp_path) == [1]


def test_a_checkpoint_that_is_there_is_not_written_again(tmp_path, monkeypatch):
    module = net()
    optimizer = build_optimizer(module, OptimConfig())
    with saving(tmp_path, module, optimizer, keep=2, background=True) as saver:
        saver.save(3, needed=False)
        saver.settle()
        write_by(monkeypatch, no_room)
        saver.save(3, needed=True)
    assert (
        load_file(find_checkpoints(tmp_path)[0].path / "model.safetensors").keys()
        == module.state_dict().keys()
    )


LONG = 15
CHILD = """import sys, torch
from pathlib import Path
from test_saving import large
torch.set_num_threads(int(sys.argv[2]))  # those of the test, which another test may have changed
large(Path(sys.argv[1]))"""


def large(out: Path) -> nn.Module:
    """15 steps of a network of 8 MB with its averages, and a checkpoint after each."""
    batches = lambda first: (batch(step) for step in range(first, LONG))  # noqa: E731
    return run(out, large_net(), checkpoint_steps=1, batches=batches, total=LONG)[0]


def large_net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 800), nn.Linear(800, 800), nn.Linear(800, 1))


def test_a_kill_while_a_checkpoint_is_written_leaves_only_whole_ones(tmp_path):
    cut, tests = tmp_path / "cut", Path(__file__).parents[1]
    path = os.pathsep.join([str(tests / "helpers"), str(tests / "engine"), *sys.path])
    words = [sys.executable, "-c", CHILD, str(cut), str(torch.get_num_threads())]
    child = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path})
    try:
        until = time.monotonic() + 200
        while not (steps_of(cut) and list(cut.glob("checkpoints/.partial-*/model.safetensors"))):
            assert child.poll() is None
            assert time.monotonic() < until
    finally:
        child.kill()
        child.wait()
    assert list(cut.glob("checkpoints/.partial-*"))
    for done in find_checkpoints(cut):
        load_checkpoint(done, module=large_net())
    assert equal(large(cut), large(tmp_path / "whole"))
