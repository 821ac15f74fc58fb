"""`result.json`: what a classifier is worth, with intervals, and everything needed to believe it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from usfmae.base.config import Config, flat
from usfmae.base.errors import FolderError
from usfmae.base.files import claim_folder, read_json, write_json
from usfmae.base.record import made_by
from usfmae.datasets.splits import Split
from usfmae.evaluate.metrics import confusion_matrix, predicted_classes
from usfmae.evaluate.predictions import (
    PREDICTIONS_FILE,
    VALIDATION_FILE,
    Predictions,
    fold_ids,
    joined,
    per_group,
    pooled,
    write_predictions,
)
from usfmae.evaluate.protocol import Task, write_splits
from usfmae.evaluate.stated import statement
from usfmae.evaluate.statistics import BootstrapConfig, Scored, score_with_intervals
from usfmae.evaluate.subgroup_columns import COLUMNS_FILE, write_columns

RUN_FILE = "run.json"
"""What is being done in the folder, from the first moment on."""

RESULT_FILE = "result.json"
"""What came out; there only when all of it is."""

HARMLESS = frozenset(
    {"threads", "use", "loop.activation_checkpointing", "loop.async_checkpoints", "loop.parallel"}
)
"""Settings that change speed, memory or permission but not the result, so a resumed run may change them."""


@dataclass(frozen=True, eq=False)
class FoldResult:
    """One split, learnt and tested."""

    split: Split
    """Which images."""

    predictions: Predictions
    """What was said about its test images."""

    on_validation: Predictions | None = None
    """What was said about its validation images, on which thresholds and temperatures may be chosen; None
    where there are none."""

    facts: dict[str, Any] = field(default_factory=dict)
    """What else is to be told: seconds, the C that validation chose."""


def fold_predictions(
    task: Task, split: Split, probabilities: Float64[np.ndarray, "n class"], *, on_validation: bool = False
) -> Predictions:
    """The predictions for the test images of a split, one row per image in the order of `split.test`; or for
    its validation images, in the order of `task.watched(split)`."""
    indices = task.watched(split) if on_validation else split.test
    tested = indices.tolist()
    return Predictions(
        classes=task.classes,
        paths=tuple(task.items[index].name for index in tested),
        groups=tuple(task.items[index].group for index in tested),
        folds=(split.name,) * len(tested),
        labels=task.labels[indices],
        probabilities=probabilities.astype(np.float64),
    )


def open_result(
    out: Path,
    task: Task,
    *,
    stage: str,
    settings: Config,
    inputs: dict[str, str],
    facts: dict[str, Any],
    resume: bool,
    overwrite: bool,
) -> dict[str, Any]:
    """Claim a result's folder and say in `run.json` what will be done there.

    Args:
        out: the folder.
        task: what is evaluated; its splits are written into the folder.
        stage: the command.
        settings: the resolved config.
        inputs: weights and the like by hash; the task's hash is added.
        facts: further entries of the record, such as method and init.
        resume: go on with what is there.
        overwrite: start again.

    Returns:
        The record of `run.json`, with the `made_by` of the first start.

    Raises:
        FolderError: the folder exists, or was started with other settings or inputs.
        ValueError: the task was loaded with other settings than `settings.task`.
    """
    if getattr(settings, "task", task.config) != task.config:
        raise ValueError("the task was not loaded with the config's own task settings")
    claim_folder(out, marker=RUN_FILE, resume=resume, overwrite=overwrite)
    origin = made_by(stage, settings=settings, inputs={"task": task.sha256(), **inputs})
    if (out / RUN_FILE).exists():
        record: dict[str, Any] = read_json(out / RUN_FILE)
        _refuse_changes(out, record["made_by"], origin, defaults=type(settings)().model_dump(mode="json"))
    else:
        record = {"made_by": origin, "status": "running", "task": task.name, **facts}
        write_json(out / RUN_FILE, record)  # first: by it a killed evaluation knows its own folder
    write_splits(out, task)
    return record


def finish_result(
    out: Path,
    task: Task,
    folds: Sequence[FoldResult],
    *,
    record: dict[str, Any],
    bootstrap: BootstrapConfig,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Score the pooled test images and write `predictions.csv`, `result.json` and the last `run.json`.

    Args:
        out: the result's folder.
        task: what was evaluated.
        folds: all splits of the task.
        record: from `open_result`.
        bootstrap: how intervals are drawn.
        facts: further entries of the result: seed, weights_sha256, contamination, epochs, seconds, ...

    Returns:
        The content of `result.json`.
    """
    predictions = pooled([fold.predictions for fold in folds])
    scored = _scored(predictions, task, bootstrap)
    result = {
        **{name: value for name, value in record.items() if name != "status"},
        "classes": list(task.classes),
        "positive": None if task.positive is None else task.classes[task.positive],
        "split": split_record(task),
        "stated": statement(task, main_metric="macro_f1"),
        "metrics": _metrics(scored),
        **_patient_metrics(predictions, task, bootstrap),
        "f1_per_class": {
            name: interval.record() for name, interval in zip(task.classes, scored.f1_per_class, strict=True)
        },
        "confusion": confusion_matrix(
            predictions.labels, predicted_classes(predictions.probabilities), num_classes=len(task.classes)
        ).tolist(),
        "num_images": len(predictions),
        "num_patients": scored.num_groups,
        "group_kind": task.group_kind,
        **_leak_metrics(predictions, task, bootstrap),
        "folds": [_fold_record(fold, task, bootstrap) for fold in folds],
        "bootstrap": {**bootstrap.model_dump(), "num_skipped": scored.num_skipped, "over": task.group_kind},
        "notes": [*result_notes(task), *_fold_notes(folds)],
        **facts,
    }
    write_predictions(out / PREDICTIONS_FILE, predictions)
    if task.columns:
        tested = np.concatenate([fold.split.test for fold in folds]).tolist()
        columns = {name: tuple(values[index] for index in tested) for name, values in task.columns.items()}
        write_columns(out / COLUMNS_FILE, predictions.paths, columns)
    if watched := [fold.on_validation for fold in folds if fold.on_validation is not None]:
        write_predictions(out / VALIDATION_FILE, joined(watched))
    write_json(out / RESULT_FILE, result)
    write_json(out / RUN_FILE, {**record, "status": "finished"})
    return result


