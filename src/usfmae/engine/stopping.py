"""Ctrl-C and SIGTERM ask a run to end after its step, so that a checkpoint can be written first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from usfmae.base.logs import get_logger

log = get_logger(__name__)


@dataclass
class Stop:
    """Whether somebody asked for an end."""

    asked: bool = False
    """Set by the signal, looked at after each step."""


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Let Ctrl-C and SIGTERM ask for an end after the current step; a second Ctrl-C ends at once."""
    stop = Stop()

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.asked = True
        log.warning("stopping after this step (Ctrl-C again to stop at once)")

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller's signals stay as they are
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
