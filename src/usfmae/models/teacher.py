"""Predicting what a teacher makes of the whole image, beside the pixels of its hidden patches.

Pixels of speckle say little of what is shown; features of another network say more. MaskFeat (Wei et al.
2022, arXiv 2112.09133) compared such targets, EVA (Fang et al. 2023, arXiv 2211.07636) and MILAN (Hou et al.
2022, arXiv 2208.06049) learn from a frozen teacher, MILAN at visible and hidden patches alike, data2vec
(Baevski et al. 2022, arXiv 2202.03555) from a moving average of the student itself.

A target is standardised over its channels at each place, without learned numbers, and the error is squared
(data2vec, "Targets", and data2vec 2.0, arXiv 2212.07525): predicting 0 costs 1, as it does for normalised
pixels, so a weight of 1 means the same for both.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the field's own name)

from usfmae.base.config import Config
from usfmae.models.encoders import EncoderName
from usfmae.models.losses import mean_square
from usfmae.models.masking import Hiding
from usfmae.models.products import Linear

TARGET_EPS = 1e-6
"""Added to a target's variance over its channels before it divides."""


class TeacherConfig(Config):
    """Whose features are predicted, and how much they count."""

    kind: Literal["none", "efficientnet-lite0", "file", "self"] = "none"
    """none: pixels alone. efficientnet-lite0: the ImageNet network that comes as a package. file: any encoder
    in a file. self: the moving average of the encoder in training, which needs no weights (data2vec)."""

    encoder: EncoderName = "vit"
    """With "file": which network is in it; "vit" for MAE, timm and Hugging Face ViTs and runs of ours."""

    weights: Path | None = None
    """With "file": where it is, or the folder of a run."""

    stride_px: Literal[2, 4, 8, 16, 32] = 16
    """Pixels between two places of a convolutional teacher's map. EfficientNet-Lite0 has all of these (112
    channels at 16); other convolutional networks give their last map alone, at 32."""

    layers_averaged: int = Field(default=6, ge=1)
    """With "self": the last so many layers, each standardised, are averaged (data2vec, "Targets")."""

    decay: float = Field(default=0.999, ge=0, lt=1)
    """With "self": share of the average that stays in a step of 256 images, as `ema.decay`."""

    weight: float = Field(default=1.0, ge=0)
    """Of the error of features, at hidden and visible patches."""

    pixel_weight: float = Field(default=1.0, ge=0)
    """Of the error of pixels; at 0 pictures of the run show nothing."""

    pooled_weight: float = Field(default=0.0, ge=0)
    """Of the error of the teacher's vector for the whole image, which the encoder's own tokens predict."""

    pooled_from: Literal["class", "mean"] = "mean"
    """That vector is predicted from the mean of the visible patches' tokens, as evaluation and `embed` read
    images (`pool=mean`), or from the class token, for those that read it (`pool=cls`)."""

    dim: int | None = Field(default=None, ge=1)
    """Channels of its features; read off the teacher and recorded."""

    pooled_dim: int | None = Field(default=None, ge=1)
    """Length of its vector for the whole image; likewise."""

    def model_post_init(self, _context: object) -> None:
        if (self.kind == "file") != (self.weights is not None):
            raise ValueError("kind=file and weights=FILE need each other")
        if self.kind != "file" and self.encoder != "vit":
            raise ValueError(f"encoder={self.encoder} needs kind=file and weights=FILE")
        if self.on and not (self.weight or self.pooled_weight):
            raise ValueError("weight and pooled_weight are both 0, so nothing is learnt from the teacher")

    @property
    def on(self) -> bool:
        """Whether there is a teacher."""
        return self.kind != "none"

    @property
    def total_weight(self) -> float:
        """What a network that predicts zeros would lose."""
        return self.pixel_weight + self.weight + self.pooled_weight


