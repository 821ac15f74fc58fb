import pytest
import torch

from usfmae.base.errors import TrainingError
from usfmae.engine.memory import explain_out_of_memory

CPU = torch.device("cpu")


def out_of_memory(error: Exception, **changed) -> TrainingError:
    settings = {"accumulate": 2, "recomputes": False, "precision": "fp32", **changed}
    with pytest.raises(TrainingError) as caught, explain_out_of_memory(255, device=CPU, **settings):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA"), RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: no")],
)
def test_a_step_that_does_not_fit_names_what_would(error):
    said = out_of_memory(error)
    assert "a step on 255 images (128 at a time, fp32) needs too much memory" in said.message
    for way in ("loop.accumulate=4", "loop.activation_checkpointing=true", "loop.precision=bf16"):
        assert way in said.hint


def test_what_is_done_already_is_not_proposed():
    said = out_of_memory(torch.OutOfMemoryError(), accumulate=255, recomputes=True, precision="bf16")
    assert said.hint == "try a smaller global_batch or network"


def test_another_error_stays_what_it_is():
    with (
        pytest.raises(RuntimeError, match="shapes"),
        explain_out_of_memory(1, accumulate=1, recomputes=False, precision="fp32", device=CPU),
    ):
        raise RuntimeError("shapes do not match")
