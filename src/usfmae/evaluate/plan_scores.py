"""What a plan's cells say together: means over seeds, and every rival against the first contender.

The test images of all splits of a task are scored as one set, AUROC on pairs within a split. A contender's
number is the mean over seeds of a metric; its interval comes from drawn patients and seeds. Differences are
paired: both contenders are scored on the same draws. Tests are of these very networks, over patients alone; a
patient counts once, whatever the number of seeds, and p-values are corrected over all comparisons of a metric
in the plan (Holm 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int

from usfmae.base.files import read_json
from usfmae.base.logs import progress_bar
from usfmae.evaluate.compare import in_order_of
from usfmae.evaluate.delong import Answers, delong_test
from usfmae.evaluate.folds_and_seeds import MeanOverRuns, corrected_t_test, mean_over_runs
from usfmae.evaluate.metrics import score
from usfmae.evaluate.over_seeds import difference_over_seeds, score_over_seeds
from usfmae.evaluate.paired_tests import (
    PermutationConfig,
    holm_correction,
    mcnemar_test,
    permutation_test,
    wilcoxon_test,
)
from usfmae.evaluate.plan import Cell, Plan
from usfmae.evaluate.predictions import PREDICTIONS_FILE, Predictions, fold_ids, pooled, read_predictions
from usfmae.evaluate.result import RESULT_FILE
from usfmae.evaluate.statistics import BootstrapConfig, Interval

STRENGTH = ("finetune", "attentive-probe", "linear-probe", "knn")
"""Ways to use an encoder, the one that learns most first."""

TESTED = ("macro_f1", "auroc")
"""Metrics whose differences are tested."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One encoder used in one way on one task, over all seeds."""

    task: str
    encoder: str
    way: str
    method: str
    is_few: bool
    """Whether training labels were left out."""

    num_learnt: int
    """Images whose labels were used, mean over splits and seeds."""

    seeds: tuple[int, ...]

    per_seed: tuple[Predictions, ...]
    """Test images of all splits, in one order for all seeds."""

    metrics: dict[str, Interval]
    """Mean over seeds, with the interval over patients and seeds."""

    over_folds: dict[str, MeanOverRuns]
    """Mean over splits and seeds with the corrected interval; empty with a single run."""

    folds: tuple[str, ...]
    positive: int | None
    results: tuple[dict[str, Any], ...]
    """`result.json` of every cell."""

    @property
    def mean(self) -> Predictions:
        """The probabilities averaged over seeds."""
        first = self.per_seed[0]
        together = np.mean([one.probabilities for one in self.per_seed], axis=0)
        return Predictions(first.classes, first.paths, first.groups, first.folds, first.labels, together)

    def fold_scores(self, metric: str) -> Float64[np.ndarray, "seed fold"]:
        """The metric of every run alone."""
        rows = []
        for predictions in self.per_seed:
            names = np.array(predictions.folds)
            rows.append(
                [
                    score(
                        predictions.labels[names == fold],
                        predictions.probabilities[names == fold],
                        positive=self.positive,
                    )[metric]
                    for fold in self.folds
                ]
            )
        return np.array(rows)


@dataclass(frozen=True)
class Comparison:
    """The first contender against a rival, on the same patients."""

    task: str
    way: str
    first: str
    rival: str
    metric: str

    difference: Interval
    """The first's number less the rival's."""

    p: float | None
    """Of no difference: swapped answers for macro-F1, DeLong's test for AUROC, both over patients."""

    adjusted_p: float | None
    """Corrected over all comparisons of the metric in the plan."""

    other_tests: dict[str, Any]
    """McNemar, corrected t-test and signed ranks over splits, as records."""


def entries_of(plan: Plan, cells: Sequence[Cell], out: Path) -> list[Entry]:
    """All encoders and ways whose every split is finished for at least one seed.

    Seeds with a missing split are left out, so that each mean is over whole sets of test images.
    """
    found = []
    keys = dict.fromkeys((cell.task.name, cell.encoder.name, cell.way.name) for cell in cells)
    with progress_bar("score", total=len(keys)) as bar:
        for key in keys:
            bar.say(", ".join(key))
            mine = [cell for cell in cells if (cell.task.name, cell.encoder.name, cell.way.name) == key]
            whole = [
                seed
                for seed in plan.seeds
                if all((out / cell.folder / RESULT_FILE).exists() for cell in mine if cell.seed == seed)
            ]
            if whole:
                mine = [cell for cell in mine if cell.seed in whole]
                found.append(_entry(mine, whole, out, plan.bootstrap))
            bar.advance()
    return found


def comparisons_of(plan: Plan, entries: Sequence[Entry]) -> list[Comparison]:
    """The plan's first encoder against each other one, in every way on every task."""
    first = plan.encoders[0].name
    found: list[Comparison] = []
    pairs = [
        (ours, rival)
        for ours in entries
        for rival in entries
        if ours.encoder == first and (rival.task, rival.way) == (ours.task, ours.way) and rival is not ours
    ]
    by_metric: dict[str, list[Comparison]] = {metric: [] for metric in TESTED}
    with progress_bar("compare", total=len(pairs) * len(TESTED)) as bar:
        for metric, made in by_metric.items():
            for ours, rival in pairs:
                bar.say(f"{ours.task}, {ours.way}: {rival.encoder}, {metric}")
                made.append(compare_entries(ours, rival, metric, plan.bootstrap))
                bar.advance()
    for made in by_metric.values():
        known = [one for one in made if one.p is not None]
        adjusted = holm_correction([one.p for one in known if one.p is not None]).adjusted if known else ()
        by_pair = dict(zip(map(id, known), adjusted, strict=True))
        found += [replace(one, adjusted_p=by_pair.get(id(one))) for one in made]
    return found


