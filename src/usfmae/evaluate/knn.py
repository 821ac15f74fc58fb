"""Weighted nearest neighbours: what features are worth without training anything.

Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination", sec. 3.4: the k
most similar training images (cosine) vote with `exp(similarity / temperature)`.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int64

QUERIES_AT_ONCE = 2048
"""Rows of the similarity matrix held at a time."""


def knn_probabilities(
    bank: Float32[np.ndarray, "bank d"],
    bank_labels: Int64[np.ndarray, " bank"],
    queries: Float32[np.ndarray, "query d"],
    *,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Float64[np.ndarray, "query class"]:
    """The share of each class in the weighted votes of the nearest training images.

    Args:
        bank: features of the training images, of any length.
        bank_labels: their classes.
        queries: features of the images to be classified.
        num_classes: classes in all, present in the bank or not.
        k: neighbours that vote; the whole bank where it is smaller. 20 and 200 are usual.
        temperature: small values let the nearest decide; 0.07 in the paper.

    Raises:
        ValueError: an empty bank.
    """
    if not len(bank):
        raise ValueError("nearest neighbours need at least one training image")
    k = min(k, len(bank))
    bank = _unit(bank)
    votes = np.zeros((len(queries), num_classes))
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = _unit(queries[start : start + QUERIES_AT_ONCE])
        similarity = (part @ bank.T).astype(np.float64)
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        close = np.take_along_axis(similarity, nearest, axis=1)
        weights = np.exp((close - close.max(axis=1, keepdims=True)) / temperature)
        rows = np.repeat(np.arange(start, start + len(part)), k)
        np.add.at(votes, (rows, bank_labels[nearest].ravel()), weights.ravel())
    votes /= votes.sum(axis=1, keepdims=True)
    return votes


def _unit(features: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Float32[np.ndarray, "n d"] = features / np.maximum(length, np.finfo(np.float32).tiny)
    return unit
