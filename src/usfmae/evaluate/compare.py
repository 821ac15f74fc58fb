"""Two results on the same test images, side by side."""

from pathlib import Path
from typing import Any

from usfmae.base.errors import FolderError
from usfmae.base.files import read_json
from usfmae.evaluate.predictions import PREDICTIONS_FILE, Predictions, fold_ids, read_predictions
from usfmae.evaluate.result import RESULT_FILE
from usfmae.evaluate.statistics import BootstrapConfig, paired_difference


def compare_results(first: Path, second: Path, *, bootstrap: BootstrapConfig | None = None) -> dict[str, Any]:
    """How much better the second result is, with intervals from shared draws of patients.

    Args:
        first: folder of the baseline's result.
        second: folder of the contender's result.
        bootstrap: how intervals are drawn; 1,000 resamples if None.

    Returns:
        first and second (folder and metrics), `difference` (each metric of the second minus that of the
        first: value, low, high), num_images and num_patients.

    Raises:
        FolderError: a folder holds no result, or the two were not tested on the same images.
    """
    before, after = read_json(first / RESULT_FILE), read_json(second / RESULT_FILE)
    baseline = read_predictions(first / PREDICTIONS_FILE)
    contender = in_order_of(baseline, read_predictions(second / PREDICTIONS_FILE), first=first, second=second)
    positive = before.get("positive")
    differences = paired_difference(
        baseline.labels,
        baseline.probabilities,
        contender.probabilities,
        baseline.group_ids,
        config=bootstrap or BootstrapConfig(),
        positive=None if positive is None else baseline.classes.index(positive),
        folds=fold_ids(baseline, contender),
    )
    return {
        "first": {"folder": str(first), "metrics": before["metrics"]},
        "second": {"folder": str(second), "metrics": after["metrics"]},
        "difference": {name: interval.record() for name, interval in differences.items()},
        "num_images": len(baseline),
        "num_patients": len(set(baseline.groups)),
    }


def in_order_of(wanted: Predictions, found: Predictions, *, first: Path, second: Path) -> Predictions:
    """The rows of `found` in the order of `wanted`.

    Args:
        wanted: gives the order.
        found: the same test images.
        first: what `wanted` is, for messages.
        second: what `found` is.

    Raises:
        FolderError: other classes, other images, an image twice, or other true classes.
    """
    if wanted.classes != found.classes:
        raise FolderError(
            f"{second}: tells apart {', '.join(found.classes)}, {first} {', '.join(wanted.classes)}",
            hint="compare results on the same task",
        )
    for predictions, where in ((wanted, first), (found, second)):
        twice = len(predictions) - len(set(predictions.paths))
        if twice:
            raise FolderError(
                f"{where}: {twice:,} rows are of an image that has one already",
                hint="each test image has one row; evaluate again with --overwrite",
            )
    place = {path: row for row, path in enumerate(found.paths)}
    alone = sorted(set(wanted.paths) ^ set(found.paths))
    if alone:
        raise FolderError(
            f"{first} and {second} were not tested on the same images: {len(alone):,} are in one only "
            f"(first: {alone[0]})",
            hint="evaluate both on the same splits",
        )
    ordered = found.rows([place[path] for path in wanted.paths])
    differing = (ordered.labels != wanted.labels).nonzero()[0]
    if len(differing):
        raise FolderError(
            f"{first} and {second} disagree on the true class of {len(differing):,} images "
            f"(first: {wanted.paths[differing[0]]})",
            hint="evaluate both on the same copy of the dataset",
        )
    return ordered
