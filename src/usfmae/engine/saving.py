"""How a running loop saves: by a thread, from a copy that later steps cannot change, while it goes on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from usfmae.base.errors import FolderError
from usfmae.base.logs import get_logger
from usfmae.engine.checkpoint import Contents, find_checkpoints, save_checkpoint, whole_contents, write_whole
from usfmae.engine.memory import ran_out
from usfmae.engine.ranks import ALONE, Ranks

log = get_logger(__name__)
THREAD = "checkpoint"
"""Name of the thread that writes."""


class HostCopy:
    """Copies of tensors in host memory, in places that are kept: the memory is asked for once, not at every
    checkpoint, since touching a gigabyte for the first time takes longer than copying it."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], Tensor] = {}

    def of(self, contents: Contents) -> Contents:
        """The same tensors as they are now; valid until the next call."""
        return {
            file: {name: self._copied((file, name), tensor.detach()) for name, tensor in tensors.items()}
            for file, tensors in contents.items()
        }

    def _copied(self, key: tuple[str, str], tensor: Tensor) -> Tensor:
        place = self._places.get(key)
        if place is None or place.shape != tensor.shape or place.dtype != tensor.dtype:
            place = self._places[key] = torch.empty(tensor.shape, dtype=tensor.dtype)
        return place.copy_(tensor)  # from a GPU: returns when it is there, since the place is not pinned


class _Write:
    """One checkpoint on its way to the disk."""

    def __init__(self, run: Path, step: int, contents: Contents, keep: int) -> None:
        self.step = step
        self.error: BaseException | None = None
        self._given = (run, step, contents, keep)
        # No daemon: Python may not take its threads away from a library that is in the middle of a write.
        self.thread = threading.Thread(target=self._work, name=THREAD)
        self.thread.start()

    def _work(self) -> None:
        try:
            write_whole(*self._given)
        except BaseException as error:
            self.error = error


@dataclass
class Saver:
    """The checkpoints of one call of the loop. All ranks have one and call `save` and `settle` together."""

    run: Path
    """The run's folder."""

    module: nn.Module
    """What is trained."""

    optimizer: torch.optim.Optimizer
    """Of its parameters."""

    keep: int
    """How many of the newest to keep."""

    background: bool
    """Write in a thread. A network in pieces (fsdp) is always written while the loop waits: all ranks talk to
    each other as they write, and would do so in the middle of the talk of a step."""

    ranks: Ranks = ALONE
    """The processes that train together."""

    _saved: int | None = None
    _writing: _Write | None = None
    _copy: HostCopy | None = field(default_factory=HostCopy)

    def save(self, step: int, *, needed: bool) -> None:
        """Write a checkpoint, after the one before is finished.

        Args:
            step: steps done.
            needed: it must be on the disk when this returns; otherwise it may still be written then, and a
                full disk is only a warning, now or later.

        Raises:
            FolderError: the disk is full and the checkpoint is needed.
        """
        self.settle()
        if step == self._saved:
            return
        try:
            if self.background and not needed and not self.ranks.sharded:
                self.ranks.first(lambda: self._begin(step))
            else:
                save_checkpoint(
                    self.run,
                    step=step,
                    module=self.module,
                    optimizer=self.optimizer,
                    keep=self.keep,
                    ranks=self.ranks,
                )
                self._saved = step
        except FolderError as error:
            if needed:
                raise
            self._warn(error)

    def settle(self) -> None:
        """Wait for what is being written.

        Raises:
            Exception: what went wrong there, on all ranks; a full disk is only a warning.
        """
        self._saved = self.ranks.first(self._finish)

    def look(self) -> None:
        """Warn of a full disk when it is met, not only at the next checkpoint; waits for nothing."""
        write = self._writing
        if write is not None and not write.thread.is_alive() and isinstance(write.error, FolderError):
            self._finish()  # other errors wait for `settle`, which raises them on all ranks

    def end(self) -> None:
        """Wait for what this rank is writing, for the end of a loop that failed: raises nothing over that."""
        if self._writing is None:
            return
        if self._writing.thread.is_alive():
            log.info("the checkpoint of step %d is being finished", self._writing.step)
        try:
            self._finish()
        except Exception as error:
            log.error("the last checkpoint could not be written (%s: %s)", type(error).__name__, error)

    def _begin(self, step: int) -> None:
        contents = whole_contents(self.module, self.optimizer)
        if self._copy is not None:
            try:
                self._writing = _Write(self.run, step, self._copy.of(contents), self.keep)
                return
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                self._copy = None
                log.warning("no memory is left for a copy of the weights: training waits for checkpoints")
        write_whole(self.run, step, contents, self.keep)
        self._saved = step

    def _finish(self) -> int | None:
        """Wait; the newest step that this call of the loop has saved."""
        if (write := self._writing) is not None:
            write.thread.join()
            self._writing = None
            if isinstance(write.error, FolderError):
                self._warn(write.error)
            elif write.error is not None:
                raise write.error
            else:
                self._saved = write.step
        return self._saved

    def _warn(self, error: FolderError) -> None:
        kept = "the checkpoint before is kept" if find_checkpoints(self.run) else "none was written yet"
        log.warning("%s; %s, the next one is tried again", error.message, kept)


@contextmanager
def saving(
    run: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    keep: int,
    background: bool,
    ranks: Ranks = ALONE,
) -> Iterator[Saver]:
    """A `Saver` that leaves nothing half done: however the block ends, no thread writes afterwards."""
    saver = Saver(run, module, optimizer, keep, background, ranks)
    try:
        yield saver
    finally:
        saver.end()