def compare_entries(ours: Entry, rival: Entry, metric: str, bootstrap: BootstrapConfig) -> Comparison:
    """Two contenders on the same images; p-values are not yet corrected.

    Raises:
        FolderError: they were not tested on the same images.
    """
    theirs = [_aligned(ours, one) for one in rival.per_seed]
    labels, groups = ours.per_seed[0].labels, ours.per_seed[0].group_ids
    mine = [one.probabilities for one in ours.per_seed]
    other = [one.probabilities for one in theirs]

    folds = fold_ids(ours.per_seed[0], theirs[0])
    change = difference_over_seeds(
        labels, other, mine, groups, config=bootstrap, positive=ours.positive, folds=folds
    )
    p, tests = _tests(metric, labels, other, mine, groups, folds, ours.positive)
    mine_by_fold, other_by_fold = ours.fold_scores(metric), rival.fold_scores(metric)
    if mine_by_fold.shape == other_by_fold.shape and mine_by_fold.shape[1] > 1:
        tests["corrected_t"] = corrected_t_test(
            other_by_fold, mine_by_fold, test_to_train_ratio=_test_to_train(ours)
        ).record()
    if mine_by_fold.shape[1] == other_by_fold.shape[1] > 1:
        by_fold = other_by_fold.mean(axis=0), mine_by_fold.mean(axis=0)
        if np.isfinite(by_fold).all():
            tests["wilcoxon"] = wilcoxon_test(*by_fold).record()
    return Comparison(
        ours.task, ours.way, ours.encoder, rival.encoder, metric, change[metric], p, None, tests
    )


def _entry(cells: Sequence[Cell], seeds: Sequence[int], out: Path, bootstrap: BootstrapConfig) -> Entry:
    results = [read_json(out / cell.folder / RESULT_FILE) for cell in cells]
    tables: list[Predictions] = []
    for seed in seeds:
        parts = [read_predictions(out / c.folder / PREDICTIONS_FILE) for c in cells if c.seed == seed]
        table = pooled(parts)
        if tables:
            table = in_order_of(tables[0], table, first=Path(f"seed {seeds[0]}"), second=Path(f"seed {seed}"))
        tables.append(table)
    first, cell = tables[0], cells[0]
    name = results[0].get("positive")
    positive = None if name is None else first.classes.index(name)
    entry = Entry(
        task=cell.task.name,
        encoder=cell.encoder.name,
        way=cell.way.name,
        method=cell.way.method,
        is_few=cell.way.is_few,
        num_learnt=round(np.mean([result["split"]["num_train"] for result in results])),
        seeds=tuple(seeds),
        per_seed=tuple(tables),
        metrics=score_over_seeds(
            first.labels,
            [table.probabilities for table in tables],
            first.group_ids,
            config=bootstrap,
            positive=positive,
            folds=fold_ids(first),
        ),
        over_folds={},
        folds=tuple(dict.fromkeys(first.folds)),
        positive=positive,
        results=tuple(results),
    )
    for metric in TESTED:
        scores = entry.fold_scores(metric)
        if scores.shape[1] > 1:
            entry.over_folds[metric] = mean_over_runs(scores, test_to_train_ratio=_test_to_train(entry))
    return entry


def _tests(
    metric: str,
    labels: Int[np.ndarray, " image"],
    other: Sequence[Float[np.ndarray, "image class"]],
    mine: Sequence[Float[np.ndarray, "image class"]],
    groups: Int[np.ndarray, " image"],
    folds: Int[np.ndarray, " image"],
    positive: int | None,
) -> tuple[float | None, dict[str, Any]]:
    """The p-value that counts, of the mean over seeds, and the records of further tests; the rival first.

    Where the contenders have not as many seeds, answers are swapped on probabilities averaged over them, as
    McNemar's always are.
    """
    if metric == "auroc":
        delong = delong_test(labels, other, mine, groups, positive=positive, folds=folds)
        return delong.p, {"delong": delong.record()}
    averaged = np.mean(other, axis=0), np.mean(mine, axis=0)
    sides: tuple[Answers, Answers] = (other, mine) if len(other) == len(mine) else averaged
    swapped = permutation_test(
        labels,
        sides[0],
        sides[1],
        groups,
        metric=metric,
        positive=positive,
        config=PermutationConfig(),
    )
    counted = mcnemar_test(labels, *averaged, groups)
    return swapped.p, {"permutation": swapped.record(), "mcnemar": counted.record()}


def _aligned(ours: Entry, table: Predictions) -> Predictions:
    return in_order_of(
        ours.per_seed[0], table, first=Path(ours.encoder), second=Path("the rival on the same task")
    )


def _test_to_train(entry: Entry) -> float:
    """Images tested per image learnt from, over all splits."""
    splits = [result["split"] for result in entry.results]
    tested, learnt = (sum(split[name] for split in splits) for name in ("num_test", "num_train"))
    return float(tested / learnt)
