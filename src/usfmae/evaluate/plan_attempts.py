"""Which cells of a plan killed the process that made them.

The kernel's out-of-memory killer leaves no error to catch, so whoever begins a cell says so in a file and
takes it away at the end, however that comes about in Python:

    cells/<task>/<split>/<encoder>/<way>/.seed-<n>/lock     held by whoever makes the cell
                                             attempt.json   pid, host, what was there, and the kills before

Whoever holds the lock and finds that file finds the work of a process that was killed. Once may be somebody's
`kill -9` or a power cut, and the cell goes on from its last checkpoint. Twice without a checkpoint between is
the cell's own doing.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usfmae.base.files import read_json, write_json

ATTEMPT_FILE = "attempt.json"

MAX_KILLS = 2
"""Without a checkpoint between; then the cell has failed."""


@dataclass(frozen=True)
class Killed:
    """What became of a cell's earlier attempts."""

    num: int
    """How many in a row were killed without a new checkpoint."""

    last: str
    """Process and host of the last."""

    @property
    def reason(self) -> str:
        """Why the cell has failed."""
        return (
            f"the process was killed, probably for memory ({self.num} times without a new checkpoint, last "
            f"{self.last})"
        )


def lock_of(folder: Path) -> Path:
    """The folder of a cell's lock: beside the cell, which may not be there."""
    return folder.parent / f".{folder.name}"


def killed_attempts(folder: Path) -> Killed | None:
    """What a killed process has left of a cell; None where none was.

    Args:
        folder: the cell's, whose lock this process holds.
    """
    file = lock_of(folder) / ATTEMPT_FILE
    if not file.exists():
        return None
    before: dict[str, Any] = read_json(file)
    num = before["kills"] + 1 if before["there"] == _there(folder) else 0
    return Killed(num, f"process {before['pid']} on {before['host']}")


@contextmanager
def attempt(folder: Path, *, kills: int) -> Iterator[None]:
    """Say that this process makes a cell; the file stays where the process is killed.

    Args:
        folder: the cell's, whose lock this process holds.
        kills: attempts before this that were killed without a new checkpoint.
    """
    content = {"pid": os.getpid(), "host": socket.gethostname(), "kills": kills, "there": _there(folder)}
    write_json(lock_of(folder) / ATTEMPT_FILE, content)
    try:
        yield
    finally:
        clear_attempts(folder)


def clear_attempts(folder: Path) -> None:
    """Forget the attempts at a cell."""
    (lock_of(folder) / ATTEMPT_FILE).unlink(missing_ok=True)


def _there(folder: Path) -> list[str]:
    """Finished splits and checkpoints of a cell, by which progress is told."""
    found = [*folder.glob("folds/*/fold.json"), *folder.glob("folds/*/checkpoints/step_*/state.json")]
    return sorted(path.relative_to(folder).as_posix() for path in found)
