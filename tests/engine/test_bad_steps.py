"""Steps that go wrong on purpose, in a loop of 12 steps on a tiny network."""

import signal

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_loop import TOTAL, batch, batches_from, equal, run, until_written

from usfmae.base.errors import TrainingError
from usfmae.base.interrupt import Interrupted
from usfmae.engine.bad_steps import MAX_KEPT, MIN_SEEN, BadSteps, SpikeWatch, Unseen
from usfmae.engine.checkpoint import find_checkpoints
from usfmae.engine.metrics_log import read_metrics
from usfmae.engine.ranks import ALONE


def with_nan_at(*bad: int):
    """The usual batches, but not a number in some."""

    def batches(first: int):
        for step in range(first, TOTAL):
            inputs, targets = batch(step)
            yield (inputs, targets * float("nan") if step in bad else targets)

    return batches


def lines_of(out, kind):
    return [line for line in read_metrics(out / "metrics.jsonl") if line["kind"] == kind]


def test_a_skipped_step_is_counted_and_logged_and_the_run_goes_on(tmp_path):
    module, ended = run(tmp_path, batches=with_nan_at(3, 4), on_bad_step="skip")
    assert ended.steps_done == TOTAL
    assert all(torch.isfinite(weight).all() for weight in module.parameters())
    assert [(line["at"], line["seed"], line["loss"]) for line in lines_of(tmp_path, "bad_step")] == [
        (3, 0, "nan"), (4, 0, "nan"),
    ]  # fmt: skip
    assert all(line["loss"] == line["loss"] for line in lines_of(tmp_path, "train"))


def test_a_skipped_update_leaves_weights_and_averages_as_they_were(tmp_path):
    # Not a number in the last step alone: the run ends where one that is a step shorter does.
    ends = run(tmp_path / "a", batches=with_nan_at(TOTAL - 1), on_bad_step="skip", checkpoint_steps=11)[0]
    before = load_file(tmp_path / "a/checkpoints/step_00000011/model.safetensors")
    assert all(torch.equal(weight, before[name]) for name, weight in ends.state_dict().items())


def test_a_run_with_skipped_steps_resumes_on_the_same_bits(tmp_path):
    whole = run(tmp_path / "a", batches=with_nan_at(3, 9), on_bad_step="skip")[0]

    def cut(first):
        for step, one in enumerate(with_nan_at(3, 9)(first), start=first):
            if step == 10:
                raise RuntimeError("power cut")
            yield one

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "b", batches=cut, on_bad_step="skip")
    assert equal(run(tmp_path / "b", batches=with_nan_at(3, 9), on_bad_step="skip")[0], whole)


def test_too_many_in_a_row_stop_the_run_and_keep_the_batch(tmp_path):
    with pytest.raises(TrainingError, match=r"at step 6 .*3 times in a row.*bad_batch.safetensors"):
        run(tmp_path, batches=with_nan_at(4, 5, 6), on_bad_step="skip", max_bad_in_row=2)
    with safe_open(tmp_path / "bad_batch.safetensors", "pt") as file:
        assert file.metadata() == {"step": "6", "seed": "0"}
        assert torch.equal(file.get_tensor("tensor_0"), batch(6)[0])


def test_a_good_step_between_starts_the_count_anew():
    steps = BadSteps("skip", 1)
    assert not steps.bad()
    steps.good()
    assert not steps.bad()
    assert steps.bad()
    assert steps.total == 3


def test_by_default_the_first_bad_step_stops():
    assert BadSteps("stop", 5).bad()
    assert not BadSteps("skip", 5).bad()


def looks_seldom(monkeypatch) -> None:
    """As on a GPU: only where a line or a checkpoint is due."""
    monkeypatch.setattr("usfmae.engine.loop.LOOKED_AT_ONCE", set())


def test_a_bad_step_that_is_seen_later_is_named_and_kept_itself(tmp_path, monkeypatch):
    looks_seldom(monkeypatch)
    # Three tenths down the cosine from .05: .05 * (1 + cos(.3 pi)) / 2 = .0397.
    with pytest.raises(TrainingError, match=r"at step 5 \(learning rate 3.97e-02\)"):
        run(tmp_path, batches=with_nan_at(5), log_steps=100, checkpoint_steps=11)
    with safe_open(tmp_path / "bad_batch.safetensors", "pt") as file:
        assert file.metadata() == {"step": "5", "seed": "0"}
        assert torch.equal(file.get_tensor("tensor_0"), batch(5)[0])


def test_a_run_that_is_stopped_before_a_bad_step_is_seen_writes_no_checkpoint_of_it(tmp_path, monkeypatch):
    looks_seldom(monkeypatch)

    def stopped(first):
        for step, one in enumerate(with_nan_at(5)(first), start=first):
            if step == 7:
                signal.raise_signal(signal.SIGTERM)
            yield one

    with pytest.raises(TrainingError, match=r"at step 5 .*the last good checkpoint is .*step_00000004;"):
        run(tmp_path, batches=stopped, log_steps=100, checkpoint_steps=4, on_bad_step="stop")
    assert [done.step for done in find_checkpoints(tmp_path)] == [4]


def test_a_gradient_that_is_not_finite_is_seen_though_the_loss_is():
    unseen, one = Unseen(), torch.tensor(1.0)
    for step in range(4):
        unseen.add(step, one, one * float("inf") if step == 2 else one)
    assert unseen.first_bad(ALONE) == 2
    assert unseen.first_bad(ALONE) is None  # each is looked at once


