"""The page and the record of a run are kept fresh while it goes on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from usfmae.base.errors import FolderError
from usfmae.base.files import write_json
from usfmae.base.logs import get_logger
from usfmae.engine.looks import Looks
from usfmae.engine.metrics_log import METRICS_FILE, read_metrics
from usfmae.pretrain.verdict import judge_run

log = get_logger(__name__)

PageWriter = Callable[[Path], object]
"""Writes report.html from a run's folder. The command line hands it in; this room knows no reports."""


@dataclass
class LivePage:
    """A loop hook, called after the watch: at every look run.json gets the verdicts and the page is drawn
    anew. The first rank alone has one."""

    out: Path
    """The run's folder."""

    run_file: Path
    """Its run.json."""

    record: dict[str, Any]
    """What it says; `verdicts` are put into it here."""

    looks: Looks
    """When."""

    write_page: PageWriter | None = None
    """None for no page."""

    _started: float = field(default_factory=time.perf_counter)
    _first: bool = True

    def __call__(self, step: int) -> Sequence[dict[str, object]]:
        """Refresh if there was a look, and after the first step; has nothing to say to the metrics log."""
        if self._first or self.looks.due(step):
            self._first = False
            self.refresh(step)
        return []

    def refresh(self, step: int) -> None:
        """Judge, write, draw; what goes wrong with it is a warning, since a page must not end a run."""
        self.record["verdicts"] = judge_run(read_metrics(self.out / METRICS_FILE))
        spent = self.record["seconds"] + time.perf_counter() - self._started
        try:
            write_json(self.run_file, self.record | {"seconds": spent, "steps_done": step})
        except FolderError as error:
            log.warning("%s; the run goes on", error.message)
        self.draw()

    def draw(self) -> None:
        """Draw the page from what is in the folder."""
        if self.write_page is None:
            return
        try:
            self.write_page(self.out)
        except Exception as error:
            log.warning("the page of %s could not be drawn (%s: %s)", self.out, type(error).__name__, error)
