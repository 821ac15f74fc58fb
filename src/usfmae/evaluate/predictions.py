"""What a classifier said about each test image, as a table that anybody can score again.

`predictions.csv` has the columns path, group, fold, label and one `prob_<class>` per class. Labels are
class names; probabilities are written in full, so the file gives the metrics of `result.json` to the bit.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from usfmae.base.errors import FolderError
from usfmae.base.files import write_text

PREDICTIONS_FILE = "predictions.csv"
VALIDATION_FILE = "validation_predictions.csv"
"""The same of validation images, for thresholds and temperatures; with several folds an image may be there
more than once."""
_FIXED = ("path", "group", "fold", "label")
_PROBABILITY = "prob_"


@dataclass(frozen=True)
class Predictions:
    """Test images with their true class and predicted probabilities."""

    classes: tuple[str, ...]
    """Class names; labels count into them."""

    paths: tuple[str, ...]
    """Image file below the dataset's folder, with forward slashes."""

    groups: tuple[str, ...]
    """Patient (or cluster) of each image."""

    folds: tuple[str, ...]
    """Name of the split in which the image was tested."""

    labels: Int64[np.ndarray, " image"]
    """True class of each image."""

    probabilities: Float64[np.ndarray, "image class"]
    """Predicted; each row sums to 1."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def group_ids(self) -> Int64[np.ndarray, " image"]:
        """The group of each image as an integer."""
        return np.unique(np.array(self.groups), return_inverse=True)[1].astype(np.int64)

    def rows(self, wanted: Sequence[int]) -> "Predictions":
        """Some of the images, in the order asked for."""
        return Predictions(
            classes=self.classes,
            paths=tuple(self.paths[i] for i in wanted),
            groups=tuple(self.groups[i] for i in wanted),
            folds=tuple(self.folds[i] for i in wanted),
            labels=self.labels[list(wanted)],
            probabilities=self.probabilities[list(wanted)],
        )


def fold_ids(*tables: Predictions) -> Int64[np.ndarray, " image"]:
    """Which network scored each image, as an integer: equal where it was the same one in every table.

    Args:
        tables: the same images in the same order.
    """
    names = np.array([one.folds for one in tables])
    return np.unique(names, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def pooled(parts: Sequence[Predictions]) -> Predictions:
    """The test images of several folds as one set.

    Raises:
        ValueError: the parts have other classes, or an image is tested twice.
    """
    together = joined(parts)
    if len(set(together.paths)) != len(together.paths):
        twice = len(together.paths) - len(set(together.paths))
        raise ValueError(f"{twice} images are tested in more than one fold")
    return together


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The rows of several tables one after another; an image may be in several.

    Raises:
        ValueError: the parts have other classes.
    """
    if len({part.classes for part in parts}) != 1:
        raise ValueError("only predictions over the same classes can be pooled")
    return Predictions(
        classes=parts[0].classes,
        paths=tuple(path for part in parts for path in part.paths),
        groups=tuple(group for part in parts for group in part.groups),
        folds=tuple(fold for part in parts for fold in part.folds),
        labels=np.concatenate([part.labels for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


def per_group(predictions: Predictions, *, positive: int | None = None) -> tuple[Predictions, int]:
    """One row per patient: the mean probability over all of the patient's images.

    A patient whose images carry several labels takes the positive one if it is among them (the worst finding
    decides), else the most frequent.

    Args:
        predictions: one row per image.
        positive: the class to be found; None if none is.

    Returns:
        One row per group, and the number of groups whose images carry several labels.
    """
    members: dict[str, list[int]] = {}
    for index, group in enumerate(predictions.groups):
        members.setdefault(group, []).append(index)
    num_classes = len(predictions.classes)
    labels, mixed = [], 0
    for rows in members.values():
        counts = np.bincount(predictions.labels[rows], minlength=num_classes)
        mixed += int((counts > 0).sum() > 1)
        worst = positive is not None and counts[positive] > 0
        labels.append(positive if worst else int(counts.argmax()))
    patients = Predictions(
        classes=predictions.classes,
        paths=tuple(members),
        groups=tuple(members),
        folds=tuple(predictions.folds[rows[0]] for rows in members.values()),
        labels=np.array(labels, dtype=np.int64),
        probabilities=np.stack([predictions.probabilities[rows].mean(axis=0) for rows in members.values()]),
    )
    return patients, mixed


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the table, whole or not at all."""
    write_text(path, _as_text(predictions))


def predictions_sha256(predictions: Predictions) -> str:
    """The hash of the file that `write_predictions` makes, so that `sha256sum` finds it again."""
    return hashlib.sha256(_as_text(predictions).encode()).hexdigest()


def _as_text(predictions: Predictions) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIXED, *(_PROBABILITY + name for name in predictions.classes)])
    for index in range(len(predictions)):
        writer.writerow(
            [
                predictions.paths[index],
                predictions.groups[index],
                predictions.folds[index],
                predictions.classes[predictions.labels[index]],
                *(repr(float(value)) for value in predictions.probabilities[index]),
            ]
        )
    return text.getvalue()


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        FolderError: the file is missing or is no such table.
    """
    try:
        with path.open(newline="") as file:
            header, *rows = list(csv.reader(file, strict=True))
        names = tuple(name.removeprefix(_PROBABILITY) for name in header[len(_FIXED) :])
        if tuple(header[: len(_FIXED)]) != _FIXED or not rows:
            raise ValueError("its header or its rows are missing")
        return Predictions(
            classes=names,
            paths=tuple(row[0] for row in rows),
            groups=tuple(row[1] for row in rows),
            folds=tuple(row[2] for row in rows),
            labels=np.array([names.index(row[3]) for row in rows], dtype=np.int64),
            probabilities=np.array([[float(cell) for cell in row[len(_FIXED) :]] for row in rows]),
        )
    except FileNotFoundError as error:
        raise FolderError(f"{path}: no such file", hint="is the evaluation finished?") from error
    except (ValueError, IndexError, csv.Error) as error:
        raise FolderError(
            f"{path}: is no table of predictions ({error})", hint="evaluate again with --overwrite"
        ) from error
