"""One rule says when a run is looked at."""

from hypothesis import given
from hypothesis import strategies as st

from usfmae.engine.looks import Looks


def test_a_look_is_due_at_the_start_at_every_interval_and_at_the_end():
    assert [step for step in range(11) if Looks(4, 10).due(step)] == [0, 4, 8, 10]


def test_an_interval_shorter_than_a_step_is_one_step():
    assert Looks.every(0.01, steps_per_epoch=7.5, total_steps=9) == Looks(1, 9)
    assert Looks.every(2, steps_per_epoch=7.5, total_steps=90) == Looks(15, 90)


@given(st.integers(1, 50), st.integers(1, 500))
def test_no_two_looks_are_further_apart_than_the_interval(every, total):
    due = [step for step in range(total + 1) if Looks(every, total).due(step)]
    assert due[0] == 0
    assert due[-1] == total
    assert max(b - a for a, b in zip([*due, total], [*due[1:], total, total], strict=False)) <= every
