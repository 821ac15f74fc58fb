"""One folder per split: trained by whoever locks it, finished when its `fold.json` is there.

results/<name>/folds/<split>/      metrics.jsonl, tensorboard/, checkpoints/ while it is trained;
    fold.json                      seconds and the like; there when the split is finished
"""

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from usfmae.base.errors import TrainingError
from usfmae.base.files import read_json, remove_partials, write_json, write_text
from usfmae.base.interrupt import Interrupted
from usfmae.base.logs import get_logger
from usfmae.datasets.splits import Split
from usfmae.engine.checkpoint import FOLDER as CHECKPOINTS
from usfmae.engine.metrics_log import read_metrics
from usfmae.evaluate.protocol import Task
from usfmae.evaluate.result import RUN_FILE

log = get_logger(__name__)

FOLDS_FOLDER = "folds"
FOLD_FILE = "fold.json"
SPENT_FILE = "spent.json"
"""Seconds of earlier, interrupted calls; those of a killed one are not known."""

Learn = Callable[[Split, Path], dict[str, Any]]
"""Trains and tests on one split in its folder; returns what `fold.json` is to hold besides the seconds."""


def learn_each_split(out: Path, task: Task, *, record: dict[str, Any], learn: Learn) -> list[str]:
    """Call `learn` for each split that no process has finished or is working on.

    Args:
        out: the result's folder.
        task: its splits are gone through.
        record: of `run.json`; gets the status "stopped" at an interruption.
        learn: may raise what training raises.

    Returns:
        Splits that another process is still training; empty where all are finished.

    Raises:
        TrainingError: from `learn`; the seconds spent are kept.
        Interrupted: from `learn`; likewise.
    """
    try:
        for split in task.splits:
            folder = fold_folder(out, split)
            with locked(folder) as mine:
                if mine and not (folder / FOLD_FILE).exists():
                    _learn(split, folder, learn)
                elif not mine:
                    log.info("%s is being trained by another process", split.name)
    except Interrupted:
        write_json(out / RUN_FILE, {**record, "status": "stopped"})
        raise
    missing = [split.name for split in task.splits if not (fold_folder(out, split) / FOLD_FILE).exists()]
    if missing:
        log.info("%s: the process that trains %s will write the result", out, ", ".join(missing))
    return missing


def fold_folder(out: Path, split: Split) -> Path:
    """Where a split is trained."""
    return out / FOLDS_FOLDER / split.name


def fold_facts(out: Path, split: Split) -> dict[str, Any]:
    """What `fold.json` says of a finished split."""
    facts: dict[str, Any] = read_json(fold_folder(out, split) / FOLD_FILE)
    return facts


def gather_metrics(out: Path, task: Task) -> None:
    """One metrics.jsonl of all splits, each line with its `fold`."""
    lines = [
        {**line, "fold": split.name}
        for split in task.splits
        for line in read_metrics(fold_folder(out, split) / "metrics.jsonl")
    ]
    write_text(out / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def _learn(split: Split, folder: Path, learn: Learn) -> None:
    remove_partials(folder)
    began = time.perf_counter()
    spent = read_json(folder / SPENT_FILE)["seconds"] if (folder / SPENT_FILE).exists() else 0.0
    try:
        facts = learn(split, folder)
    except (Interrupted, TrainingError):
        write_json(folder / SPENT_FILE, {"seconds": spent + time.perf_counter() - began})
        raise
    write_json(folder / FOLD_FILE, {"seconds": spent + time.perf_counter() - began, **facts})
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether this process alone may work in `folder`; the lock of a killed process is gone with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
