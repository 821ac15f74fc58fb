"""The weights that a run is made for, written before the last checkpoint, which is larger and may not fit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from usfmae.base.errors import FolderError
from usfmae.base.input_spec import InputSpec
from usfmae.engine.ema import WeightAverage
from usfmae.engine.ranks import Ranks
from usfmae.models.masked_models import MaskedNetwork
from usfmae.models.weights import AVERAGED_FILE, WEIGHTS_FILE, save_encoder
from usfmae.pretrain.whole_moments import WholeMoments


@dataclass
class FinalWeights:
    """A loop hook, called after the average's: writes the encoder after the last step."""

    out: Path
    """The run's folder."""

    whole: Callable[[], MaskedNetwork]
    """Gives the network in training, with all its weights on the first rank; every rank calls it."""

    ranks: Ranks
    """The processes that train together; all of them call this, since the shares of all are needed."""

    input_spec: InputSpec
    """What the encoder wants to see."""

    notes: dict[str, str]
    """Go into the files."""

    total_steps: int
    """The last step."""

    moments: WholeMoments
    """What the batch norms of what is written have seen."""

    average: WeightAverage | None = None
    """Written to `AVERAGED_FILE` beside; None for none."""

    saved: bool = False
    """Whether all is written."""

    def __call__(self, step: int) -> list[dict[str, object]]:
        """Write if it is time; has nothing to say to the metrics log.

        Raises:
            FolderError: the disk is full.
        """
        if step == self.total_steps and not self.saved:
            self._save(self.out / WEIGHTS_FILE)
            if self.average is not None:
                with self.average.in_place():
                    self._save(self.out / AVERAGED_FILE)
            self.saved = True
        return []

    def _save(self, path: Path) -> None:
        encoder = self.whole().encoder

        def save() -> None:
            with self.moments.settled(encoder):
                save_encoder(path, encoder, input_spec=self.input_spec, notes=self.notes)

        self.ranks.first(save)


@contextmanager
def saying_what_is_done(final: FinalWeights) -> Iterator[None]:
    """Where the last checkpoint does not fit and the weights did, the error says so."""
    try:
        yield
    except FolderError as error:
        if not final.saved:
            raise
        raise FolderError(
            f"{error.message}; training is done, and its weights are in {final.out / WEIGHTS_FILE}",
            hint=error.hint,
        ) from error
