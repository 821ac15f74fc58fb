"""AdamW as MAE uses it: which parameters decay, and how fast each layer learns."""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import nn

from usfmae.base.config import Config
from usfmae.base.errors import SettingError


class OptimConfig(Config):
    """Optimiser, learning rate and its course."""

    lr_per_256: float = Field(default=1.5e-4, gt=0)
    """Peak learning rate for a batch of 256; scaled linearly with the batch (Goyal et al. 2017)."""

    weight_decay: float = Field(default=0.05, ge=0)
    """Decoupled weight decay; never on norms, biases, class and mask tokens, positions."""

    betas: tuple[float, float] = (0.9, 0.95)
    """Adam's averages; (.9, .95) in MAE pretraining."""

    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate factor per layer from the top of the encoder down (Clark et al. 2020); 1 for none."""

    head_lr_ratio: float = Field(default=1.0, gt=0)
    """Learning rate of what stands behind the encoder, such as a classifier, over that of its last layer."""

    clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest gradient norm; None for no limit."""

    warmup_epochs: float = Field(default=10.0, ge=0)
    """Epochs over which the rate grows linearly from 0."""

    floor_lr_per_256: float = Field(default=0.0, ge=0)
    """Where the cosine ends, for a batch of 256."""

    def model_post_init(self, _context: object) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must be two numbers from 0 to below 1")
        if self.floor_lr_per_256 > self.lr_per_256:
            raise ValueError("floor_lr_per_256 is above lr_per_256")


_HEAD = -1
"""The layer of what stands behind the encoder and has a rate of its own."""


def build_optimizer(
    module: nn.Module,
    config: OptimConfig,
    *,
    layer_of: Callable[[str], int | None] | None = None,
    encoder_prefix: str = "",
) -> torch.optim.AdamW:
    """AdamW with one group per (decays or not, layer), the head being the last layer.

    Each group carries `lr_scale`, by which the loop multiplies the schedule's rate.

    Args:
        module: only its trainable parameters are stepped.
        config: betas, weight decay and layer decay are read here.
        layer_of: the depth of a parameter of the encoder, by its name there; None for what comes after the
            last layer. Needed with a layer decay below 1.
        encoder_prefix: where the encoder sits in `module` ("encoder."); what lies outside it learns at
            `head_lr_ratio` times the full rate.

    Raises:
        SettingError: nothing is trainable.
        ValueError: there is a layer decay and no `layer_of`, or a head's own rate and no `encoder_prefix`.
    """
    if config.head_lr_ratio != 1 and not encoder_prefix:
        raise ValueError("a head's own learning rate needs to know where the encoder sits")
    if layer_of is None and config.layer_decay != 1:
        raise ValueError("a layer decay needs to know the layer of each parameter")
    depths = {
        name: layer_of(name.removeprefix(encoder_prefix))
        if layer_of and name.startswith(encoder_prefix)
        else None
        for name, _ in module.named_parameters()
    }
    num_layers = max((depth for depth in depths.values() if depth is not None), default=0)
    groups: dict[tuple[bool, int], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            depth = depths[name]
            steps_down = 0 if depth is None else num_layers + 1 - depth
            if config.head_lr_ratio != 1 and not name.startswith(encoder_prefix):
                steps_down = _HEAD
            groups.setdefault((decays(name, parameter), steps_down), []).append(parameter)
    if not groups:
        raise SettingError("the network has no trainable parameters")
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": config.weight_decay if decaying else 0.0,
                "lr_scale": config.head_lr_ratio if steps_down == _HEAD else config.layer_decay**steps_down,
            }
            for (decaying, steps_down), parameters in sorted(groups.items(), key=lambda item: item[0])
        ],
        lr=config.lr_per_256,
        betas=config.betas,
        fused=True,
    )


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: matrices only, no tokens and positions."""
    return parameter.ndim > 1 and not name.endswith(("cls_token", "mask_token", "frame_token", "pos_embed"))
