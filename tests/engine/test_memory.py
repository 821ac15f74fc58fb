import pytest
import torch

from usfmae.base.errors import TrainingError
from usfmae.engine.memory import explain_lost_worker, explain_no_room, explain_out_of_memory

CPU = torch.device("cpu")


def out_of_memory(error: Exception, **changed) -> TrainingError:
    settings = {"accumulate": 2, "recomputes": False, "precision": "fp32", **changed}
    with pytest.raises(TrainingError) as caught, explain_out_of_memory(255, device=CPU, **settings):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: no"),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
)
def test_a_step_that_does_not_fit_names_what_would(error):
    said = out_of_memory(error)
    assert "a step on 255 images (128 at a time, fp32) needs too much memory" in said.message
    for way in ("loop.accumulate=4", "loop.activation_checkpointing=true", "loop.precision=bf16"):
        assert way in said.hint
    # What changes the result cannot be gone on with.
    same, other = said.hint.split("; or ")
    assert "--resume with" in same
    assert other == "--overwrite with --set loop.precision=bf16, or a smaller global_batch or network"


def test_what_is_done_already_is_not_proposed():
    said = out_of_memory(torch.OutOfMemoryError(), accumulate=255, recomputes=True, precision="bf16")
    assert said.hint == "try --overwrite with a smaller global_batch or network"


def test_another_error_stays_what_it_is():
    with (
        pytest.raises(RuntimeError, match="shapes"),
        explain_out_of_memory(1, accumulate=1, recomputes=False, precision="fp32", device=CPU),
    ):
        raise RuntimeError("shapes do not match")


def test_what_does_not_fit_is_named():
    said = r"^the network does not fit into memory \(CUDA: no\)"
    with (
        pytest.raises(TrainingError, match=said) as caught,
        explain_no_room("the network", hint="a smaller one"),
    ):
        raise torch.OutOfMemoryError("CUDA: no\nmuch more")
    assert caught.value.hint == "a smaller one"
    with pytest.raises(RuntimeError, match="shapes"), explain_no_room("x", hint=""):
        raise RuntimeError("shapes do not match")


def test_a_worker_that_died_as_it_handed_a_batch_over_is_told_too():
    for error in (
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
        ConnectionResetError(),
    ):
        with pytest.raises(TrainingError, match="prepares batches was killed"), explain_lost_worker():
            raise error
    with pytest.raises(RuntimeError, match="shapes"), explain_lost_worker():
        raise RuntimeError("shapes do not match")
