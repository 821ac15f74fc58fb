"""Columns of a table as numbers, fitted on training rows, and a guard against columns that are the label.

Nothing of a validation or test row enters what is fitted: medians, deviations and the list of categories are
those of training.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from sklearn.tree import DecisionTreeClassifier

from usfmae.base.errors import DatasetError

Row = Mapping[str, str]
"""What a table says of one picture or patient, as written there (`Item.extras`)."""

MISSING = frozenset({"", "nan", "na", "n/a", "null", "unknown", "?", "-"})
"""Words for nothing known, in small letters. "none" is not among them: calcification "none" is a finding."""

NAMED_LIKE_A_LABEL = ("histolog", "patholog", "diagnos", "biops", "malignan", "label")
"""Parts of column names that stand for the truth itself, refused however well they predict it."""

READ_BY_A_PHYSICIAN = ("rads",)
"""BI-RADS, TI-RADS, O-RADS: allowed, but a reader of the result has to know."""

DETERMINED = 0.99
"""Share of training rows that a column may get right alone before it is taken for the label."""

MIN_PATIENTS = 30
"""Patients among whom that share is taken; fewer say nothing."""


@dataclass(frozen=True)
class Columns:
    """Which columns are used, and how each is read."""

    numeric: tuple[str, ...] = ()
    """Numbers: age, size."""

    categorical: tuple[str, ...] = ()
    """Words, one-hot: device, side."""

    allow: tuple[str, ...] = ()
    """Columns that the guard is to let pass though they look like the label."""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns used."""
        return self.numeric + self.categorical

    def notes(self) -> tuple[str, ...]:
        """What a reader of a result has to know about these columns."""
        read = [name for name in self.names if any(part in _plain(name) for part in READ_BY_A_PHYSICIAN)]
        excused = [name for name in self.names if name in self.allow]
        notes = [
            f"{name} is a physician's own judgement of the picture: the result is that of both together"
            for name in read
        ]
        return (*notes, *(f"{name} was allowed though it may be the label itself" for name in excused))


