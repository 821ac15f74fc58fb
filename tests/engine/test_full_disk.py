"""A full disk: simulated by a limit on the size of files, which like it is met in the middle of a write."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from small_loop import until_written
from torch import nn

from usfmae.base.errors import FolderError
from usfmae.engine.checkpoint import find_checkpoints
from usfmae.engine.loop import LoopConfig, train
from usfmae.engine.metrics_log import MetricsLog, read_metrics
from usfmae.engine.optim import OptimConfig, build_optimizer
from usfmae.engine.schedule import Schedule

TOTAL = 12
HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]


LIMITED_BY: list[object] = []
"""Who holds the limit. Batches that were interrupted hold one until they are collected, which may be in the
middle of another test: they must not lift that test's."""


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    me = object()
    LIMITED_BY[:] = [me]
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, HARD))
    try:
        yield
    finally:
        if me in LIMITED_BY:
            make_room()


@pytest.fixture(autouse=True)
def room_afterwards() -> Iterator[None]:
    yield
    make_room()


def make_room() -> None:
    LIMITED_BY.clear()
    resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))


def full_during(steps: range):
    """Batches; while one of `steps` is made, and until the next batch is asked for, no checkpoint fits."""

    def batches(first: int) -> Iterator[tuple[torch.Tensor, ...]]:
        for number in range(first, TOTAL):
            made = (torch.randn(4, 4, generator=torch.Generator().manual_seed(number)),)
            until_written()
            if number in steps:
                with largest_file(100_000):
                    yield made
                    until_written()
            else:
                yield made

    return batches


def run(out: Path, *, full: range = range(0), hooks=(), **config) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Linear(4, 20_000)  # 400 kB
    train(
        module,
        lambda net, part: net(part[0]).square().mean(),
        full_during(full),
        out=out,
        config=LoopConfig(precision="fp32", checkpoint_steps=2, log_steps=1, **config),
        optimizer=build_optimizer(module, OptimConfig()),
        schedule=Schedule(peak=0.05, floor=0, warmup_steps=2, total_steps=TOTAL),
        clip_norm=1.0,
        steps_per_epoch=6,
        seed=0,
        hooks=hooks,
    )
    return module


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_at_a_checkpoint_keeps_the_one_before_and_the_run(tmp_path, caplog, background):
    undisturbed = run(tmp_path / "whole")
    kept = []
    watch = lambda step: kept.append([c.step for c in find_checkpoints(tmp_path / "cut")]) or []  # noqa: E731
    module = run(tmp_path / "cut", full=range(3, 8), hooks=[watch], async_checkpoints=background)
    # Hooks run before the checkpoint of their step. 4, 6 and 8 do not fit; 10 does.
    assert kept == [[], [], *[[2]] * 8, [2, 10], [2, 10]]
    assert [c.step for c in find_checkpoints(tmp_path / "cut")] == [10, 12]
    assert torch.equal(module.weight, undisturbed.weight)
    warnings = [record.message for record in caplog.records if "is kept" in record.message]
    assert len(warnings) == 3
    assert "step_00000004: cannot be written (File too large)" in warnings[0]
    assert not list((tmp_path / "cut").rglob(".partial-*"))


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_at_the_end_is_an_error_and_the_run_is_finished_later(tmp_path, background):
    undisturbed = run(tmp_path / "whole")
    with pytest.raises(FolderError, match="step_00000012: cannot be written") as caught:
        run(tmp_path / "cut", full=range(11, 12), async_checkpoints=background)
    make_room()  # the batches that were interrupted still hold the limit
    assert caught.value.hint.endswith("(ulimit -f); raise that, then go on with --resume")
    assert find_checkpoints(tmp_path / "cut")[-1].step == 10
    assert torch.equal(run(tmp_path / "cut").weight, undisturbed.weight)


def test_where_no_checkpoint_was_written_none_is_said_to_be_kept(tmp_path, caplog):
    run(tmp_path, full=range(1, 4))
    assert caplog.text.count("(File too large); none was written yet, the next one is tried again") == 2
    assert "is kept" not in caplog.text


def test_a_picture_that_does_not_fit_does_not_end_the_run(tmp_path, caplog):
    def full(step: int):
        raise FolderError("pictures: cannot be written (No space left on device)")

    run(tmp_path, hooks=[full])
    assert find_checkpoints(tmp_path)[-1].step == TOTAL
    assert "No space left on device); the run goes on" in caplog.text


def test_lines_that_do_not_fit_wait_until_there_is_room(tmp_path, caplog):
    log = MetricsLog(tmp_path)
    log.write("train", step=1, loss=1.0)
    log._board.flush()  # or its thread would meet the limit too
    size = log.path.stat().st_size
    with largest_file(size + 10):  # less than one line more
        for step in (2, 3):
            log._append(json.dumps({"kind": "train", "step": step}) + "\n")
        assert log.path.stat().st_size == size
    log.write("train", step=4, loss=0.5)
    log.close()
    assert [line["step"] for line in read_metrics(log.path)] == [1, 2, 3, 4]
    assert caplog.text.count("lines are kept until there is room") == 1


def test_a_tensorboard_that_cannot_be_written_does_not_end_the_run(tmp_path, caplog, monkeypatch):
    def full(*_args):
        raise OSError(27, "File too large")

    log = MetricsLog(tmp_path)
    board = log._board
    monkeypatch.setattr(board, "add_scalar", full)
    for step in (1, 2):
        log.write("train", step=step, loss=1.0)
    log.close()
    board.close()
    assert [line["step"] for line in read_metrics(log.path)] == [1, 2]
    assert caplog.text.count("TensorBoard's file cannot be written") == 1
