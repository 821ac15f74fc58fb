"""The training images that a case resembles most: what a reader may hold against an answer.

NumPy only, so that `deploy`, which runs without torch, can use it: of the rooms it may import from, this is
the one for what networks make, and importing the file loads no torch (a test checks that).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int64

from usfmae.base.errors import WeightsError
from usfmae.models.array_file import read_arrays, write_arrays

QUERIES_AT_ONCE = 1024
"""Rows of the similarity matrix held at a time."""

_KIND = "feature bank"


@dataclass(frozen=True, eq=False)
class FeatureBank:
    """Training images as features, with what is to be said of each."""

    features: Float32[np.ndarray, "bank d"]
    """Of any length."""

    names: tuple[str, ...]
    """Path below the dataset's folder; no identity."""

    groups: tuple[str, ...]
    """Patient (or cluster) of each image."""

    labels: Int64[np.ndarray, " bank"]
    """Their classes."""

    classes: tuple[str, ...]
    """Class names; labels count into them."""

    def __post_init__(self) -> None:
        if not len(self.features) == len(self.names) == len(self.groups) == len(self.labels):
            raise ValueError("a feature bank needs a name, a group and a label for each image")
        if not len(self.features):
            raise ValueError("nearest neighbours need at least one training image")


@dataclass(frozen=True)
class Neighbour:
    """A training image near a case."""

    name: str
    group: str
    label: str
    """Name of its class."""

    similarity: float
    """Cosine of the two feature vectors, from -1 to 1; 0 if one of them is 0."""

    @property
    def distance(self) -> float:
        """Euclidean distance of the two at length 1, from 0 to 2."""
        return float(np.sqrt(max(0.0, 2 - 2 * self.similarity)))


def nearest_images(
    bank: FeatureBank,
    queries: Float[np.ndarray, "query d"],
    *,
    k: int = 5,
    groups: Sequence[str] | None = None,
    one_per_group: bool = False,
) -> list[tuple[Neighbour, ...]]:
    """The `k` most similar images of a bank, nearest first; of equally similar ones the earlier in the bank.

    Args:
        bank: features of training images.
        queries: features of the cases, from the same encoder.
        k: neighbours per case; fewer where the bank has no more.
        groups: the patient of each case, whose own images are left out; None where they cannot be in the
            bank.
        one_per_group: show the nearest image of each patient only.

    Returns:
        One tuple per case; empty where the bank holds nothing but the patient's own images.

    Raises:
        ValueError: other widths, or not one group per case.
    """
    if queries.shape[1] != bank.features.shape[1]:
        raise ValueError(f"cases have {queries.shape[1]} features, the bank has {bank.features.shape[1]}")
    if groups is not None and len(groups) != len(queries):
        raise ValueError(f"{len(groups)} groups for {len(queries)} cases")
    unit, of_bank = unit_rows(bank.features), np.array(bank.groups)
    found: list[tuple[Neighbour, ...]] = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = unit_rows(queries[start : start + QUERIES_AT_ONCE])
        for row, similarity in enumerate(np.clip(part @ unit.T, -1, 1), start=start):
            own = None if groups is None else of_bank == groups[row]
            order = np.argsort(-similarity, kind="stable")
            if own is not None:
                order = order[~own[order]]
            if one_per_group:
                order = order[np.sort(np.unique(of_bank[order], return_index=True)[1])]
            found.append(
                tuple(_neighbour(bank, index, float(similarity[index])) for index in order[:k].tolist())
            )
    return found


def save_bank(path: Path, bank: FeatureBank) -> None:
    """Write a bank as .npz, whole or not at all; equal banks give equal bytes."""
    arrays = {
        "features": bank.features,
        "names": np.array(bank.names),
        "groups": np.array(bank.groups),
        "labels": bank.labels,
        "classes": np.array(bank.classes),
    }
    write_arrays(path, arrays, kind=_KIND)


def load_bank(path: Path) -> FeatureBank:
    """Read what `save_bank` wrote.

    Raises:
        WeightsError: missing, damaged, or no feature bank.
    """
    found = read_arrays(path, kind=_KIND)
    try:
        return FeatureBank(
            features=found["features"],
            names=tuple(found["names"].tolist()),
            groups=tuple(found["groups"].tolist()),
            labels=found["labels"],
            classes=tuple(found["classes"].tolist()),
        )
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as a feature bank ({error})") from error


def unit_rows(features: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """Each row at length 1; rows of 0 stay 0."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Float32[np.ndarray, "n d"] = (features / np.where(length > 0, length, 1)).astype(np.float32)
    return unit


def _neighbour(bank: FeatureBank, index: int, similarity: float) -> Neighbour:
    label = bank.classes[int(bank.labels[index])]
    return Neighbour(bank.names[index], bank.groups[index], label, similarity)
