"""Decisions of a plan's contenders: calibration, and a threshold, both chosen on validation images alone.

Each cell brings its own validation images, on which its temperature and threshold are chosen and to no image
of which they are applied. The test images of all splits are then judged together, every seed on the same
draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from usfmae.base.files import read_json
from usfmae.evaluate.calibration import (
    CalibrationConfig,
    ReliabilityCurve,
    calibration,
    fit_temperature,
    reliability_curve,
)
from usfmae.evaluate.metrics import predicted_classes
from usfmae.evaluate.operating_points import RATES, choose_threshold
from usfmae.evaluate.plan import Cell
from usfmae.evaluate.plan_scores import Entry
from usfmae.evaluate.predictions import VALIDATION_FILE, Predictions, joined, read_predictions
from usfmae.evaluate.result import RESULT_FILE
from usfmae.evaluate.statistics import BootstrapConfig, Interval, draw_resamples

WANTED_SENSITIVITY = 0.9
"""A reader misses few cancers; what specificity is left at that?"""


@dataclass(frozen=True, eq=False)
class Decisions:
    """What an entry's probabilities are good for."""

    said: Float[np.ndarray, " bin"]
    """Reliability curve of the first seed at temperature 1: mean probability, ..."""

    found: Float[np.ndarray, " bin"]
    """... and share of images that were so."""

    error_before: float
    """Expected calibration error, mean over seeds."""

    error_after: float | None
    """The same with temperatures fitted on validation images; None where none could be."""

    brier: Interval
    """Of the first seed."""

    temperatures: tuple[float, ...]
    """One per seed and split. Empty where the true class of a validation image was given no chance at all, as
    the votes of neighbours do: no power of 0 is likely, so a fit would say nothing about the other images."""

    rates: dict[str, Interval]
    """Sensitivity, specificity, PPV and NPV at the threshold; empty with more than two classes."""

    thresholds: tuple[float, ...]
    """One per seed and split."""


def decisions_of(
    entry: Entry, cells: Sequence[Cell], out: Path, bootstrap: BootstrapConfig
) -> Decisions | None:
    """Calibrate and choose on validation images, judge on test images.

    Args:
        entry: one encoder and way.
        cells: of the whole plan.
        out: the plan's folder.
        bootstrap: intervals.

    Returns:
        None where a cell has no validation images.

    Raises:
        LeakError: an image that something was chosen on is tested.
    """
    made = {
        (cell.seed, split): cell
        for cell in cells
        if (cell.task.name, cell.encoder.name, cell.way.name) == (entry.task, entry.encoder, entry.way)
        and (split := _tested(cell, out)) is not None
    }
    calibrated: list[Predictions] = []
    called: list[Bool[np.ndarray, " image"]] = []
    temperatures, thresholds = [], []
    for seed, table in zip(entry.seeds, entry.per_seed, strict=True):
        parts, calls = [], np.zeros(len(table), dtype=bool)
        for fold in entry.folds:
            path = out / made[seed, fold].folder / VALIDATION_FILE
            if not path.exists():
                return None
            watched = read_predictions(path)
            rows = [row for row, name in enumerate(table.folds) if name == fold]
            tested = table.rows(rows)
            if watched.probabilities[np.arange(len(watched)), watched.labels].all():
                fitted = fit_temperature(watched.labels, watched.probabilities, watched.paths)
                temperatures.append(fitted.value)
                parts.append(_with(tested, fitted.apply(tested.probabilities, tested.paths)))
            if len(table.classes) == 2 and len(np.unique(watched.labels)) == 2:
                threshold = choose_threshold(
                    watched.labels,
                    watched.probabilities,
                    watched.paths,
                    rule="sensitivity",
                    at_least=WANTED_SENSITIVITY,
                    positive=entry.positive,
                )
                threshold.chosen_on.refuse(tested.paths, what=f"threshold {threshold.value:.4g}")
                thresholds.append(threshold.value)
                calls[rows] = tested.probabilities[:, threshold.positive] >= threshold.value
        called.append(calls)
        if len(parts) == len(entry.folds):
            calibrated.append(joined(parts))
    first = entry.per_seed[0]
    curve = _curve(first, entry.positive)
    brier = calibration(
        first.labels, first.probabilities, first.group_ids, positive=entry.positive, bootstrap=bootstrap
    ).brier
    complete = len(thresholds) == len(entry.seeds) * len(entry.folds)
    fitted_all = len(calibrated) == len(entry.seeds)
    return Decisions(
        said=curve.said,
        found=curve.found,
        error_before=_mean_error(entry.per_seed, entry.positive),
        error_after=_mean_error(calibrated, entry.positive) if fitted_all else None,
        brier=brier,
        temperatures=tuple(temperatures) if fitted_all else (),
        rates=_rates(entry, called, bootstrap) if complete else {},
        thresholds=tuple(thresholds),
    )


def _tested(cell: Cell, out: Path) -> str | None:
    """The split that a finished cell has tested, as its predictions name it: with few labels it is called
    "fold-2-0.1-labels", and one split's name may begin with another's."""
    path = out / cell.folder / RESULT_FILE
    return str(read_json(path)["split"]["name"]) if path.exists() else None


def _with(table: Predictions, probabilities: Float[np.ndarray, "image class"]) -> Predictions:
    return Predictions(
        table.classes, table.paths, table.groups, table.folds, table.labels, probabilities.astype(np.float64)
    )


def _curve(table: Predictions, positive: int | None) -> ReliabilityCurve:
    """Of the positive class with two classes, of the confidence with more."""
    if len(table.classes) == 2:
        one = 1 if positive is None else positive
        said, is_so = table.probabilities[:, one], table.labels == one
    else:
        said = table.probabilities.max(axis=1)
        is_so = predicted_classes(table.probabilities) == table.labels
    return reliability_curve(said, is_so, config=CalibrationConfig())


def _mean_error(tables: Sequence[Predictions], positive: int | None) -> float:
    return float(np.mean([_curve(table, positive).expected_error for table in tables]))


def _rates(
    entry: Entry, called: Sequence[Bool[np.ndarray, " image"]], bootstrap: BootstrapConfig
) -> dict[str, Interval]:
    """Means over seeds of what the calls of all splits come to, on shared draws of patients."""
    first = entry.per_seed[0]
    is_positive = first.labels == (1 if entry.positive is None else entry.positive)

    def rates(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample metric"]:
        rows = []
        for calls in called:
            bases = np.stack([is_positive, ~is_positive, calls, ~calls])
            below = weights @ bases.T
            ratio = np.full(below.shape, np.nan)
            np.divide(weights @ (bases & (is_positive == calls)).T, below, out=ratio, where=below > 0)
            rows.append(ratio)
        mean: Float[np.ndarray, "resample metric"] = np.mean(rows, axis=0)
        return mean

    draws = draw_resamples(rates, is_positive.astype(np.int64), first.group_ids, 2, bootstrap)
    return {
        name: draws.interval(column, bootstrap, undefined="nobody is called so")
        for column, name in enumerate(RATES)
    }
