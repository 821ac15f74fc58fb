"""What kept classifiers say of their own test images, as they are and shifted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from usfmae.base.errors import DatasetError
from usfmae.base.logs import Bar, progress_bar
from usfmae.datasets.splits import Split
from usfmae.evaluate.compare import in_order_of
from usfmae.evaluate.fold_training import class_probabilities
from usfmae.evaluate.kept_classifiers import Contender, KeptResult
from usfmae.evaluate.predictions import PREDICTIONS_FILE, Predictions, pooled
from usfmae.evaluate.protocol import Task, TaskSource
from usfmae.evaluate.result import fold_predictions
from usfmae.images.shifts import SHIFTS
from usfmae.models.classifier import LoadedClassifier, load_classifier

TOLERANCE = 1e-3
"""Largest difference of a probability from that of the result, for pictures as they are. The same files on
another machine give 1e-6; another preparation of the pictures gives hundredths and more."""

Amount = tuple[str, float]
"""Name of a shift, and how much."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a contender says."""

    contender: Contender
    """Whose classifiers."""

    plain: tuple[Predictions, ...]
    """Of the pictures as they are, one table for each seed, all in one order."""

    shifted: dict[Amount, tuple[Predictions, ...]]
    """Of shifted ones; seeds and rows as in `plain`."""

    largest_difference: float
    """Of a probability in `plain` from that in the results."""

    classifiers: dict[str, str]
    """Hash of each classifier's file, by result and split."""

    task: Task
    """That of the first result."""

    same_task: bool
    """Whether pixels, labels and splits are those of the results to the last bit."""


def answers_of(
    contender: Contender, source: TaskSource, amounts: Sequence[Amount], *, where: torch.device
) -> Answers:
    """Show each split's test images, as they are and shifted, to the classifier of that split.

    Args:
        contender: results with their classifiers.
        source: the labelled set that they were tested on.
        amounts: what is tried besides the pictures as they are.
        where: where the networks are run.

    Raises:
        DatasetError: the data are not those of a result, or are prepared in another way.
        WeightsError: a classifier is damaged.
    """
    results = contender.results
    tasks = {result.path: source.task(result.task_config) for result in results}
    num_networks = sum(len(result.splits) for result in results)
    by_seed: dict[int, list[dict[Amount | None, Predictions]]] = {seed: [] for seed in contender.by_seed}
    differences: list[float] = []
    hashes: dict[str, str] = {}
    with progress_bar(f"shift pictures: {contender.name}", total=num_networks * (len(amounts) + 1)) as bar:
        for result in results:
            task = tasks[result.path]
            for name in result.splits:
                loaded = load_classifier(result.classifier(name))
                loaded.network.to(where)
                split = _split_of(task, result, name)
                found, apart = _on_split(task, result, split, loaded, amounts, bar)
                by_seed[result.seed].append(found)
                differences.append(apart)
                hashes[f"{result.where} {name}"] = loaded.sha256
    recorded = [result.record["made_by"].get("inputs", {}).get("task") for result in results]
    return Answers(
        contender=contender,
        plain=_joined(by_seed, None),
        shifted={amount: _joined(by_seed, amount) for amount in amounts},
        largest_difference=max(differences),
        classifiers=hashes,
        task=tasks[results[0].path],
        same_task=recorded == [task.sha256() for task in tasks.values()],
    )


def _joined(
    by_seed: dict[int, list[dict[Amount | None, Predictions]]], amount: Amount | None
) -> tuple[Predictions, ...]:
    """Of each seed all splits together, in the order of the first."""
    tables = [pooled([found[amount] for found in per_split]) for per_split in by_seed.values()]
    names = [Path(f"seed {seed}") for seed in by_seed]
    return tuple(
        in_order_of(tables[0], table, first=names[0], second=name)
        for table, name in zip(tables, names, strict=True)
    )


def middling_picture(answers: Answers) -> UInt8[np.ndarray, "s s"]:
    """The test image of the first split whose mean grey is the median: one to show amounts on."""
    (tested, *_) = [split.test for split in answers.task.splits if split.name == answers.plain[0].folds[0]]
    images = answers.task.images[tested]
    order = np.argsort(images.mean(axis=(1, 2)), kind="stable")
    picture: UInt8[np.ndarray, "s s"] = images[order[len(order) // 2]]
    return picture


def _on_split(
    task: Task,
    result: KeptResult,
    split: Split,
    loaded: LoadedClassifier,
    amounts: Sequence[Amount],
    bar: Bar,
) -> tuple[dict[Amount | None, Predictions], float]:
    """Answers by amount, None for the pictures as they are, and how far those are from the result's."""
    images = task.images[split.test]
    found: dict[Amount | None, Predictions] = {}
    apart = 0.0
    for amount in (None, *amounts):
        probabilities = class_probabilities(
            loaded.network,
            images if amount is None else SHIFTS[amount[0]].apply(images, amount[1]),
            input_spec=loaded.input_spec,
            mirror=bool(result.settings.get("mirror_test", False)),
        )
        found[amount] = fold_predictions(task, split, probabilities)
        if amount is None:
            apart = _difference(found[None], result, root=task.root)  # before the rest takes its minutes
        bar.advance()
    return found, apart


def _split_of(task: Task, result: KeptResult, name: str) -> Split:
    """The split of that name, if it tests what the result tested.

    Raises:
        DatasetError: it does not, or is not there.
    """
    hint = f"give the --data of that evaluation; the names are in {result.path.name}/{PREDICTIONS_FILE}"
    if task.classes != result.predictions.classes:
        raise DatasetError(
            f"{task.root}: has the classes {', '.join(task.classes)}, {result.path} "
            f"{', '.join(result.predictions.classes)}",
            hint=hint,
        )
    found = [split for split in task.splits if split.name == name]
    if not found:
        raise DatasetError(
            f"{task.root}: has no split {name}, on which {result.path} was tested "
            f"({', '.join(split.name for split in task.splits)})",
            hint=hint,
        )
    told = result.predictions
    then = {
        (path, told.classes[label])
        for path, label, fold in zip(told.paths, told.labels.tolist(), told.folds, strict=True)
        if fold == name
    }
    now = {(task.items[index].name, task.classes[task.labels[index]]) for index in found[0].test.tolist()}
    if then != now:
        (first, _), *_ = sorted(then ^ now)
        raise DatasetError(
            f"{task.root}: is not what {result.path} was tested on: {len(then & now)} of its {len(then)} "
            f"test images of {name} are tested here with the same class (first that is not: {first})",
            hint=hint,
        )
    return found[0]


def _difference(found: Predictions, result: KeptResult, *, root: Path) -> float:
    """The largest difference of a probability of the pictures as they are from that of the result.

    Raises:
        DatasetError: it is larger than another machine explains.
    """
    row_of = {path: row for row, path in enumerate(result.predictions.paths)}
    told = result.predictions.rows([row_of[path] for path in found.paths])
    apart = np.abs(found.probabilities - told.probabilities).max(axis=1)
    worst = int(apart.argmax())
    if not apart[worst] <= TOLERANCE:
        raise DatasetError(
            f"{root}: the pictures as they are give other probabilities than {result.path} has in "
            f"{PREDICTIONS_FILE}: up to {apart[worst]:.3g} apart (at {found.paths[worst]}), "
            f"{int((apart > TOLERANCE).sum())} of {len(apart)} images more than {TOLERANCE:g}",
            hint="these are other data or another preparation of them, or the classifier was changed since",
        )
    return float(apart[worst])
