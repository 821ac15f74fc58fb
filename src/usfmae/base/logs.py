"""Logs and progress bars go to stderr; stdout is for data."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)
"""The one place that writes to stderr, so bars and log lines do not overwrite each other."""


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; call with `__name__`."""
    return logging.getLogger(name)


def set_up_logging(*, debug: bool = False) -> None:
    """Send the package's log lines to stderr; called once, by the command line."""
    handler = RichHandler(console=console, show_path=debug, show_time=debug, markup=False)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("usfmae")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False


class Bar:
    """A progress bar in use; `advance` counts, `say` changes the text at its right end."""

    def __init__(self, progress: Progress, task: int) -> None:
        self._progress = progress
        self._task = task

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        self._progress.advance(self._task, count)  # type: ignore[arg-type]

    def say(self, text: str) -> None:
        """Show `text` (a loss, a rate) beside the bar."""
        self._progress.update(self._task, note=text)  # type: ignore[arg-type]


@contextmanager
def progress_bar(title: str, *, total: int, done: int = 0) -> Iterator[Bar]:
    """A bar with a count, a percentage and the time left, on stderr.

    Args:
        title: what is being done, for example "pretrain".
        total: how many items there are.
        done: how many were done before, by an earlier run.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(title, total=total, completed=done, note=""))
