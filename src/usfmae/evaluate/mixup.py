"""Mixup: learning from pairs of images laid over each other (Zhang et al. 2018, "mixup: Beyond Empirical Risk
Minimization", sec. 2).

An image x of class y and its partner x' of class y' become s x + (1 - s) x' with s drawn from
Beta(alpha, alpha), and the loss is s times that for y plus 1 - s times that for y'. Partners are images of
the same batch. Every pair has a share of its own, as the paper writes it; its program draws one a batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.random import Generator
from torch import Tensor

from usfmae.engine.loop import Batch


@dataclass(frozen=True, eq=False)
class Pairs:
    """Which image is laid over which, and how strongly."""

    partner: Int64[np.ndarray, " b"]
    """Row of the partner; a permutation, so that every image is partner once."""

    share: Float32[np.ndarray, " b"]
    """Of the image itself, in [0, 1]; the rest is the partner's."""


def draw_pairs(num_images: int, *, alpha: float, rng: Generator) -> Pairs:
    """Draw partners and shares for a batch.

    Args:
        num_images: rows of the batch.
        alpha: positive; small values keep one of the two nearly alone, 1 makes all shares equally likely.
        rng: source of randomness, so a resumed run draws what it would have drawn.

    Raises:
        ValueError: alpha is not positive.
    """
    if alpha <= 0:
        raise ValueError(f"shares are drawn from Beta(alpha, alpha) with a positive alpha, not {alpha}")
    partner = rng.permutation(num_images)
    return Pairs(partner, rng.beta(alpha, alpha, num_images).astype(np.float32))


def with_partners(batch: Batch, pairs: Pairs) -> Batch:
    """Views and labels, then the partners' views and labels, then the shares: one row per image, so that a
    batch may be cut into parts. Pixels stay bytes; they are mixed on the device, where nothing is rounded."""
    views, labels = batch
    partner = torch.from_numpy(pairs.partner)
    return views, labels, views[partner], labels[partner], torch.from_numpy(pairs.share)


def mix(
    first: Float32[Tensor, "b *shape"], second: Float32[Tensor, "b *shape"], share: Float32[Tensor, " b"]
) -> Float32[Tensor, "b *shape"]:
    """Row by row, `share` of the first and the rest of the second: images, or losses."""
    rows = share.view(-1, *[1] * (first.ndim - 1))
    return rows * first + (1 - rows) * second
