"""Two views of one thing ought to give one representation: variance, invariance and covariance (VICReg).

Bardes, Ponce and LeCun 2022, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
Learning". Beside the pixels of a masked autoencoder it says what pixels do not: that two crops of an image,
two frames of a clip or two images of a patient show the same.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.base.config import Config
from usfmae.models.products import Linear

DEVIATION_EPS = 1e-4
"""Added to a variance before its root is taken (the paper's value, sec. 4.1)."""


class AgreementConfig(Config):
    """Which two views ought to agree, and how much that weighs."""

    kind: Literal["none", "image", "clip", "patient"] = "none"
    """What comes beside each image: image, another view of it; clip, another frame of its clip; patient,
    another image of its group. One that is alone in its clip or group comes with another view of itself."""

    weight: float = Field(default=0.02, gt=0)
    """Of the whole term beside the pixels. At 0.02 it begins at about 0.45, where the pixels begin at 1.2 to
    1.9."""

    invariance: float = Field(default=25.0, ge=0)
    """Weight of the mean squared difference between the two views; 25 in the paper."""

    variance: float = Field(default=25.0, ge=0)
    """Weight of what keeps every dimension spread over the batch; 25 in the paper. 0 lets all images collapse
    into one point."""

    covariance: float = Field(default=1.0, ge=0)
    """Weight of what keeps dimensions from saying the same; 1 in the paper."""

    dim: int = Field(default=512, ge=2)
    """Width of the projector that is thrown away after pretraining; 8192 in the paper (ImageNet)."""

    num_layers: int = Field(default=3, ge=1)
    """Linear maps of the projector; 3 in the paper."""

    def weighted(self, parts: "AgreementParts") -> Float[Tensor, ""]:
        """The term that is added to the loss of the pixels."""
        spread = self.variance * parts.variance + self.covariance * parts.covariance
        return self.weight * (self.invariance * parts.invariance + spread)


@dataclass(frozen=True)
class AgreementParts:
    """What the term is made of, before it is weighted."""

    invariance: Float[Tensor, ""]
    """Mean squared difference of the two views."""

    variance: Float[Tensor, ""]
    """By how much the standard deviation of a dimension falls short of 1, mean over dimensions and views."""

    covariance: Float[Tensor, ""]
    """Squares of all covariances of two different dimensions, added up over both views and divided by the
    number of dimensions."""


def vicreg(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> AgreementParts:
    """Invariance, variance and covariance of two views of a batch (Bardes et al. 2022, sec. 4.1).

    The squared difference is a mean over dimensions, and the variance one over both views, as in the authors'
    code (the text sums both), to which the weights 25, 25, 1 belong. All three are statistics of the batch,
    so the rows are to be those of all processes. Computed in fp32 whatever autocast says.

    Args:
        a: one view, a row per image.
        b: the other view of the same images, in the same order. One row alone has no spread: its variance
            counts as 0.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        invariance = (a - b).square().mean()
        (hinge_a, beside_a), (hinge_b, beside_b) = _spread(a), _spread(b)
        return AgreementParts(invariance, (hinge_a + hinge_b) / 2, beside_a + beside_b)


def _spread(rows: Float[Tensor, "n d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The hinge on the standard deviations, and the covariances off the diagonal, of one view."""
    n, d = rows.shape
    centred = rows - rows.mean(dim=0)
    covariances = centred.T @ centred / max(n - 1, 1)
    variances = covariances.diagonal()
    hinge = F.relu(1 - (variances + DEVIATION_EPS).sqrt()).mean()
    return hinge, (covariances - variances.diag()).square().sum() / d


def build_projector(encoder_dim: int, config: AgreementConfig, *, norm_eps: float) -> "Projector | None":
    """What maps images to where two views of them are compared; None where they are not."""
    return None if config.kind == "none" else Projector(encoder_dim, config, norm_eps=norm_eps)


class Projector(nn.Sequential):
    """From the mean of an image's visible places to the space in which views are compared; thrown away after
    pretraining.

    Layer norms stand where the paper has batch norms: what an image becomes must not depend on the images
    beside it, or on how a batch is cut over processes.

    Args:
        encoder_dim: width of a token.
        config: its own width and depth.
        norm_eps: epsilon of the layer norms.
    """

    def __init__(self, encoder_dim: int, config: AgreementConfig, *, norm_eps: float) -> None:
        layers: list[nn.Module] = []
        widths = [encoder_dim, *[config.dim] * config.num_layers]
        for width in widths[:-2]:
            layers += [Linear(width, config.dim), nn.LayerNorm(config.dim, eps=norm_eps), nn.GELU()]
        # Without a bias: none of the three parts sees a shift, and Adam would make steps out of its rounding.
        super().__init__(*layers, Linear(widths[-2], config.dim, bias=False))
