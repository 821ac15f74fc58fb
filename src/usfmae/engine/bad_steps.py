"""Steps that go wrong: a loss or gradient that is not a finite number, and a loss that jumps.

What to do with the first is a setting: stop, or leave the update out and go on. The second is kept for people
to look at; the run goes on. A batch is a function of the run's seed and the step, so what is kept here is a
convenience: `step` and `seed` alone bring it back.
"""

import statistics
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from usfmae.base.errors import FolderError, TrainingError
from usfmae.base.files import write_by
from usfmae.base.logs import get_logger
from usfmae.engine.checkpoint import find_checkpoints
from usfmae.engine.ranks import Ranks

log = get_logger(__name__)

OnBadStep = Literal["stop", "skip"]

LOOKED_AT_ONCE = {"cpu"}
"""Devices that need not be waited for: their numbers are looked at in every step, those of others where a
line or a checkpoint is due."""

SPIKES = "spikes"
"""Folder of the kept batches, below a run's."""

MAX_KEPT = 5
"""Batches of spikes that are kept; later ones are only logged."""

WINDOW = 200
"""Losses of which the running median is taken."""

MIN_SEEN = 20
"""Losses before a first jump can be told; the first steps of a run fall fast and say little."""


@dataclass
class BadSteps:
    """Counts steps that were left out; says when there were too many in a row."""

    on_bad_step: OnBadStep
    """stop: the first one is one too many."""

    max_in_row: int
    """With skip, as many may follow each other."""

    in_row: int = 0
    """Up to now."""

    total: int = 0
    """Of this call of the loop."""

    def good(self) -> None:
        """A step with finite numbers was taken."""
        self.in_row = 0

    def bad(self) -> bool:
        """A step has no finite numbers; returns whether the run must stop."""
        self.in_row += 1
        self.total += 1
        return self.on_bad_step == "stop" or self.in_row > self.max_in_row


@dataclass
class Unseen:
    """Losses and gradient norms that nobody has looked at yet: to look, a GPU must be waited for."""

    _kept: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)

    def add(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Those of a step, wherever they are."""
        self._kept.append((step, loss, norm))

    def first_bad(self, ranks: Ranks) -> int | None:
        """Look at them all: the first step with a number that is not finite on any rank; None for none."""
        if not self._kept:
            return None
        steps, losses, norms = zip(*self._kept, strict=True)
        self._kept.clear()
        finite = torch.isfinite(torch.stack([*losses, *norms])).reshape(2, -1).all(dim=0).tolist()
        if not ranks.anyone(not all(finite)):
            return None
        mine = next((step for step, good in zip(steps, finite, strict=True) if not good), steps[-1])
        return min(ranks.gather(int(mine)))


def too_many(
    out: Path,
    batch: tuple[Tensor, ...],
    step: int,
    lr: float,
    seed: int,
    bad_steps: BadSteps,
    rank: int,
    precision: Literal["bf16", "fp32"],
) -> TrainingError:
    """The error that ends a run, with the batch kept beside it.

    Args:
        out: the run's folder.
        batch: this rank's part of that of the step.
        step: the first one with a number that is not finite, counted from 0.
        lr: its learning rate.
        seed: the run's, for the record.
        bad_steps: how many there were.
        rank: of this process.
        precision: what to try depends on it.
    """
    path = out / f"bad_batch{f'_rank{rank}' if rank else ''}.safetensors"
    save_batch(path, batch, step=step, seed=seed)
    done = find_checkpoints(out)
    kept = f"the last good checkpoint is {done[-1].path}" if done else "no checkpoint was written yet"
    again = f", {bad_steps.in_row} times in a row" if bad_steps.in_row > 1 else ""
    ways = ["lower optim.lr_per_256", "lengthen optim.warmup_epochs"]
    ways += ["--set loop.precision=fp32"] if precision != "fp32" else []
    skip = "--resume --set loop.on_bad_step=skip leaves single steps out"
    return TrainingError(
        f"{out}: the loss or its gradient is not a finite number at step {step} (learning rate {lr:.2e})"
        f"{again}; {kept}; the batch is kept in {path.name}",
        hint=f"start again (--overwrite, or another --out) with one of: {', '.join(ways)}"
        + ("" if bad_steps.on_bad_step == "skip" else f"; {skip}"),
    )


@dataclass
class SpikeWatch:
    """Tells losses that jump over a multiple of the running median, and keeps the first few batches.

    It changes nothing of the run: neither what is trained nor when the device is waited for, since losses are
    handed in when they are on the host anyway.
    """

    out: Path
    """The run's folder."""

    seed: int
    """The run's, for the record."""

    factor: float
    """A loss above `factor` times the median of the last `WINDOW` is a spike; above 1."""

    _seen: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def see(
        self, losses: Iterable[tuple[int, float]], remake: Callable[[int], tuple[Tensor, ...]]
    ) -> list[dict[str, object]]:
        """Look at the losses of some steps.

        Args:
            losses: step, counted from 0, and its loss, a finite number; in the order of the steps.
            remake: makes the batch of a step again.

        Returns:
            A line for the metrics log for each spike: at (the step), loss, median, seed, and file, None where
            it was not kept.
        """
        lines: list[dict[str, object]] = []
        for step, loss in losses:
            if len(self._seen) >= MIN_SEEN:
                median = statistics.median(self._seen)
                if loss > self.factor * median > 0:
                    kept = self._keep(step, loss, median, remake)
                    log.warning(
                        "the loss of step %d is %.4g, %.1f times the median of the steps before", step, loss,
                        loss / median,
                    )  # fmt: skip
                    lines.append(
                        {"at": step, "loss": loss, "median": median, "seed": self.seed, "file": kept}
                    )
            self._seen.append(loss)
        return lines

    def _keep(
        self, step: int, loss: float, median: float, remake: Callable[[int], tuple[Tensor, ...]]
    ) -> str | None:
        folder = self.out / SPIKES
        path = folder / f"step_{step:08d}.safetensors"
        if not path.exists() and len(list(folder.glob("step_*.safetensors"))) >= MAX_KEPT:
            return None
        try:
            save_batch(
                path, remake(step), step=step, seed=self.seed, loss=f"{loss:.6g}", median=f"{median:.6g}"
            )
        except FolderError as error:
            log.warning("%s; the spike is only logged", error.message)
            return None
        return f"{SPIKES}/{path.name}"


def save_batch(path: Path, batch: tuple[Tensor, ...], **facts: object) -> None:
    """Keep a batch as tensor_0, tensor_1 ... with facts beside it.

    Raises:
        FolderError: the file cannot be written.
    """
    tensors = {f"tensor_{i}": tensor.cpu().contiguous() for i, tensor in enumerate(batch)}
    metadata = {name: str(value) for name, value in facts.items()}
    write_by(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))
