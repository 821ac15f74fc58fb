"""`metrics.jsonl` and TensorBoard: one line per measurement, cut back to the checkpoint on resume."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from usfmae.base.files import write_text
from usfmae.base.logs import get_logger

log = get_logger(__name__)

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends measurements to `metrics.jsonl` and mirrors numbers to TensorBoard.

    A full disk does not end the run: lines wait in memory until there is room again.

    Args:
        run: the run's folder; `tensorboard/` is made below it.
        step: steps already done; lines of later steps, left by a killed run, are removed.
    """

    def __init__(self, run: Path, *, step: int = 0) -> None:
        self.path = run / METRICS_FILE
        kept = [line for line in read_metrics(self.path) if line["step"] <= step] if step else []
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self.path.open("ab", buffering=0)
        self._waiting = b""
        self._board: SummaryWriter | None = SummaryWriter(str(run / "tensorboard"), purge_step=step)

    def write(self, kind: str, *, step: int, **values: Any) -> None:
        """Write one line: what was measured (`kind`), after how many steps, and the numbers."""
        self._append(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        try:
            self._mirror(kind, step, values)
        except OSError as error:
            log.warning("TensorBoard's file cannot be written (%s); metrics.jsonl goes on", error)
            self._board = None

    def _append(self, line: str) -> None:
        end = self._file.seek(0, os.SEEK_END)
        content = self._waiting + line.encode()
        try:
            whole = self._file.write(content) == len(content)
        except OSError:
            whole = False
        if not whole:
            self._file.truncate(end)  # no half line, after which the rest could not be read
            if not self._waiting:
                log.warning("%s: cannot be written; lines are kept until there is room", self.path)
        self._waiting = b"" if whole else content

    def _mirror(self, kind: str, step: int, values: dict[str, Any]) -> None:
        if self._board is None:
            return
        if kind == "watch":
            self._board.add_scalar(f"watch/{values['task']}/{values['metric']}", values["value"], step)
            return
        for name, value in values.items():
            if isinstance(value, int | float) and name != "epoch":
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush and close both."""
        if self._waiting:
            self._append("")
        self._file.close()
        if self._board is not None:
            with suppress(OSError):
                self._board.close()


class NoMetrics:
    """What a process has in the place of a `MetricsLog` that another one writes."""

    def write(self, kind: str, *, step: int, **values: Any) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; a last line that a kill cut short is left out; [] if there is none."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