@dataclass(frozen=True, eq=False)
class TableEncoder:
    """What was fitted on training rows."""

    columns: Columns
    medians: tuple[float, ...]
    scales: tuple[tuple[float, float], ...]
    """Mean and deviation of each numeric column, of the values that are there."""

    with_indicator: tuple[bool, ...]
    """Whether a numeric column gets a second one that is 1 where the value is missing: where training has
    such rows."""

    categories: tuple[tuple[str, ...], ...]
    """Of each categorical column, in alphabetical order; "" stands for missing, if training has such rows."""

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each number of an encoded row."""
        found = []
        for name, indicator in zip(self.columns.numeric, self.with_indicator, strict=True):
            found += [name, f"{name} missing"] if indicator else [name]
        for name, categories in zip(self.columns.categorical, self.categories, strict=True):
            found += [f"{name}={category or 'missing'}" for category in categories]
        return tuple(found)

    def encode(self, rows: Sequence[Row]) -> Float64[np.ndarray, "n column"]:
        """Numbers standardised, missing ones at the training median; words one-hot, unknown ones all 0.

        Raises:
            DatasetError: a numeric column holds something else.
        """
        parts: list[Float64[np.ndarray, "n _"]] = [np.zeros((len(rows), 0))]
        fitted = zip(self.columns.numeric, self.medians, self.scales, self.with_indicator, strict=True)
        for name, median, (mean, deviation), indicator in fitted:
            values = _numbers(rows, name)
            gone = np.isnan(values)
            parts.append(((np.where(gone, median, values) - mean) / deviation)[:, None])
            if indicator:
                parts.append(gone[:, None].astype(np.float64))
        for name, categories in zip(self.columns.categorical, self.categories, strict=True):
            words = _words(rows, name)
            parts.append(np.array([[word == one for one in categories] for word in words], dtype=np.float64))
        return np.concatenate([part.reshape(len(rows), -1) for part in parts], axis=1)


def fit_table(rows: Sequence[Row], columns: Columns) -> TableEncoder:
    """Learn medians, deviations and categories.

    Args:
        rows: of the training side only.
        columns: which to use.

    Raises:
        DatasetError: a column that no row has, or a numeric one without a number.
    """
    for name in columns.names:
        if not any(name in row for row in rows):
            there = sorted({key for row in rows for key in row})
            raise DatasetError(f"no row has a column {name}", hint=f"there are: {', '.join(there)}")
    medians, scales, with_indicator = [], [], []
    for name in columns.numeric:
        values = _numbers(rows, name)
        known = values[~np.isnan(values)]
        if not len(known):
            raise DatasetError(f"column {name} holds no number in {len(rows)} training rows")
        medians.append(float(np.median(known)))
        scales.append((float(known.mean()), float(known.std()) or 1.0))
        with_indicator.append(len(known) < len(values))
    categories = tuple(tuple(sorted(set(_words(rows, name)))) for name in columns.categorical)
    return TableEncoder(columns, tuple(medians), tuple(scales), tuple(with_indicator), categories)


def refuse_the_label(
    rows: Sequence[Row], labels: Int64[np.ndarray, " n"], groups: Sequence[str], columns: Columns
) -> None:
    """Raise if a column is the label under another name.

    A word predicts the class that it has most often among the other patients, so names and numbers of
    patients, which are each one's own, predict nothing. Rows whose word no other patient has are left out. A
    numeric column is judged in this way, and by a tree with one leaf per class.

    Args:
        rows: of the training side.
        labels: their classes.
        groups: the patient of each row.
        columns: those in `allow` are let pass.

    Raises:
        DatasetError: a column is named like a label, or alone gets more than `DETERMINED` of the training
            rows of each class right, over at least `MIN_PATIENTS` patients.
    """
    for name in columns.names:
        if name in columns.allow:
            continue
        hint = f"leave it out, or allow it by name if it is known before the examination: allow=('{name}',)"
        if any(part in _plain(name) for part in NAMED_LIKE_A_LABEL):
            raise DatasetError(f"column {name} is named like the label itself", hint=hint)
        found = [_recall_by_word(_words(rows, name), labels, groups)]
        if name in columns.numeric:
            found.append(_recall_by_tree(_numbers(rows, name), labels, groups))
        told = [one for one in found if one[0] > DETERMINED and one[1] >= MIN_PATIENTS]
        if told:
            recall, num_patients = max(told)
            raise DatasetError(
                f"column {name} alone gives the class of {100 * recall:.1f} % of the training rows "
                f"({num_patients} patients): it is the label under another name",
                hint=hint,
            )


def _recall_by_word(
    words: Sequence[str], labels: Int64[np.ndarray, " n"], groups: Sequence[str]
) -> tuple[float, int]:
    """Share of rows called right, in the worst class, and the patients among which."""
    counts = Counter(zip(words, labels.tolist(), strict=True))
    own = Counter(zip(words, groups, labels.tolist(), strict=True))
    classes = sorted(set(labels.tolist()))
    right: dict[int, list[bool]] = {one: [] for one in classes}
    judged = set()
    for word, group, label in zip(words, groups, labels.tolist(), strict=True):
        others = [counts[word, one] - own[word, group, one] for one in classes]
        if sum(others):
            right[label].append(classes[int(np.argmax(others))] == label)
            judged.add(group)
    return _worst(right), len(judged)


def _recall_by_tree(
    values: Float64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"], groups: Sequence[str]
) -> tuple[float, int]:
    known = ~np.isnan(values)
    classes = sorted(set(labels[known].tolist()))
    if len(classes) < 2:
        return 0.0, 0
    tree = DecisionTreeClassifier(max_leaf_nodes=len(classes), random_state=0)
    called = tree.fit(values[known, None], labels[known]).predict(values[known, None])
    right = {one: (called[labels[known] == one] == one).tolist() for one in classes}
    return _worst(right), len({group for group, here in zip(groups, known, strict=True) if here})


def _worst(right: Mapping[int, Sequence[bool]]) -> float:
    return min((float(np.mean(answers)) if answers else 0.0) for answers in right.values())


def _numbers(rows: Sequence[Row], name: str) -> Float64[np.ndarray, " n"]:
    """Numbers of a column, NaN where it says nothing."""
    values, wrong = np.full(len(rows), np.nan), []
    for index, word in enumerate(_words(rows, name)):
        if word:
            try:
                values[index] = float(word)
            except ValueError:
                wrong.append(word)
    if wrong or np.isinf(values).any():
        first = wrong[0] if wrong else "infinity"
        raise DatasetError(
            f"column {name}: {len(wrong) or int(np.isinf(values).sum())} of {len(rows)} rows hold no number "
            f"(first: '{first}')",
            hint="name it among the categorical columns",
        )
    return values


def _words(rows: Sequence[Row], name: str) -> list[str]:
    """Words of a column, "" where it says nothing."""
    found = [row.get(name, "").strip() for row in rows]
    return ["" if word.casefold() in MISSING else word for word in found]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.casefold())