def test_no_checkpoint_is_written_while_steps_are_left_out(tmp_path):
    # Due after 2, 4, 6, 8 ... steps; the fourth to the sixth are bad, so that of 4 waits for the seventh.
    # Hooks run before the checkpoint of their step.
    seen = []

    def look(_step):
        until_written()
        seen.append([c.step for c in find_checkpoints(tmp_path)])
        return []

    run(
        tmp_path,
        batches=with_nan_at(3, 4, 5),
        on_bad_step="skip",
        checkpoint_steps=2,
        given={"hooks": [look]},
    )
    assert seen[:9] == [[], [], *[[2]] * 5, [2, 7], [7, 8]]


def test_a_diverged_run_does_not_begin_to_count_anew_when_it_is_resumed(tmp_path):
    bad = with_nan_at(*range(5, TOTAL))
    said = r"at step 8 .*4 times in a row; the last good checkpoint is .*step_00000005;"
    for _ in range(3):
        with pytest.raises(TrainingError, match=said) as caught:
            run(tmp_path, batches=bad, on_bad_step="skip", max_bad_in_row=3, checkpoint_steps=1)
    assert caught.value.hint.startswith("start again (--overwrite, or another --out) with one of: lower")
    assert "fp32" not in caught.value.hint  # it is that already
    assert [done.step for done in find_checkpoints(tmp_path)] == [4, 5]


def test_a_signal_during_steps_that_are_left_out_waits_for_a_good_one(tmp_path):
    def stopped(first):
        for step, one in enumerate(with_nan_at(5, 6)(first), start=first):
            if step == 5:
                signal.raise_signal(signal.SIGTERM)
            yield one

    with pytest.raises(Interrupted, match="stopped after step 8 of 12"):
        run(tmp_path, batches=stopped, on_bad_step="skip")
    assert find_checkpoints(tmp_path)[-1].step == 8


def test_where_every_step_of_a_line_is_bad_there_is_no_line(tmp_path):
    run(tmp_path, batches=with_nan_at(3, 4, 5), on_bad_step="skip", log_steps=3)
    assert [line["step"] for line in lines_of(tmp_path, "train")] == [3, 9, 12]


def test_a_skipped_step_is_no_spike_and_shifts_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr("usfmae.engine.bad_steps.MIN_SEEN", 3)

    def batches(first):
        for step, (inputs, targets) in enumerate(with_nan_at(4)(first), start=first):
            yield inputs, (100 * targets if step == 5 else targets)

    run(tmp_path, batches=batches, on_bad_step="skip", given={"spikes": SpikeWatch(tmp_path, 0, 50.0)})
    assert [line["at"] for line in lines_of(tmp_path, "spike")] == [5]


def spiky(num: int, *, at: dict[int, float]) -> list[tuple[int, float]]:
    return [(step, at.get(step, 1.0)) for step in range(num)]


def test_a_spike_is_kept_with_step_and_seed(tmp_path, caplog):
    watch = SpikeWatch(tmp_path, 7, 3.0)
    lines = watch.see(spiky(40, at={30: 3.5}), batch)
    name = "spikes/step_00000030.safetensors"
    assert lines == [{"at": 30, "loss": 3.5, "median": 1.0, "seed": 7, "file": name}]
    with safe_open(tmp_path / name, "pt") as file:
        assert file.metadata() == {"step": "30", "seed": "7", "loss": "3.5", "median": "1"}
        assert torch.equal(file.get_tensor("tensor_1"), batch(30)[1])
    assert "the loss of step 30 is 3.5, 3.5 times the median" in caplog.text


def test_what_is_no_spike(tmp_path):
    watch = SpikeWatch(tmp_path, 0, 3.0)
    assert watch.see(spiky(MIN_SEEN, at={MIN_SEEN - 1: 50.0}), batch) == []  # too early to tell
    assert watch.see([(MIN_SEEN, 3.0)], batch) == []  # three times, not more
    assert not (tmp_path / "spikes").exists()


def test_the_median_follows_a_loss_that_falls(tmp_path):
    watch = SpikeWatch(tmp_path, 0, 3.0)
    assert watch.see(spiky(1000, at={}), batch) == []
    assert watch.see([(1000 + step, 0.1) for step in range(150)], batch) == []
    assert [line["at"] for line in watch.see([(1150, 0.5)], batch)] == [1150]


def test_five_are_kept_the_rest_is_only_logged(tmp_path):
    lines = SpikeWatch(tmp_path, 0, 3.0).see(spiky(90, at=dict.fromkeys(range(80, 88), 9.0)), batch)
    assert [line["file"] is not None for line in lines] == [True] * MAX_KEPT + [False] * 3
    assert len(list((tmp_path / "spikes").iterdir())) == MAX_KEPT


def test_the_loop_looks_for_spikes_and_no_weight_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("usfmae.engine.bad_steps.MIN_SEEN", 3)
    quiet = run(tmp_path / "a")[0]
    watch = SpikeWatch(tmp_path / "b", 0, 1.0001)
    assert equal(run(tmp_path / "b", given={"spikes": watch})[0], quiet)
    lines = lines_of(tmp_path / "b", "spike")
    assert lines
    for line in lines:
        kept = load_file(tmp_path / "b" / line["file"])
        assert torch.equal(kept["tensor_0"], next(iter(batches_from(line["at"])))[0])
