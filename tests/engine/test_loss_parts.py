import pytest
import torch
from small_loop import run, squared_error

from usfmae.engine.loss_parts import LossInParts, named, total_of
from usfmae.engine.metrics_log import read_metrics


def in_parts(module, part) -> LossInParts:
    """The same loss as a sum of two: of it all and of nothing."""
    error = squared_error(module, part)
    return LossInParts(error + 2 * error.new_tensor(3.0) - 6, {"error": error, "constant": error * 0 + 3})


def test_names_and_values_by_hand():
    loss = torch.tensor(5.0, requires_grad=True)
    assert total_of(loss) is loss
    assert {name: value.item() for name, value in named(loss).items()} == {"loss": 5}
    both = LossInParts(2 * loss, {"pixels": loss})
    assert {name: value.item() for name, value in named(both).items()} == {"loss": 10, "loss_pixels": 5}
    assert not any(value.requires_grad for value in named(both).values())


def lines(out) -> list[dict]:
    return [line for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "train"]


@pytest.mark.parametrize("accumulate", [1, 4])
def test_parts_stand_beside_the_loss_as_means_over_the_steps_since_the_last_line(tmp_path, accumulate):
    run(tmp_path / "plain", accumulate=accumulate)
    run(tmp_path / "parts", step=in_parts, accumulate=accumulate)
    plain, parts = lines(tmp_path / "plain"), lines(tmp_path / "parts")
    assert not [name for name in plain[0] if name.startswith("loss_")]
    assert [line["step"] for line in parts] == [3, 6, 9, 12]
    for one, two in zip(plain, parts, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-6)
        assert two["loss_error"] == pytest.approx(one["loss"], abs=1e-6)
        assert two["loss_constant"] == pytest.approx(3, abs=1e-6)


def test_a_step_that_is_left_out_counts_in_no_part(tmp_path):
    seen = []

    def once_no_number(module, part) -> LossInParts:
        loss = in_parts(module, part)
        seen.append(loss.parts["error"].item())
        return LossInParts(loss.total * (float("nan") if len(seen) == 2 else 1), loss.parts)

    run(tmp_path, step=once_no_number, on_bad_step="skip", total=3)
    assert len(seen) == 3
    assert lines(tmp_path)[0]["loss_error"] == pytest.approx((seen[0] + seen[2]) / 2, rel=1e-6)
