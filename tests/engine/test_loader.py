import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
import torch
from small_loop import batch, run

from usfmae.base.errors import CorpusError, TrainingError
from usfmae.engine.loader import made_ahead, step_batches


def numbered(step: int) -> tuple[torch.Tensor, ...]:
    return (torch.full((2,), step), torch.rand(2, generator=torch.Generator().manual_seed(step)))


def test_two_worker_processes_give_the_same_batches_in_the_same_order_as_none():
    alone = list(step_batches(numbered, range(3, 12), workers=0))
    shared = list(step_batches(numbered, range(3, 12), workers=2))
    assert [int(first[0]) for first, _ in alone] == list(range(3, 12))
    for one, two in zip(alone, shared, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def counted(started: list[int], *, until: int):
    for number in range(until):
        started.append(number)
        yield (torch.tensor([number]),)


def num_threads() -> int:
    return sum(thread.name == "batches ahead" for thread in threading.enumerate())


def test_a_thread_makes_the_same_batches_in_the_same_order():
    assert [int(batch[0]) for batch in made_ahead(counted([], until=9), count=2)] == list(range(9))
    assert num_threads() == 0


def test_a_thread_works_ahead_by_no_more_than_asked():
    started: list[int] = []
    batches = made_ahead(counted(started, until=50), count=3)
    assert started == []
    next(batches)
    time.sleep(0.3)
    # One was taken, three wait, and one is held by the thread until there is room.
    assert len(started) == 5
    batches.close()
    assert num_threads() == 0


def test_what_goes_wrong_in_the_thread_is_raised_after_the_batches_before_it():
    def broken():
        yield (torch.tensor([1]),)
        raise CorpusError("shard 7: ends early")

    batches = made_ahead(broken(), count=4)
    assert int(next(batches)[0]) == 1
    with pytest.raises(CorpusError, match="shard 7: ends early"):
        next(batches)
    assert num_threads() == 0


def broken_at_2(step: int) -> tuple[torch.Tensor, ...]:
    if step == 2:
        raise CorpusError("shard 7: ends early", hint="build it again")
    return (torch.tensor([step]),)


def too_large(step: int) -> tuple[torch.Tensor, ...]:
    return (torch.from_numpy(np.empty((1 << 40, 1 << 20), dtype=np.uint8)),)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_worker_keeps_its_words_and_its_hint(workers):
    batches = iter(step_batches(broken_at_2, range(1, 4), workers=workers))
    assert int(next(batches)[0]) == 1
    with pytest.raises(CorpusError) as caught:
        next(batches)
    assert (caught.value.message, caught.value.hint) == ("shard 7: ends early", "build it again")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_that_does_not_fit_says_so(workers):
    with pytest.raises(TrainingError, match=r"batch 5 does not fit into memory \(Unable to alloc") as caught:
        next(iter(step_batches(too_large, range(5, 6), workers=workers)))
    assert "global_batch" in caught.value.hint


def test_a_worker_that_is_killed_ends_the_run_with_advice(tmp_path):
    before = set(psutil.Process().children())

    def batches(first: int):
        for number, made in enumerate(step_batches(slow, range(first, 12), workers=1)):
            if number == 2:
                for worker in new_workers(before):
                    worker.kill()  # as the system does where memory runs out
            yield made

    with pytest.raises(TrainingError, match="a process that prepares batches was killed") as caught:
        run(tmp_path, batches=batches)
    assert "--resume, and with fewer --set workers=" in caught.value.hint


def new_workers(before: set[psutil.Process]) -> list[psutil.Process]:
    """Running children since `before`; Python's own tracker of shared memory, maybe new too, is none."""
    new = [child for child in psutil.Process().children() if child not in before]
    running = [child for child in new if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if "resource_tracker" not in " ".join(child.cmdline())]


def slow(step: int) -> tuple[torch.Tensor, ...]:
    if step > 4:
        time.sleep(30)
    return batch(step)


KEPT = """
import sys
import torch
from usfmae.base.errors import CorpusError
from usfmae.engine.loader import step_batches

def make(step):
    if step == 3 and sys.argv[1] == "broken":
        raise CorpusError("shard 7: ends early")
    return (torch.tensor([step]),)

kept = iter(step_batches(make, range(9), workers=2))
try:
    for _ in range(5):
        next(kept)
except CorpusError as error:
    known = error
print("done")
"""


@pytest.mark.parametrize("how", ["broken", "whole"])
def test_python_ends_where_batches_are_left(tmp_path, how):
    # An error that is still known keeps its batches, and Python waits for their workers when it ends.
    (tmp_path / "kept.py").write_text(KEPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "kept.py", how], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_workers_end_with_the_batches():
    before = set(psutil.Process().children())
    batches = iter(step_batches(numbered, range(3), workers=2))
    next(batches)
    assert len(new_workers(before)) == 2
    batches.close()
    assert new_workers(before) == []