def _scored(predictions: Predictions, task: Task, bootstrap: BootstrapConfig) -> Scored:
    return score_with_intervals(
        predictions.labels,
        predictions.probabilities,
        predictions.group_ids,
        config=bootstrap,
        positive=task.positive,
        folds=fold_ids(predictions),
    )


def _metrics(scored: Scored) -> dict[str, Any]:
    return {name: interval.record() for name, interval in scored.metrics.items()}


def split_record(task: Task) -> dict[str, Any]:
    """One split as it is; of several, the mean number that is learnt from and the sum that is tested."""
    hashes = [split.sha256(task.items) for split in task.splits]
    together = hashlib.sha256("".join(hashes).encode()).hexdigest()
    num = len(task.splits)
    return {
        "name": " + ".join(split.name for split in task.splits),
        "sha256": hashes[0] if num == 1 else together,
        "num_train": round(sum(len(task.learnt_from(split)) for split in task.splits) / num),
        "num_val": round(sum(len(task.watched(split)) for split in task.splits) / num),
        "num_test": sum(len(split.test) for split in task.splits),
    }


def _patient_metrics(predictions: Predictions, task: Task, bootstrap: BootstrapConfig) -> dict[str, Any]:
    if task.group_kind != "patient":
        return {"metrics_per_patient": {}}
    patients, mixed = per_group(predictions, positive=task.positive)
    found = {"metrics_per_patient": _metrics(_scored(patients, task, bootstrap))}
    return found | {"num_patients_of_several_classes": mixed} if mixed else found


def _leak_metrics(predictions: Predictions, task: Task, bootstrap: BootstrapConfig) -> dict[str, Any]:
    """The metrics without test images that the official lists part from a near-duplicate."""
    leaks = {task.items[index].name for split in task.splits for index in split.known_leaks.tolist()}
    clean = [row for row, path in enumerate(predictions.paths) if path not in leaks]
    if len(clean) == len(predictions):
        return {}
    return {
        "metrics_without_near_duplicates": _metrics(_scored(predictions.rows(clean), task, bootstrap)),
        "num_near_duplicates": len(predictions) - len(clean),
    }


def _fold_record(fold: FoldResult, task: Task, bootstrap: BootstrapConfig) -> dict[str, Any]:
    return {
        "split": fold.split.name,
        "sha256": fold.split.sha256(task.items),
        "num_train": len(task.learnt_from(fold.split)),
        "num_val": len(task.watched(fold.split)),
        "num_test": len(fold.split.test),
        "metrics": _metrics(_scored(fold.predictions, task, bootstrap)),
        **fold.facts,
    }


def result_notes(task: Task) -> list[str]:
    """What a reader has to know of the task and its splits, each once."""
    notes = [*task.notes]
    for split in task.splits:
        notes += [note for note in split.notes if note not in notes]
    return notes


def _fold_notes(folds: Sequence[FoldResult]) -> list[str]:
    """What a method has to say of some splits."""
    return [f"{fold.split.name}: {fold.facts['note']}" for fold in folds if "note" in fold.facts]


def _refuse_changes(
    out: Path, before: dict[str, Any], now: dict[str, Any], *, defaults: dict[str, Any]
) -> None:
    """Refuse a folder of other settings; one made before a setting came in was made with its default."""
    new, later = flat(now["settings"]), flat(defaults)
    old = {name: later.get(name) for name in new} | flat(before["settings"])
    changed = [
        f"{name} {old.get(name)} -> {new.get(name)}"
        for name in sorted({*old, *new} - HARMLESS)
        if old.get(name) != new.get(name)
    ]
    inputs = sorted({*before["inputs"], *now["inputs"]})
    changed += [f"the {name}" for name in inputs if before["inputs"].get(name) != now["inputs"].get(name)]
    if changed:
        raise FolderError(
            f"{out}: was started with other settings or inputs ({'; '.join(changed)})",
            hint="--resume goes on with exactly the same ones; choose another --out, or --overwrite",
        )
