import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_loop import TOTAL, batch, batches_from, equal, net, run, squared_error
from torch import nn

from usfmae.base.errors import TrainingError
from usfmae.base.interrupt import Interrupted
from usfmae.engine.checkpoint import Checkpoint, find_checkpoints
from usfmae.engine.loop import LoopConfig, train
from usfmae.engine.metrics_log import read_metrics
from usfmae.engine.optim import OptimConfig, build_optimizer
from usfmae.engine.ranks import Ranks
from usfmae.engine.schedule import Schedule


def stop_at(step: int, how):
    def batches(first: int) -> Iterator[tuple[torch.Tensor, ...]]:
        for number in range(first, TOTAL):
            if number == step:
                how()
            yield batch(number)

    return batches


def fail() -> None:
    raise RuntimeError("power cut")


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("killed_at", [1, 4, 5, 11])
def test_a_resumed_run_ends_on_the_same_bits(tmp_path, killed_at):
    undisturbed, _ = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", batches=stop_at(killed_at, fail))
    resumed, result = run(tmp_path / "cut")
    assert result.steps_done == TOTAL
    assert equal(resumed, undisturbed)
    one, two = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert [(line["step"], line["lr"]) for line in one] == [(line["step"], line["lr"]) for line in two]
    assert one[-1]["loss"] == two[-1]["loss"]


def test_ctrl_c_writes_a_checkpoint_before_it_stops(tmp_path):
    undisturbed, _ = run(tmp_path / "whole")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="stopped after step 7 of 12; a checkpoint was written"):
        run(tmp_path / "cut", batches=stop_at(6, interrupt))
    assert find_checkpoints(tmp_path / "cut")[-1].step == 7
    assert equal(run(tmp_path / "cut")[0], undisturbed)
    assert signal.getsignal(signal.SIGINT) is before


def test_accumulating_parts_gives_the_result_of_the_whole_batch(tmp_path):
    def without_dropout() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))

    whole, _ = run(tmp_path / "whole", without_dropout())
    parts, _ = run(tmp_path / "parts", without_dropout(), accumulate=4)  # 6 images in parts of 2, 2, 1, 1
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_batch_and_checkpoint(tmp_path):
    def poisoned(first: int) -> Iterator[tuple[torch.Tensor, ...]]:
        for number in range(first, TOTAL):
            inputs, targets = batch(number)
            yield inputs, targets * (float("nan") if number == 6 else 1)

    with pytest.raises(TrainingError, match=r"not a finite number at step 6 .*step_00000004") as e:
        run(tmp_path, batches=poisoned)
    assert "lower optim.lr_per_256" in e.value.hint
    kept = load_file(tmp_path / "bad_batch.safetensors")
    assert torch.equal(kept["tensor_0"], batch(6)[0])
    assert [c.step for c in find_checkpoints(tmp_path)] == [4]
    good = load_file(tmp_path / "checkpoints/step_00000004/model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in good.values())


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    run(tmp_path, checkpoint_steps=2, keep_checkpoints=3)
    assert [c.step for c in find_checkpoints(tmp_path)] == [8, 10, 12]


def test_a_damaged_checkpoint_is_named_and_refused(tmp_path):
    run(tmp_path)
    path = tmp_path / "checkpoints/step_00000012/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(TrainingError, match=r"model\.safetensors: is damaged \(checksum differs\)") as caught:
        run(tmp_path)
    assert "step_00000012" in caught.value.hint
    path.unlink()
    with pytest.raises(TrainingError, match=r"model\.safetensors: is missing"):
        run(tmp_path)


@pytest.mark.parametrize("content", ["{}", "[]", '{"step": 4, "sha256": {}}', "{", None])
def test_a_checkpoint_whose_state_is_damaged_says_how_to_go_on(tmp_path, content):
    run(tmp_path)
    state = find_checkpoints(tmp_path)[-1].path / "state.json"
    state.unlink() if content is None else state.write_text(content)
    with pytest.raises(TrainingError, match=r"state\.json: (is damaged|cannot be read|no such)") as caught:
        run(tmp_path)
    assert caught.value.hint.startswith(f"delete {state.parent} to go on from the checkpoint before it")


class Elsewhere(Ranks):
    """A rank on a machine without the folder in which the first one has a checkpoint of step 8."""

    def first(self, work):
        work()
        return [Checkpoint(Path("/nowhere/checkpoints/step_00000008"), 8)]


def test_a_rank_that_does_not_see_the_checkpoint_to_go_on_from_says_so(tmp_path):
    with pytest.raises(TrainingError, match=r"step_00000008: is not there for all processes") as caught:
        run(tmp_path, given={"ranks": Elsewhere()})
    assert caught.value.hint == "--out must be on a disk that all machines share"


def test_a_copy_beside_the_checkpoints_is_none(tmp_path):
    run(tmp_path)
    newest = find_checkpoints(tmp_path)[-1]
    shutil.copytree(newest.path, newest.path.with_name(f"{newest.path.name}_backup"))
    assert find_checkpoints(tmp_path)[-1] == newest


def test_a_finished_run_is_not_stepped_again(tmp_path):
    module, _ = run(tmp_path)
    again, result = run(tmp_path)
    assert equal(module, again)
    assert (result.steps_done, result.images_per_s) == (TOTAL, 0)


def test_the_learning_rate_of_a_group_is_scaled(tmp_path):
    module = net()
    optimizer = build_optimizer(module, OptimConfig())
    for group in optimizer.param_groups:
        group["lr_scale"] = 0.0
    before = [p.clone() for p in module.parameters()]
    train(
        module, squared_error, batches_from, out=tmp_path, config=LoopConfig(precision="fp32"),
        optimizer=optimizer, schedule=Schedule(peak=1, floor=0, warmup_steps=0, total_steps=3),
        clip_norm=None, steps_per_epoch=1, seed=0,
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
