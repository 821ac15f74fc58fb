"""An exponential moving average of weights: smoother than the weights themselves, which still jump about
while the learning rate is high (Polyak and Juditsky 1992).

The averages live in the optimiser's state, beside Adam's own. So checkpoints keep them without knowing of
them, whole or in pieces, a resumed run goes on with them to the bit, and sharded weights have sharded
averages.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from usfmae.base.config import Config

KEY = "ema"
"""Name of the average in the optimiser's state of a parameter."""


class EmaConfig(Config):
    """An average of weights beside them."""

    decay: float | None = Field(default=None, ge=0, lt=1)
    """Share of the average that stays in a step of 256 images, for example 0.999; None for no average, 0 for
    one that is the weights themselves. A step of B images keeps decay^(B / 256), so that the average reaches
    back over the same number of images (Busbridge et al. 2023, "How to scale your EMA")."""

    def per_step(self, global_batch: int) -> float | None:
        """Share that stays in a step of so many images; None for no average."""
        return None if self.decay is None else float(self.decay ** (global_batch / 256))


@dataclass(frozen=True, eq=False)
class WeightAverage:
    """A loop hook that moves the averages towards the weights after each step.

    At the start it keeps less: (1 + t) / (10 + t) after t steps if that is smaller, or a short run would
    average its random start. That is 1 - 9 / (10 + t), so the average reaches back over the last ninth of
    the steps done, until it reaches as far as `decay` says: after some 9 / (1 - decay) steps, 9,000 for a
    decay of 0.999 a step. The average of a shorter run is that of its last ninth, whatever `decay` is; where
    a cosine has let the rate fall near zero by then, it is nearly the weights themselves. A weight that the
    optimiser never stepped has no average.
    """

    optimizer: torch.optim.Optimizer
    """Steps the weights; its state holds the averages."""

    parameters: Sequence[Tensor]
    """The weights to average, in the number type they have; fp32 under autocast."""

    decay: float
    """Share that stays in one step."""

    key: str = KEY
    """Name in the optimiser's state; each average of the same weights has its own."""

    @torch.no_grad()
    def __call__(self, step: int) -> list[dict[str, object]]:
        """Move; has nothing to say to the metrics log.

        Args:
            step: steps done.
        """
        stepped = self._stepped()
        for parameter in stepped:
            self.optimizer.state[parameter].setdefault(self.key, parameter.detach().clone())
        if stepped:
            keep = min(self.decay, (1 + step) / (10 + step))
            averages = [self.optimizer.state[parameter][self.key] for parameter in stepped]
            torch._foreach_lerp_(averages, [parameter.detach() for parameter in stepped], 1 - keep)
        return []

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages where the weights are, to save or to score them; the weights come back after."""
        held = {parameter: self.optimizer.state[parameter].get(self.key) for parameter in self._stepped()}
        with torch.no_grad():
            before = {p: p.detach().clone() for p, average in held.items() if average is not None}
            for parameter in before:
                parameter.copy_(held[parameter])
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in before.items():
                    parameter.copy_(value)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the averages where the weights are, for good."""
        for parameter in self._stepped():
            parameter.copy_(self.of(parameter))

    def of(self, parameter: Tensor) -> Tensor:
        """The average of a weight, not copied; the weight itself where it has none."""
        average: Tensor = self.optimizer.state.get(parameter, {}).get(self.key, parameter)
        return average.detach()

    def _stepped(self) -> list[Tensor]:
        # An optimiser fills the state of a parameter at its first step if it finds it empty: not before.
        return [parameter for parameter in self.parameters if self.optimizer.state.get(parameter)]
