"""`metrics.jsonl` and TensorBoard: one line per measurement, cut back to the checkpoint on resume."""

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from usfmae.base.files import write_text

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends measurements to `metrics.jsonl` and mirrors numbers to TensorBoard.

    Args:
        run: the run's folder; `tensorboard/` is made below it.
        step: steps already done; lines of later steps, left by a killed run, are removed.
    """

    def __init__(self, run: Path, *, step: int = 0) -> None:
        self.path = run / METRICS_FILE
        kept = [line for line in read_metrics(self.path) if line["step"] <= step] if step else []
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self.path.open("a")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step)

    def write(self, kind: str, *, step: int, **values: Any) -> None:
        """Write one line: what was measured (`kind`), after how many steps, and the numbers."""
        line = {"kind": kind, "step": step, **values}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if kind == "watch":
            self._board.add_scalar(f"watch/{values['task']}/{values['metric']}", values["value"], step)
            return
        for name, value in values.items():
            if isinstance(value, int | float) and name != "epoch":
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._board.close()


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
