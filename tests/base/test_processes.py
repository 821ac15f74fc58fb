"""Processes: all results once, errors pass through, a death is an error with a hint."""

import math
import os

import pytest

from usfmae.base.errors import CorpusError
from usfmae.base.processes import in_processes


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_job_gives_one_result(workers):
    assert sorted(in_processes(math.factorial, [3, 4, 5], workers=workers)) == [6, 24, 120]


def test_work_runs_elsewhere_only_when_asked_to():
    assert set(in_processes(_where, [0, 0], workers=1)) == {os.getpid()}


def _where(_: int) -> int:
    return os.getpid()


def test_what_a_job_raises_comes_through():
    with pytest.raises(ValueError, match="not defined for negative"):
        list(in_processes(math.factorial, [-1, -2], workers=2))


def test_a_dead_worker_is_an_error_that_says_how_to_go_on():
    with pytest.raises(CorpusError, match="a worker process died") as caught:
        list(in_processes(os._exit, [1, 1], workers=2))
    assert "--resume" in caught.value.hint
