"""What an evaluation starts from: pretrained weights, or the same network at its random start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from usfmae.base.config import make_config
from usfmae.base.input_spec import Crop, Fit, InputSpec
from usfmae.base.logs import get_logger
from usfmae.base.seeds import seed_for
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights
from usfmae.models.weights import load_encoder, read_weights

log = get_logger(__name__)

Weights = Path | Literal["scratch"]
"""A weights file, a run folder, or a random start."""


@dataclass(frozen=True)
class Start:
    """An encoder before evaluation."""

    encoder: VisionTransformer
    """On the CPU, in evaluation mode."""

    input_spec: InputSpec
    """What it wants to see."""

    init: Literal["pretrained", "scratch"]
    """Where its numbers come from."""

    sha256: str | None
    """Hash of the weights file; None for a random start."""


def shown_to(weights: Weights, *, like: Path | None = None) -> tuple[Fit, Crop]:
    """How a task's pictures should be made square, and what of them shown: as the weights (or `like`) have
    learnt to see them.

    Args:
        weights: a file, a run folder, or "scratch".
        like: with "scratch", weights whose input is taken; without it a random start sees the whole
            picture, padded.

    Raises:
        WeightsError: a file is missing or damaged.
    """
    file = like if weights == "scratch" else weights
    if file is None:
        return "pad", "none"
    assert isinstance(file, Path)
    spec = read_weights(file).input_spec
    return spec.fit, spec.crop


def warn_of_other_showing(start: Start, *, fit: Fit, crop: Crop) -> None:
    """Say so where pictures are shown in another way than the weights have learnt to see them."""
    learnt = start.input_spec
    if start.init == "pretrained" and (learnt.fit, learnt.crop) != (fit, crop):
        log.warning(
            "the weights have learnt on pictures with fit=%s and crop=%s, the task shows fit=%s and crop=%s; "
            "--set task.fit=%s --set task.crop=%s",
            learnt.fit, learnt.crop, fit, crop, learnt.fit, learnt.crop,
        )  # fmt: skip


def open_start(
    weights: Weights,
    *,
    network: ViTConfig,
    like: Path | None = None,
    image_px: int | None = None,
    drop_path: float = 0.0,
    fit: Fit = "pad",
    crop: Crop = "none",
    seed: int = 0,
) -> Start:
    """Load an encoder, or draw one.

    Args:
        weights: a file, a run folder, or "scratch".
        network: the shape of a random start; weights bring their own.
        like: with "scratch", weights whose shape and input are taken instead of `network`.
        image_px: input side; None for that of the weights or of `network`.
        drop_path: chance to skip a block while training.
        fit: how a random start sees pictures made square; weights and `like` bring their own.
        crop: what of them it sees; likewise.
        seed: of the random start.

    Raises:
        WeightsError: a file is missing, damaged, or leaves a tensor at random.
        SettingError: the patch does not divide `image_px`.
    """
    if weights != "scratch":
        assert isinstance(weights, Path)
        loaded = load_encoder(weights, image_px=image_px, drop_path=drop_path)
        log.info("%s: %s", weights, loaded.report.summary())
        return Start(loaded.encoder, loaded.input_spec, "pretrained", loaded.sha256)
    spec = InputSpec(image_px=network.image_px, channels=network.channels, fit=fit, crop=crop)
    if like is not None:
        file = read_weights(like)
        network, spec = file.config, file.input_spec
    side = image_px or network.image_px
    changes: dict[str, Any] = {"image_px": side, "drop_path": drop_path}
    encoder = VisionTransformer(make_config(ViTConfig, network.model_dump() | changes))
    start_weights(encoder, torch.Generator().manual_seed(seed_for(seed, "start")))
    return Start(encoder.eval(), spec.model_copy(update={"image_px": side}), "scratch", None)
