"""A name that a group of processes agrees on, though others before them left theirs in the same store.

torchrun keeps one store over restarts, so a process that starts again finds the addresses of the dead under
the usual names (pytorch/pytorch issue 135712). How often it was restarted would not do as a name: each
machine counts for itself. So the first rank asks, and only the living answer.
"""

import time
import uuid
from datetime import timedelta

from torch.distributed import Store  # type: ignore[attr-defined]

from usfmae.base.errors import TrainingError

PAUSE_S = 0.02
"""Between two looks at the store."""


def agree_on_name(store: Store, *, rank: int, world: int, patience: timedelta) -> str:
    """A name that all ranks of one start get and that no earlier start has had.

    The first rank writes a question; every other answers each question it sees with a word of its own; when
    the first has all answers it repeats every word, and a rank that reads its own word knows that the
    question is not an old one.

    Raises:
        TrainingError: somebody did not come.
    """
    until = time.monotonic() + patience.total_seconds()
    if rank == 0:
        question = uuid.uuid4().hex
        store.set("question", question)
        for other in range(1, world):
            _wait_for(store, f"{question}/answer/{other}", until)
        for other in range(1, world):
            store.set(f"{question}/heard/{other}", store.get(f"{question}/answer/{other}").decode())
        return question
    word = uuid.uuid4().hex
    answered = ""
    while True:
        _wait_for(store, "question", until)
        question = bytes(store.get("question")).decode()
        if question != answered:
            store.set(f"{question}/answer/{rank}", word)
            answered = question
        heard = f"{question}/heard/{rank}"
        if store.check([heard]) and store.get(heard).decode() == word:
            return question
        _pause(until)


def _wait_for(store: Store, key: str, until: float) -> None:
    while not store.check([key]):
        _pause(until)


def _pause(until: float) -> None:
    if time.monotonic() > until:
        raise TrainingError(
            "not all processes of this run came together", hint="start all of them again, with --resume"
        )
    time.sleep(PAUSE_S)
