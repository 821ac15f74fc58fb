"""What every way of using an encoder to tell classes apart has to be told."""

from pathlib import Path

from pydantic import Field

from usfmae.base.config import Config
from usfmae.evaluate.protocol import Task, TaskConfig
from usfmae.evaluate.start import Start, Use, Weights, heed_licence, open_start, warn_of_other_showing
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.models.classifier import PoolName
from usfmae.models.encoders import EncoderName
from usfmae.models.vit import ViTConfig


class EncoderUseConfig(Config):
    """Images, encoder, and how its tokens become a vector; the ways themselves add their own knobs."""

    task: TaskConfig = TaskConfig()
    """Which images are learnt from and which are tested."""

    bootstrap: BootstrapConfig = BootstrapConfig()
    """Intervals."""

    encoder: EncoderName = "vit"
    """Which network; those of others are there to compare with."""

    use: Use = "research"
    """What the result is for: "commercial" refuses weights whose licence does not allow it."""

    network: ViTConfig = ViTConfig(size="ti", image_px=128)
    """Shape of a random start, when the weights are "scratch"; other weights bring their own."""

    image_px: int | None = Field(default=None, ge=8)
    """Input side in pixels; None for that of the weights."""

    pool: PoolName = "mean"
    """How tokens become one vector; "mean" does better after MAE (He et al. 2022)."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None for all that this process may use."""


def start_of(
    config: EncoderUseConfig,
    task: Task,
    weights: Weights,
    *,
    like: Path | None,
    seed: int,
    drop_path: float = 0.0,
) -> Start:
    """The encoder of an evaluation; see `open_start`.

    Args:
        config: which network, of which size.
        task: says how its pictures are shown, which a random start takes over.
        weights: a file, a run folder, "scratch", or "imagenet".
        like: with "scratch", weights whose shape is taken.
        seed: of a random start.
        drop_path: chance to skip a block while training.

    Raises:
        WeightsError: the weights cannot be used.
        SettingError: the settings do not fit them.
    """
    return open_start(
        weights,
        network=config.network,
        encoder=config.encoder,
        like=like,
        image_px=config.image_px,
        drop_path=drop_path,
        fit=task.config.fit,
        crop=task.config.crop,
        seed=seed,
    )


def heeded_start(
    config: EncoderUseConfig, task: Task, weights: Weights, *, like: Path | None, seed: int
) -> Start:
    """`start_of`, after a look at what the weights were shown in training and what their licence allows.

    Raises:
        WeightsError: the weights cannot be used.
        SettingError: the licence does not allow the use named, or the settings do not fit the weights.
    """
    start = start_of(config, task, weights, like=like, seed=seed)
    warn_of_other_showing(start, fit=task.config.fit, crop=task.config.crop)
    heed_licence(start, encoder=config.encoder, use=config.use)
    return start
