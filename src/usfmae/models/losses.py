"""The square errors by which predictions of pixels and of features are scored."""

import torch
from jaxtyping import Float
from torch import Tensor

NORM_EPS = 1e-6
"""Added to a patch's variance before it divides (the reference code's value)."""


def mean_square(
    prediction: Float[Tensor, "b n d"],
    target: Float[Tensor, "b n d"],
    *,
    scored: Float[Tensor, "b n"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error over places, in fp32.

    Args:
        prediction: any number type.
        target: what it should be.
        scored: weight of each place within its image; None for all alike. The loss is the mean over images of
            each image's weighted mean, so it does not depend on how a batch is cut; an image whose weights
            are all 0 adds 0.
    """
    squared = (prediction.float() - target).square()
    if scored is None:
        return squared.mean()
    each = (squared.mean(dim=2) * scored).sum(dim=1)
    return (each / scored.sum(dim=1).clamp(min=1e-6)).mean()


def hidden_patch_loss(
    prediction: Float[Tensor, "b h d"],
    target: Float[Tensor, "b h d"],
    *,
    normalised: bool = True,
    scored: Float[Tensor, "b h"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error over hidden patches (He et al. 2022, sec. 3, "Reconstruction target").

    Args:
        prediction: what the decoder says; any number type, scored in fp32.
        target: the true patches in the same order.
        normalised: standardise each true patch by its own mean and unbiased variance first.
        scored: weight of each patch within its image, see `mean_square`.
    """
    target = target.float()
    if normalised:
        mean, std = patch_moments(target)
        target = (target - mean) / std
    return mean_square(prediction, target, scored=scored)


def patch_moments(
    patches: Float[Tensor, "b n d"],
) -> tuple[Float[Tensor, "b n 1"], Float[Tensor, "b n 1"]]:
    """Mean and `sqrt(unbiased variance + 1e-6)` of each patch."""
    var, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return mean, (var + NORM_EPS).sqrt()
