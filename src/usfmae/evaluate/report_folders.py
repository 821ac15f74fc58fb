"""What a report reads from the folders of runs and results, whole or not."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from usfmae.base.errors import FolderError
from usfmae.base.files import read_json
from usfmae.evaluate.predictions import PREDICTIONS_FILE, Predictions, read_predictions
from usfmae.evaluate.report_words import METHOD_NAMES
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.evaluate.subgroup_columns import COLUMNS_FILE, Columns, read_columns

PARTS = ("visible", "reconstructed", "original")
MAX_LOOKS = 5
"""Looks that are read: a page is drawn anew again and again while a run goes on."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """What the network saw, made of it, and should have made, at one step."""

    step: int
    visible: UInt8[np.ndarray, "k h w"]
    reconstructed: UInt8[np.ndarray, "k h w"]
    original: UInt8[np.ndarray, "k h w"]


@dataclass(frozen=True, eq=False)
class RunFolder:
    """A pretraining run."""

    path: Path
    record: dict[str, Any]
    """`run.json`; empty if it is missing."""

    lines: list[dict[str, Any]]
    """`metrics.jsonl`, in order."""

    pictures: list[Pictures]
    """Looks at a few images, in order of steps; of many the first, the last and some between."""

    problems: list[str] = field(default_factory=list)
    """What is missing or damaged, in sentences."""

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind, "train" or "watch"."""
        return [line for line in self.lines if line.get("kind") == kind]


@dataclass(frozen=True, eq=False)
class ResultFolder:
    """An evaluation."""

    path: Path
    record: dict[str, Any]
    """`result.json`; empty if it is missing."""

    predictions: Predictions | None
    lines: list[dict[str, Any]]
    """`metrics.jsonl`, in order; empty where nothing was trained."""

    problems: list[str] = field(default_factory=list)
    """What is missing or damaged, in sentences."""

    columns: Columns = field(default_factory=dict)
    """What the test images are parted by, in the order of the predictions; empty where nothing is known."""

    @property
    def positive(self) -> int | None:
        """The class to be found, if the result names one."""
        classes, name = self.record.get("classes", []), self.record.get("positive")
        return classes.index(name) if name in classes else None

    @property
    def groups(self) -> str:
        """What intervals are drawn over: patients, near-duplicate clusters, files."""
        return f"{self.record.get('group_kind', 'patient')}s"

    @property
    def label_ratio(self) -> float:
        """Fraction of the training labels that were used."""
        settings = (self.record.get("made_by") or {}).get("settings") or {}
        ratio = (settings.get("task") or {}).get("label_ratio", 1.0)
        return float(ratio) if isinstance(ratio, int | float) else 1.0

    @property
    def label(self) -> str:
        """Method, start and share of labels: what tells the rivals on one task apart."""
        method = str(self.record.get("method", "Evaluation"))
        init = self.record.get("init")
        encoder = str(self.record.get("encoder", "vit"))
        start = f", {init}" if init else ""
        start = " from scratch" if init == "scratch" else start
        start = start if encoder == "vit" else f", {encoder}{start.removeprefix(',')}"
        few = f", {100 * self.label_ratio:.3g}\u00a0% of the labels" if self.label_ratio < 1 else ""
        return f"{METHOD_NAMES.get(method, method)}{start}{few}"

    @property
    def bootstrap(self) -> BootstrapConfig:
        """How the result's own intervals were drawn."""
        known = self.record.get("bootstrap") or {}
        names = ("num_resamples", "level", "seed")
        return BootstrapConfig(**{name: known[name] for name in names if name in known})

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Name to value, low, high."""
        return dict(self.record.get("metrics") or {})


def read_run(path: Path) -> RunFolder:
    """Read a run's folder; what is not there is said in `problems`.

    Raises:
        FolderError: there is no such folder.
    """
    _must_exist(path)
    problems: list[str] = []
    return RunFolder(
        path=path,
        record=_json(path / "run.json", problems),
        lines=_lines(path / "metrics.jsonl", problems),
        pictures=_pictures(path / "pictures", problems),
        problems=problems,
    )


def read_result(path: Path) -> ResultFolder:
    """Read a result's folder; what is not there is said in `problems`.

    Raises:
        FolderError: there is no such folder.
    """
    _must_exist(path)
    problems: list[str] = []
    predictions = None
    try:
        predictions = read_predictions(path / PREDICTIONS_FILE)
    except FolderError as error:
        problems.append(f"There are no predictions to draw curves from: {error.message}.")
    columns: Columns = {}
    try:
        columns = read_columns(path / COLUMNS_FILE, predictions.paths) if predictions is not None else {}
    except FolderError as error:
        problems.append(f"There are no results by subgroup: {error.message}.")
    return ResultFolder(
        path=path,
        record=_json(path / "result.json", problems),
        predictions=predictions,
        lines=_lines(path / "metrics.jsonl", []),
        problems=problems,
        columns=columns,
    )


def _must_exist(path: Path) -> None:
    if not path.is_dir():
        raise FolderError(f"{path}: no such folder", hint="check the path for a typing slip")


def _json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = read_json(path)
    except FolderError as error:
        problems.append(f"{error.message}: not finished, or damaged.")
        return {}
    return content if isinstance(content, dict) else {}


def _lines(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """One JSON per line; whatever a kill cut short is left out."""
    if not path.exists():
        problems.append(f"{path}: no such file, so there are no curves.")
        return []
    lines = []
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _pictures(folder: Path, problems: list[str]) -> list[Pictures]:
    found = []
    for path in _spread(sorted(folder.glob("step_*.npz"))):
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in PARTS}
            found.append(Pictures(step=int(path.stem.removeprefix("step_")), **arrays))
        except (OSError, ValueError, KeyError, EOFError) as error:
            problems.append(f"{path}: cannot be read ({error}).")
    if not found:
        problems.append(f"{folder}: holds no pictures of reconstructions.")
    return found


def _spread(looks: list[Path]) -> list[Path]:
    """First, last, and between them more of the early looks, where most happens."""
    if len(looks) <= MAX_LOOKS:
        return looks
    chosen = np.unique(np.round((len(looks) - 1) * np.linspace(0, 1, MAX_LOOKS) ** 2).astype(int))
    return [looks[index] for index in chosen]
