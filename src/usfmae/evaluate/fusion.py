"""Pictures and a table together: a logistic regression on features (or answers) of pictures and on columns.

The penalty is chosen by cross-validation inside the training side, whole patients at a time and with
everything fitted anew in each part: standardisation, medians, categories. Whether the table adds anything is
what `statistics.paired_difference` says of the test side, against the same regression without columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int64
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from usfmae.base.seeds import seed_for
from usfmae.evaluate.linear_probe import C_GRID, SMALLEST, loss_shares
from usfmae.evaluate.table_columns import Columns, Row, TableEncoder, fit_table, refuse_the_label

NUM_PARTS = 5
"""Of the cross-validation inside the training side; fewer where there are fewer patients."""

ImageAs = Literal["features", "log-odds"]
"""How pictures enter: as features beside the columns, or as the answer of a regression on the features alone,
which keeps hundreds of features from drowning a few columns. That answer is given out of fold while the
second regression is fitted: an answer to a picture that was learnt from is too sure."""


@dataclass(frozen=True, eq=False)
class FusionModel:
    """A fitted regression on pictures and columns."""

    model: Pipeline
    """Standardisation and logistic regression over everything joined."""

    table: TableEncoder
    image_only: "FusionModel | None"
    """With "log-odds", the regression that answers for the picture."""

    num_classes: int
    c: float
    """Inverse strength of the penalty that cross-validation chose."""

    log_loss: dict[float, float]
    """Out-of-fold loss of each strength tried; with `balanced` each class weighs the same in it."""

    def probabilities(
        self, features: Float[np.ndarray, "n d"], rows: Sequence[Row]
    ) -> Float64[np.ndarray, "n class"]:
        """Predicted probability of each class; 0 for classes that training did not hold.

        Args:
            features: of pictures (or patients), from the encoder that was fitted on.
            rows: what the table says of each; ignored where no column is used.
        """
        joined = (
            features if self.image_only is None else _log_odds(self.image_only.probabilities(features, rows))
        )
        inputs = np.concatenate([joined.astype(np.float64), self.table.encode(rows)], axis=1)
        return _answers(self.model, inputs, self.num_classes)


def fit_fusion(
    features: Float[np.ndarray, "n d"],
    rows: Sequence[Row],
    labels: Int64[np.ndarray, " n"],
    groups: Sequence[str],
    *,
    num_classes: int,
    columns: Columns | None = None,
    image_as: ImageAs = "features",
    balanced: bool = False,
    seed: int = 0,
) -> FusionModel:
    """Fit on the training side; without columns, on the pictures alone.

    Args:
        features: frozen, of training pictures or patients; of width 0 for the table alone.
        rows: what the table says of each.
        labels: their classes, at least two different ones.
        groups: the patient of each.
        num_classes: classes in all.
        columns: which to use; None for none.
        image_as: how pictures enter.
        balanced: let every class weigh the same, however many rows it has, in the choice as in the fit.
        seed: of the parts of the cross-validation.

    Raises:
        DatasetError: a column is missing, cannot be read, or is the label under another name.
        ValueError: one class, fewer than two patients of each, or lengths that differ.
    """
    columns = columns or Columns()
    if not len(features) == len(rows) == len(labels) == len(groups):
        raise ValueError("features, rows, labels and groups are of different lengths")
    refuse_the_label(rows, labels, groups, columns)
    parts = _parts(labels, groups, seed)
    image_only = None
    inputs = features.astype(np.float64)
    if image_as == "log-odds" and features.shape[1]:
        image_only = fit_fusion(
            features, rows, labels, groups, num_classes=num_classes, balanced=balanced, seed=seed
        )
        inputs = _log_odds(_out_of_fold(inputs, labels, parts, image_only.c, num_classes, balanced))
    losses: dict[float, float] = {}
    share = loss_shares(labels, balanced=balanced)
    for c in C_GRID:
        found = _out_of_fold(inputs, labels, parts, c, num_classes, balanced, rows, columns)
        likelihood = found[np.arange(len(labels)), labels]
        losses[c] = -float((share * np.log(np.maximum(likelihood, SMALLEST))).sum())
    best = min(losses, key=lambda c: losses[c])
    table = fit_table(rows, columns)
    joined = np.concatenate([inputs, table.encode(rows)], axis=1)
    model = _fitted(joined, labels, best, balanced)
    return FusionModel(model, table, image_only, num_classes, best, losses)


def _out_of_fold(
    inputs: Float64[np.ndarray, "n d"],
    labels: Int64[np.ndarray, " n"],
    parts: list[tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]]],
    c: float,
    num_classes: int,
    balanced: bool,
    rows: Sequence[Row] = (),
    columns: Columns | None = None,
) -> Float64[np.ndarray, "n class"]:
    """The answer to each row of a regression that has not seen its patient."""
    found = np.zeros((len(labels), num_classes))
    for learnt, asked in parts:
        known, unknown = inputs[learnt], inputs[asked]
        if columns is not None:
            table = fit_table([rows[one] for one in learnt.tolist()], columns)
            known = np.concatenate([known, table.encode([rows[one] for one in learnt.tolist()])], axis=1)
            unknown = np.concatenate([unknown, table.encode([rows[one] for one in asked.tolist()])], axis=1)
        found[asked] = _answers(_fitted(known, labels[learnt], c, balanced), unknown, num_classes)
    return found


def _parts(
    labels: Int64[np.ndarray, " n"], groups: Sequence[str], seed: int
) -> list[tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]]]:
    """Learnt and asked rows of each part, whole patients, classes in like shares."""
    classes = np.unique(labels)
    patients = [len({groups[row] for row in np.flatnonzero(labels == one).tolist()}) for one in classes]
    if len(classes) < 2 or min(patients) < 2:
        raise ValueError(f"choosing a penalty needs two classes of two patients each, not {patients}")
    folds = StratifiedGroupKFold(
        n_splits=min(NUM_PARTS, *patients), shuffle=True, random_state=seed_for(seed, "fusion") % 2**32
    )
    return list(folds.split(np.zeros(len(labels)), labels, groups))


def _fitted(
    inputs: Float64[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], c: float, balanced: bool
) -> Pipeline:
    model = LogisticRegression(C=c, max_iter=5000, class_weight="balanced" if balanced else None)
    return make_pipeline(StandardScaler(), model).fit(inputs, labels)


def _answers(
    model: Pipeline, inputs: Float64[np.ndarray, "n d"], num_classes: int
) -> Float64[np.ndarray, "n class"]:
    out = np.zeros((len(inputs), num_classes))
    out[:, model.classes_] = model.predict_proba(inputs)
    return out


def _log_odds(probabilities: Float64[np.ndarray, "n class"]) -> Float64[np.ndarray, "n _"]:
    """Logarithms less their mean; one column with two classes, since the other is its negative."""
    logs = np.log(np.maximum(probabilities, SMALLEST))
    centred: Float64[np.ndarray, "n class"] = logs - logs.mean(axis=1, keepdims=True)
    return centred[:, 1:] if probabilities.shape[1] == 2 else centred