@dataclass(frozen=True)
class Targets:
    """What a teacher makes of a batch of whole images."""

    places: Float[Tensor, "b n c"]
    """Features of each patch of the student's grid, row by row, standardised."""

    pooled: Float[Tensor, "b d"] | None = None
    """One vector per image, standardised; None where it is not asked for."""

    scored: Float[Tensor, "b n"] | None = None
    """Weight of each patch within its image; None for all alike."""


def make_targets(
    places: Float[Tensor, "b c rows columns"],
    pooled: Float[Tensor, "b d"] | None,
    *,
    grid: tuple[int, int],
) -> Targets:
    """Targets from a teacher's feature map, resampled to the student's grid where it has another.

    A coarser map is enlarged bilinearly; of a finer one a patch gets the (triangle-weighted) average.

    Args:
        places: the map; any number type.
        pooled: its vector for the whole image.
        grid: patches of the student (down, across).
    """
    image = places.float()
    if tuple(image.shape[2:]) != grid:
        image = F.interpolate(image, size=grid, mode="bilinear", antialias=True, align_corners=False)
    vector = None if pooled is None else standardised(pooled.float())
    return Targets(standardised(image.flatten(2).transpose(1, 2)), vector)


def standardised(features: Float[Tensor, "... c"]) -> Float[Tensor, "... c"]:
    """Each vector with mean 0 and variance 1 over its channels; a constant one becomes zeros."""
    return F.layer_norm(features, features.shape[-1:], eps=TARGET_EPS)


class TeacherHeads(nn.Module):
    """The linear maps that predict a teacher's features; they are thrown away with the decoder.

    Args:
        config: what is predicted; `dim` and `pooled_dim` are the width of the encoder where they are None.
        decoder_dim: width of the decoder's tokens.
        encoder_dim: width of the encoder's.

    Raises:
        ValueError: the teacher is another network than the encoder, and nobody has read off its width.
    """

    def __init__(self, config: TeacherConfig, *, decoder_dim: int, encoder_dim: int) -> None:
        super().__init__()
        self.config = config
        asked = [config.dim] if config.weight else []
        asked += [config.pooled_dim] if config.pooled_weight else []
        if config.kind != "self" and None in asked:
            raise ValueError("the teacher's dim and pooled_dim must be read off it before a network is built")
        self.places = Linear(decoder_dim, config.dim or encoder_dim) if config.weight else None
        self.pooled = Linear(encoder_dim, config.pooled_dim or encoder_dim) if config.pooled_weight else None

    def forward(
        self,
        decoded: Float[Tensor, "b asked d"],
        encoded: Float[Tensor, "b tokens e"],
        hiding: Hiding,
        targets: Targets,
    ) -> dict[str, Tensor]:
        """The error of each part, unweighted.

        Args:
            decoded: the decoder's last tokens, of visible patches first, then of those that are predicted.
            encoded: the encoder's last tokens, class token first.
            hiding: which patches they are.
            targets: of all patches.
        """
        parts: dict[str, Tensor] = {}
        if self.places is not None:
            rows = torch.cat([hiding.visible, hiding.hidden], dim=1)
            wanted = targets.places.gather(1, rows[:, :, None].expand(-1, -1, targets.places.shape[2]))
            scored = None if targets.scored is None else targets.scored.gather(1, rows)
            parts["features"] = mean_square(self.places(decoded), wanted, scored=scored)
        if self.pooled is not None:
            assert targets.pooled is not None, "the teacher was not asked for its pooled vector"
            seen = encoded[:, 0] if self.config.pooled_from == "class" else encoded[:, 1:].mean(dim=1)
            parts["pooled"] = mean_square(self.pooled(seen)[:, None], targets.pooled[:, None])
        return parts

    def total(self, parts: dict[str, Tensor]) -> Float[Tensor, ""]:
        """The weighted sum of the parts, `pixels` among them."""
        config = self.config
        weights = {
            "pixels": config.pixel_weight,
            "features": config.weight,
            "pooled": config.pooled_weight,
        }
        # A part of weight 0 still counts, 0 times, so that every parameter has a gradient on every rank.
        return torch.stack([weights[name] * part for name, part in parts.items()]).sum()
