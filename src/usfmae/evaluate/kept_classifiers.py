"""Finished fine-tunings whose classifiers are tested again: read, checked, joined over splits and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usfmae.base.config import flat, make_config
from usfmae.base.errors import FolderError
from usfmae.base.files import read_json
from usfmae.evaluate.finetune import CLASSIFIER_FILE
from usfmae.evaluate.finetune_config import FinetuneConfig
from usfmae.evaluate.fold_folders import FOLDS_FOLDER
from usfmae.evaluate.plan_run import PLAN_FILE
from usfmae.evaluate.predictions import PREDICTIONS_FILE, Predictions, read_predictions
from usfmae.evaluate.protocol import TaskConfig
from usfmae.evaluate.result import HARMLESS, RESULT_FILE, RUN_FILE

CELLS_FOLDER = "cells"
"""Below a comparison; see `plan.Cell.folder`."""

JOINED = frozenset({"task.folds", "seed"})
"""Settings in which results that are joined may differ."""


@dataclass(frozen=True, eq=False)
class KeptResult:
    """A finished fine-tuning with the classifier of each of its splits."""

    path: Path
    """Its folder."""

    record: dict[str, Any]
    """`result.json`."""

    task_config: TaskConfig
    """How its task was loaded."""

    predictions: Predictions
    """What it said of its test images."""

    @property
    def settings(self) -> dict[str, Any]:
        """Of the fine-tuning, resolved."""
        settings: dict[str, Any] = self.record["made_by"]["settings"]
        return settings

    @property
    def splits(self) -> tuple[str, ...]:
        """Names, in the order in which they were tested."""
        return tuple(dict.fromkeys(self.predictions.folds))

    @property
    def seed(self) -> int:
        """Of the fine-tuning."""
        return int(self.settings["seed"])

    @property
    def cell(self) -> tuple[str, str] | None:
        """Encoder and way, where the folder is a cell of a comparison:
        `cells/<task>/<split>/<encoder>/<way>/seed-<n>`; else None."""
        parts = self.path.resolve().parts
        if len(parts) < 6 or parts[-6] != CELLS_FOLDER or not parts[-1].startswith("seed-"):
            return None
        return parts[-3], parts[-2]

    @property
    def where(self) -> str:
        """How its folder is named on pages: below a comparison by its place there."""
        return "/".join(self.path.resolve().parts[-5:]) if self.cell else self.path.resolve().name

    def classifier(self, split: str) -> Path:
        """The file with the network that was tested on a split."""
        return self.path / FOLDS_FOLDER / split / CLASSIFIER_FILE

    def kind(self) -> tuple[Any, ...]:
        """Equal for results that differ in nothing but their splits and seeds. One that was made before a
        setting came in was made with its default.

        Cells of one comparison are told apart by their encoder's name there, since its weights may be others
        for each split; other results by their weights.
        """
        task_and_net = (self.record["task"], self.record.get("encoder"), self.record.get("init"))
        start: Any = self.record.get("weights_sha256")
        if self.cell:
            start = (str(self.path.resolve().parents[5]), *self.cell)
        ignored = HARMLESS | JOINED
        whole = make_config(FinetuneConfig, self.settings).model_dump(mode="json")  # with later settings
        settings = {name: value for name, value in flat(whole).items() if name not in ignored}
        return (*task_and_net, start, tuple(sorted((name, str(value)) for name, value in settings.items())))


@dataclass(frozen=True, eq=False)
class Contender:
    """Results that differ in nothing but their splits and seeds, under one name."""

    name: str
    """Of the encoder in a comparison, else of the folders."""

    by_seed: dict[int, tuple[KeptResult, ...]]
    """Of each seed, results with splits of their own; every seed has the same splits."""

    @property
    def results(self) -> tuple[KeptResult, ...]:
        """All, seed by seed."""
        return tuple(result for results in self.by_seed.values() for result in results)


def read_kept(path: Path) -> KeptResult:
    """Read a finished fine-tuning.

    Raises:
        FolderError: the folder is no finished fine-tuning; the hint says what else to give.
    """
    if not path.is_dir():
        raise FolderError(f"{path}: no such folder", hint="check the path for a typing slip")
    if (path / PLAN_FILE).exists():
        raise FolderError(
            f"{path}: is a comparison, not a fine-tuning",
            hint=f"give some of its cells: {path / CELLS_FOLDER}/TASK/SPLIT/ENCODER/finetune/seed-0",
        )
    if not (path / RUN_FILE).exists():
        raise FolderError(
            f"{path}: holds no {RUN_FILE}, so it is no result", hint="usfmae evaluate finetune makes one"
        )
    run = read_json(path / RUN_FILE)
    stage = str((run.get("made_by") or {}).get("stage", "something unknown"))
    if stage != "evaluate finetune":
        raise FolderError(
            f"{path}: was made by `{stage}`, which keeps no classifier of each split",
            hint="give the folder of a finished `usfmae evaluate finetune`",
        )
    if not (path / RESULT_FILE).exists():
        raise FolderError(
            f"{path}: is not finished ({run.get('status', 'no status')})",
            hint="go on with its `usfmae evaluate finetune ... --resume` first",
        )
    record = read_json(path / RESULT_FILE)
    kept = KeptResult(
        path=path,
        record=record,
        task_config=make_config(TaskConfig, record["made_by"]["settings"]["task"]),
        predictions=read_predictions(path / PREDICTIONS_FILE),
    )
    lost = [split for split in kept.splits if not kept.classifier(split).is_file()]
    if lost:
        raise FolderError(
            f"{path}: {len(lost)} of {len(kept.splits)} classifiers are missing (first: that of {lost[0]})",
            hint=f"they lie in {FOLDS_FOLDER}/SPLIT/{CLASSIFIER_FILE}; evaluate again with --overwrite",
        )
    return kept


def contenders_of(results: Sequence[KeptResult]) -> list[Contender]:
    """Join results that differ in nothing but their splits and seeds, and give each lot a name of its own.

    Args:
        results: at least one.

    Returns:
        In the order of the first result of each; seeds in order.

    Raises:
        FolderError: the results are of several tasks, one folder was given twice, or the seeds of a lot were
            tested on other splits.
    """
    seen: set[Path] = set()
    for result in results:
        if result.path.resolve() in seen:
            raise FolderError(f"{result.path}: was given twice", hint="give each result once")
        seen.add(result.path.resolve())
    tasks = {(str(result.record["task"]), result.predictions.classes): result for result in results}
    if len(tasks) > 1:
        (first, _), (second, _) = list(tasks)[:2]
        raise FolderError(
            f"results of one task are compared, but {results[0].path} is of {first} and "
            f"{list(tasks.values())[1].path} of {second if first != second else 'other classes'}",
            hint="call the command once for each task",
        )
    lots: list[list[KeptResult]] = []
    for result in results:
        for lot in lots:
            tested = {split for one in lot if one.seed == result.seed for split in one.splits}
            if lot[0].kind() == result.kind() and not tested & set(result.splits):
                lot.append(result)
                break
        else:
            lots.append([result])
    return [Contender(name, _by_seed(lot)) for name, lot in zip(_names(lots), lots, strict=True)]


def _by_seed(lot: Sequence[KeptResult]) -> dict[int, tuple[KeptResult, ...]]:
    """Of each seed its results.

    Raises:
        FolderError: a seed lacks a split that another was tested on.
    """
    by_seed = {
        seed: tuple(result for result in lot if result.seed == seed)
        for seed in sorted({result.seed for result in lot})
    }
    tested = {seed: {split for one in mine for split in one.splits} for seed, mine in by_seed.items()}
    all_of = set().union(*tested.values())
    for seed, splits in tested.items():
        if lacking := sorted(all_of - splits):
            raise FolderError(
                f"{by_seed[seed][0].path}: its seed {seed} was not tested on {', '.join(lacking)}, other "
                "seeds of the same fine-tuning were",
                hint="the curve is a mean over seeds: give the same splits of every seed",
            )
    return by_seed


def _names(lots: Sequence[Sequence[KeptResult]]) -> list[str]:
    """The shortest names that tell the lots apart."""
    encoders = [lot[0].cell[0] if lot[0].cell else _folders(lot) for lot in lots]
    full = [" ".join(lot[0].cell) if lot[0].cell else _folders(lot) for lot in lots]
    names = [
        encoder if encoders.count(encoder) == 1 else long
        for encoder, long in zip(encoders, full, strict=True)
    ]
    return [
        f"{name} ({names[: k + 1].count(name)})" if names.count(name) > 1 else name
        for k, name in enumerate(names)
    ]


def _folders(lot: Sequence[KeptResult]) -> str:
    return " + ".join(result.path.resolve().name for result in lot)
