"""Learning rate of each step: linear warm-up, then half a cosine."""

import math
from dataclasses import dataclass

from usfmae.engine.optim import OptimConfig


@dataclass(frozen=True)
class Schedule:
    """Learning rate as a pure function of the step."""

    peak: float
    """Highest rate."""

    floor: float
    """Rate at the end."""

    warmup_steps: int
    """Steps over which the rate grows from 0 (not reached at step 0: the first step already moves)."""

    total_steps: int
    """Steps of the whole run."""

    def lr(self, step: int) -> float:
        """The rate of step `step`, counted from 0 (Loshchilov & Hutter 2017, half a cosine)."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        span = max(self.total_steps - self.warmup_steps, 1)
        turn = math.cos(math.pi * min((step - self.warmup_steps) / span, 1.0))
        return self.floor + (self.peak - self.floor) * (1 + turn) / 2


def make_schedule(
    config: OptimConfig, *, global_batch: int, steps_per_epoch: float, total_steps: int
) -> Schedule:
    """The schedule of a run.

    Args:
        config: rates per batch of 256, warm-up in epochs.
        global_batch: images per optimiser step, over all devices.
        steps_per_epoch: may be a fraction.
        total_steps: length of the run; the warm-up is cut to it.
    """
    scale = global_batch / 256
    return Schedule(
        peak=config.lr_per_256 * scale,
        floor=config.floor_lr_per_256 * scale,
        warmup_steps=min(round(config.warmup_epochs * steps_per_epoch), total_steps),
        total_steps=total_steps,
    )


def with_short_warmup(config: OptimConfig, *, epochs: float) -> OptimConfig:
    """The same settings with a warm-up of at most a tenth of a run: the epochs of a default would be half of
    a short one.

    Args:
        config: its warm-up, in epochs, stays where it is shorter.
        epochs: length of the run.
    """
    return config.model_copy(update={"warmup_epochs": min(config.warmup_epochs, epochs / 10)})
