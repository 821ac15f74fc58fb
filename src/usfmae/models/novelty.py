"""Is this picture of a kind that the training images held? Scores of how far it lies from them.

Mahalanobis distance to the nearest class (Lee et al. 2018, "A Simple Unified Framework for Detecting
Out-of-Distribution Samples", sec. 2.1, on one layer) with a shared covariance, shrunk as Ledoit and Wolf 2004
("A well-conditioned estimator for large-dimensional covariance matrices") say; and distance to the k-th
nearest training image among features of length 1 (Sun et al. 2022, "Out-of-Distribution Detection with
Deep Nearest Neighbors", sec. 3). Larger is stranger.

A small score says that the features are familiar, not that the answer is right.

NumPy only and in this room for the reason that `models.neighbours` gives.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from usfmae.base.errors import WeightsError
from usfmae.models.array_file import read_arrays, write_arrays
from usfmae.models.neighbours import QUERIES_AT_ONCE, unit_rows

_KIND = "novelty detector"


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """Distance to the nearest class, in deviations of the training features."""

    means: Float64[np.ndarray, "class d"]
    """Of the features of each class."""

    whiten: Float64[np.ndarray, "d d"]
    """L^-1 of the covariance L L^T: differences times this have covariance 1."""

    shrinkage: float
    """Weight of the identity in the covariance, from 0 to 1."""

    def scores(self, features: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        """0 at the mean of a class; about sqrt(d) for a training image."""
        white = features.astype(np.float64) @ self.whiten.T
        centres = self.means @ self.whiten.T
        apart = np.stack([np.linalg.norm(white - centre, axis=1) for centre in centres])
        nearest: Float64[np.ndarray, " n"] = apart.min(axis=0)
        return nearest


@dataclass(frozen=True, eq=False)
class KnnDistance:
    """Distance to the k-th nearest training image."""

    bank: Float32[np.ndarray, "bank d"]
    """Training features at length 1."""

    k: int

    def scores(self, features: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        """From 0 to 2; 0 for a training image where k is 1."""
        rows = []
        for start in range(0, len(features), QUERIES_AT_ONCE):
            part = unit_rows(features[start : start + QUERIES_AT_ONCE])
            kth = np.argpartition(-(part @ self.bank.T), self.k - 1, axis=1)[:, self.k - 1]
            # from differences, not as sqrt(2 - 2 cos), which loses half of the digits near 0
            rows.append(np.linalg.norm(self.bank[kth] - part, axis=1).astype(np.float64))
        return np.concatenate(rows) if rows else np.zeros(0)


@dataclass(frozen=True, eq=False)
class Novelty:
    """A score and the threshold above which a picture is called strange."""

    scorer: Mahalanobis | KnnDistance

    threshold: float

    keep_ratio: float
    """Share of the images that the threshold was set on, and that it was to keep."""

    weights_sha256: str | None = None
    """Of the encoder whose features these are; None where it is not known."""

    def scores(self, features: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        """How strange each picture is."""
        width = self.scorer.bank.shape[1] if isinstance(self.scorer, KnnDistance) else len(self.scorer.whiten)
        if features.shape[1] != width:
            raise ValueError(f"pictures have {features.shape[1]} features, the detector knows {width}")
        return self.scorer.scores(features)

    def is_novel(self, features: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
        """Whether each picture is strange; features that are no numbers are."""
        novel: Bool[np.ndarray, " n"] = ~(self.scores(features) <= self.threshold)
        return novel


def fit_mahalanobis(
    features: Float[np.ndarray, "n d"],
    labels: Int64[np.ndarray, " n"] | None = None,
    *,
    shrinkage: float | None = None,
) -> Mahalanobis:
    """Means of the classes and their shared covariance.

    Args:
        features: of training images.
        labels: their classes; None takes all images as one class.
        shrinkage: weight of the identity (times the mean variance), from 0 to 1; None for that of Ledoit and
            Wolf. 0 is the only value for which the scores do not depend on how features are scaled.

    Raises:
        ValueError: features that are no numbers, all alike, or too few for a covariance without shrinkage.
    """
    rows = features.astype(np.float64)
    if not len(rows) or not np.isfinite(rows).all():
        raise ValueError(f"a covariance needs finite features of at least one image, here are {len(rows)}")
    member = (
        np.zeros(len(rows), dtype=np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    )
    means = np.stack([rows[member == one].mean(axis=0) for one in range(member.max() + 1)])
    apart = rows - means[member]
    covariance = apart.T @ apart / len(rows)
    weight = ledoit_wolf_shrinkage(apart) if shrinkage is None else shrinkage
    if not 0 <= weight <= 1:
        raise ValueError(f"shrinkage must lie between 0 and 1, not {weight}")
    width = rows.shape[1]
    if weight == 0 and len(rows) - len(means) < width:
        raise ValueError(f"{len(rows)} images of {len(means)} classes are too few for {width} features")
    variance = np.trace(covariance) / width
    if variance == 0:
        raise ValueError("the features of each class are all alike")
    shrunk = (1 - weight) * covariance + weight * variance * np.eye(width)
    return Mahalanobis(means, np.linalg.inv(np.linalg.cholesky(shrunk)), float(weight))


def ledoit_wolf_shrinkage(apart: Float64[np.ndarray, "n d"]) -> float:
    """The weight of the identity that Ledoit and Wolf 2004 (sec. 3.2) estimate; that of scikit-learn.

    Args:
        apart: rows without their mean.
    """
    num, width = apart.shape
    covariance = apart.T @ apart / num
    square = (covariance**2).sum()
    from_identity = square - np.trace(covariance) ** 2 / width  # d^2 times the width
    noise = (((apart**2).sum(axis=1) ** 2).mean() - square) / num  # b^2 times the width
    return float(min(noise, from_identity) / from_identity) if from_identity > 0 and noise > 0 else 0.0


def fit_knn_distance(features: Float[np.ndarray, "n d"], *, k: int = 10) -> KnnDistance:
    """Keep the training features at length 1.

    Args:
        features: of training images.
        k: which neighbour's distance is the score. The paper takes 50 for CIFAR-10 and 1,000 for the
            1.28 million images of ImageNet; with a thousand images a tenth of a percent to one percent.

    Raises:
        ValueError: fewer images than `k`, or features that are no numbers.
    """
    if not 1 <= k <= len(features):
        raise ValueError(f"k={k} with {len(features)} training images")
    if not np.isfinite(features).all():
        raise ValueError("a training image has features that are no finite numbers")
    return KnnDistance(unit_rows(features), k)


def with_threshold(
    scorer: Mahalanobis | KnnDistance,
    validation: Float[np.ndarray, "n d"],
    *,
    keep_ratio: float = 0.95,
    weights_sha256: str | None = None,
) -> Novelty:
    """Set the threshold at the smallest score that keeps enough of the validation images.

    Args:
        scorer: fitted on training images; those themselves score too low to set a threshold on.
        validation: features of images of the same kind that it was not fitted on.
        keep_ratio: the share of them that is to be called familiar, above 0 and at most 1.
        weights_sha256: of the encoder, for whoever loads the file.

    Raises:
        ValueError: no validation image, or a ratio outside of its range.
    """
    if not len(validation) or not 0 < keep_ratio <= 1:
        raise ValueError(f"keep_ratio={keep_ratio} of {len(validation)} validation images sets no threshold")
    threshold = np.quantile(scorer.scores(validation), keep_ratio, method="inverted_cdf")
    return Novelty(scorer, float(threshold), keep_ratio, weights_sha256)


def save_novelty(path: Path, novelty: Novelty) -> None:
    """Write a detector as .npz, whole or not at all; equal detectors give equal bytes."""
    scorer = novelty.scorer
    arrays = {
        "threshold": np.array(novelty.threshold),
        "keep_ratio": np.array(novelty.keep_ratio),
        "weights_sha256": np.array(novelty.weights_sha256 or ""),
    }
    if isinstance(scorer, KnnDistance):
        arrays |= {"bank": scorer.bank, "k": np.array(scorer.k)}
    else:
        arrays |= {
            "means": scorer.means,
            "whiten": scorer.whiten,
            "shrinkage": np.array(scorer.shrinkage),
        }
    write_arrays(path, arrays, kind=_KIND)


def load_novelty(path: Path) -> Novelty:
    """Read what `save_novelty` wrote.

    Raises:
        WeightsError: missing, damaged, or no novelty detector.
    """
    found = read_arrays(path, kind=_KIND)
    try:
        scorer: Mahalanobis | KnnDistance
        if "bank" in found:
            scorer = KnnDistance(found["bank"], int(found["k"]))
        else:
            scorer = Mahalanobis(found["means"], found["whiten"], float(found["shrinkage"]))
        sha256 = str(found["weights_sha256"]) or None
        return Novelty(scorer, float(found["threshold"]), float(found["keep_ratio"]), sha256)
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: cannot be read as a novelty detector ({error})") from error
