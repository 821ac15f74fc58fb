"""When a run is looked at: one rule for pictures, scores, losses and pages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Looks:
    """At the start, at every interval, and at the end."""

    every_steps: int
    """Steps between looks."""

    total_steps: int
    """Steps of the run; the last one is looked at whatever the interval."""

    @classmethod
    def every(cls, epochs: float, *, steps_per_epoch: float, total_steps: int) -> "Looks":
        """An interval in epochs, of one step at least."""
        return cls(max(1, round(epochs * steps_per_epoch)), total_steps)

    def due(self, step: int) -> bool:
        """Whether to look after so many steps."""
        return step % self.every_steps == 0 or step == self.total_steps
