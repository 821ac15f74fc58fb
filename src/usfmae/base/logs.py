"""Logs and progress bars go to stderr; stdout is for data."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)
"""The one place that writes to stderr, so bars and log lines do not overwrite each other."""


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; call with `__name__`."""
    return logging.getLogger(name)


def set_up_logging(*, debug: bool = False, only_warnings: bool = False) -> None:
    """Send the package's log lines to stderr; called once, by the command line.

    Args:
        debug: everything, with its place.
        only_warnings: for the processes of a run that do not lead it.
    """
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=debug, show_time=debug, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:  # a file wants whole lines, not lines folded at 80 columns
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("usfmae")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.WARNING if only_warnings else logging.INFO)
    logger.propagate = False


LINE_EVERY_S = 30.0
"""Seconds between progress lines where there is no terminal to draw a bar on."""


class Bar:
    """A progress bar in use; `advance` counts, `say` changes the text at its right end.

    Where stderr is a file and no terminal, a line is written every `LINE_EVERY_S` seconds instead.
    """

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._note = ""
        self._last_line = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        self._progress.advance(self._task, count)
        if not console.is_terminal and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            task = self._progress.tasks[0]
            left = "" if task.time_remaining is None else f", {task.time_remaining:.0f} s left"
            done = f"{task.completed:.0f}/{task.total:.0f}"
            get_logger("usfmae").info("%s %s %s%s", task.description, done, self._note, left)

    def say(self, text: str) -> None:
        """Show `text` (a loss, a rate) beside the bar."""
        self._note = text
        self._progress.update(self._task, note=text)


@contextmanager
def progress_bar(title: str, *, total: int, done: int = 0, shown: bool = True) -> Iterator[Bar]:
    """A bar with a count, a percentage and the time left, on stderr.

    Args:
        title: what is being done, for example "pretrain".
        total: how many items there are.
        done: how many were done before, by an earlier run.
        shown: False for the processes of a run that do not lead it.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as progress:
        yield Bar(progress, progress.add_task(title, total=total, completed=done, note=""))
