"""Contenders under shifts in numbers: means over seeds, intervals over patients, all on the same draws.

Under each amount a contender has its metrics, their difference from those of the pictures as they are, and
how far it is ahead of the first contender under the same amount.
"""

from pathlib import Path
from typing import Any

import numpy as np

from usfmae.evaluate.compare import in_order_of
from usfmae.evaluate.metrics import predicted_classes
from usfmae.evaluate.over_seeds import difference_over_seeds, score_over_seeds
from usfmae.evaluate.predictions import Predictions, fold_ids
from usfmae.evaluate.shifted_answers import Answers
from usfmae.evaluate.shifts_config import ShiftsConfig
from usfmae.evaluate.statistics import Interval
from usfmae.images.shifts import SHIFTS

SHOWN_METRICS = ("macro_f1", "auroc")
"""What is scored under each amount."""

PerSeed = tuple[Predictions, ...]


def scored(answers: Answers, config: ShiftsConfig, first: Answers | None) -> dict[str, Any]:
    """One contender: where it comes from, and a row for each shift and amount.

    Args:
        answers: what it says.
        config: shifts, amounts and intervals.
        first: whom it is set against; None for the first itself.
    """
    rows: list[dict[str, Any]] = []
    rival = first if first is not None and same_images(answers, first) else None
    before = _metrics(answers.plain, answers, config)
    ahead = None if rival is None else _ahead(answers.plain, rival.plain, answers, config)
    for name, amounts in config.chosen().items():
        for amount in amounts:
            rows.append({"shift": name, "amount": amount})
            if amount == SHIFTS[name].neutral:
                rows[-1] |= {"metrics": before, "difference": _no_difference(before), "ahead": ahead}
                rows[-1] |= {"changed_ratio": 0.0}
                continue
            said = answers.shifted[name, amount]
            rows[-1] |= {
                "metrics": _metrics(said, answers, config),
                "difference": _shown(_difference(answers.plain, said, answers, config)),
                "ahead": None
                if rival is None
                else _ahead(said, rival.shifted[name, amount], answers, config),
                "changed_ratio": _changed_ratio(answers.plain, said),
            }
    plain, results = answers.plain[0], answers.contender.results
    record = results[0].record
    return {
        "name": answers.contender.name,
        "encoder": record.get("encoder"),
        "init": record.get("init"),
        "seeds": list(answers.contender.by_seed),
        "weights_sha256": [result.record.get("weights_sha256") for result in results],
        "results": [result.where for result in results],
        "splits": list(dict.fromkeys(plain.folds)),
        "num_images": len(plain),
        "num_patients": len(np.unique(plain.group_ids)),
        "largest_difference": answers.largest_difference,
        "same_task": answers.same_task,
        "rows": rows,
    }


def same_images(one: Answers, other: Answers) -> bool:
    """Whether two contenders were tested on the same images."""
    return set(one.plain[0].paths) == set(other.plain[0].paths)


def _metrics(said: PerSeed, answers: Answers, config: ShiftsConfig) -> dict[str, Any]:
    return _shown(
        score_over_seeds(
            said[0].labels,
            [one.probabilities for one in said],
            said[0].group_ids,
            config=config.bootstrap,
            positive=answers.task.positive,
            folds=fold_ids(said[0]),
        )
    )


def _difference(
    before: PerSeed, after: PerSeed, answers: Answers, config: ShiftsConfig
) -> dict[str, Interval]:
    return difference_over_seeds(
        before[0].labels,
        [one.probabilities for one in before],
        [one.probabilities for one in after],
        before[0].group_ids,
        config=config.bootstrap,
        positive=answers.task.positive,
        folds=fold_ids(before[0], after[0]),
    )


def _ahead(said: PerSeed, rival: PerSeed, answers: Answers, config: ShiftsConfig) -> dict[str, Any]:
    """How much better the contender is than the first one, under one amount."""
    mine, theirs = Path(answers.contender.name), Path("the first contender")
    aligned = tuple(in_order_of(said[0], one, first=mine, second=theirs) for one in rival)
    return _shown(_difference(aligned, said, answers, config))


def _shown(intervals: dict[str, Interval]) -> dict[str, Any]:
    return {name: intervals[name].record() for name in SHOWN_METRICS}


def _changed_ratio(plain: PerSeed, shifted: PerSeed) -> float:
    """Images that are called otherwise than as they are, mean over seeds."""
    called = [
        predicted_classes(before.probabilities) != predicted_classes(after.probabilities)
        for before, after in zip(plain, shifted, strict=True)
    ]
    return float(np.mean(called))


def _no_difference(metrics: dict[str, Any]) -> dict[str, Any]:
    """Of the pictures from themselves: 0, where the metric is defined."""
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0}
    return {name: metric if metric["value"] is None else nothing for name, metric in metrics.items()}
