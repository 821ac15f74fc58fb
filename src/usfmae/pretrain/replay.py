"""Going on learning: images of an old pool among those of a new one, the same share in every batch.

A network that goes on with other images forgets some of what it knew; showing it the old ones now and then
(rehearsal: Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal"; Rolnick et al. 2019,
"Experience replay for continual learning") is meant to keep it.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.errors import CorpusError
from usfmae.base.logs import get_logger
from usfmae.base.seeds import rng_for, seed_for
from usfmae.corpus.balance import BalanceConfig, image_weights
from usfmae.corpus.shards import Corpus, open_corpus
from usfmae.engine.augment import whole_batch
from usfmae.engine.sampler import Weights, batch_indices
from usfmae.pretrain.context import Partners, Together, find_partners, number_by, one_after_the_other

log = get_logger(__name__)

SAMPLE_SIZE = 256
"""Images of each pool that are measured, or all of a smaller one."""


class ReplayConfig(Config):
    """Which pool was learnt before, and how much of it stays in the batches."""

    corpus: str | None = None
    """Folder of the old pool; what is gained on the new one and lost on this one is measured. None: neither
    replay nor measurement."""

    ratio: float = Field(default=0.0, ge=0, lt=1)
    """Share of each batch that is of the old pool, rounded to an image; 0 only measures."""

    hold_out_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Share of the new pool, in whole groups (patients, clips, files) and hardly more than 256 images, that
    is not trained on, so that the gain is measured on images never seen. 0: on images that are trained on."""

    def model_post_init(self, _context: object) -> None:
        for name in ("ratio", "hold_out_ratio"):
            if getattr(self, name) and self.corpus is None:
                raise ValueError(f"{name}={getattr(self, name)} needs replay.corpus, the old pool")

    def num_old(self, global_batch: int) -> int:
        """Images of the old pool in every global batch.

        Raises:
            ValueError: the ratio rounds to none or to all of the batch.
        """
        num_old = round(self.ratio * global_batch)
        if self.ratio and not 0 < num_old < global_batch:
            raise ValueError(
                f"replay.ratio={self.ratio} is {num_old} of {global_batch} images in a batch: "
                "at least one of each pool is needed"
            )
        return num_old


@dataclass(frozen=True)
class Pools:
    """A new pool and perhaps an old one, numbered through: images of the new one, then those of the old."""

    new: Corpus
    """What is learnt; an epoch shows each image of it once."""

    old: Corpus | None = None
    """What is replayed."""

    balance: BalanceConfig = field(default_factory=BalanceConfig)
    """How often images are drawn, within each pool."""

    def batch(self, step: int, *, global_batch: int, num_old: int, seed: int) -> Int[np.ndarray, " b"]:
        """The images of global batch `step`, those of the old pool last.

        Both pools are walked through in shuffled epochs of their own, so a batch is a function of (seed,
        step), and the new pool's order is that of a run without replay and with `num_old` fewer images.

        Args:
            step: counted from 0.
            global_batch: images per step.
            num_old: how many of them are of the old pool.
            seed: the run's seed.
        """
        indices = batch_indices(
            step,
            num_images=len(self.new),
            global_batch=global_batch - num_old,
            seed=seed,
            weights=self.weights,
        )
        if self.old is None or not num_old:
            return indices
        replayed = batch_indices(
            step,
            num_images=len(self.old),
            global_batch=num_old,
            seed=seed_for(seed, "replay"),
            weights=self.old_weights,
        )
        return np.concatenate([indices, len(self.new) + replayed])

    def read(self, indices: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size"]:
        """Images by their numbers, all of the side of the new pool's.

        Images of an old pool of another side are resized with antialiasing.

        Raises:
            CorpusError: a shard is missing or damaged.
        """
        if self.old is None:
            return self.new.read(indices)
        size = self.new.size_px
        out = np.empty((len(indices), size, size), dtype=np.uint8)
        is_old = indices >= len(self.new)
        out[~is_old] = self.new.read(indices[~is_old])
        out[is_old] = whole_batch(self.old.read(indices[is_old] - len(self.new)), image_px=size)
        return out

    @cached_property
    def partners(self) -> Partners:
        """Which images are frames of one clip; never of two pools."""
        return self._together("clip")

    @cached_property
    def of_patients(self) -> Partners:
        """Which images are of one group, the patient where known; never of two pools."""
        return self._together("patient")

    def _together(self, together: Together) -> Partners:
        new = find_partners(self.new, together)
        return new if self.old is None else one_after_the_other(new, find_partners(self.old, together))

    @cached_property
    def weights(self) -> Weights | None:
        """How often each image of the new pool is drawn; None for all alike."""
        return _weights(self.new, self.balance)

    @cached_property
    def old_weights(self) -> Weights | None:
        """How often each image of the old pool is drawn; None for all alike."""
        return None if self.old is None else _weights(self.old, self.balance)


def _weights(corpus: Corpus, balance: BalanceConfig) -> Weights | None:
    chances = image_weights(corpus, balance)
    return None if chances is None else Weights(chances)


def hold_out(new: Corpus, ratio: float, *, seed: int) -> tuple[Corpus, Corpus]:
    """Images of a pool that are trained on, and whole groups that are not.

    Groups are taken in a drawn order until they hold at least the share, or `SAMPLE_SIZE`.

    Raises:
        CorpusError: nothing would be left to train on.
    """
    groups = number_by(new, "source", "group")
    order = rng_for(seed, "hold out").permutation(groups.max() + 1)
    sizes = np.bincount(groups)[order]
    wanted = min(SAMPLE_SIZE, max(1, round(ratio * len(new))))
    held = np.isin(groups, order[: int(np.searchsorted(np.cumsum(sizes), wanted)) + 1])
    if held.all():
        raise CorpusError(
            f"{new.folder}: replay.hold_out_ratio={ratio} leaves none of {len(sizes)} groups to train on",
            hint="lower it; 0 measures on images that are trained on",
        )
    return new.only(np.flatnonzero(~held)), new.only(np.flatnonzero(held))


def open_old(config: ReplayConfig, new: Corpus) -> Corpus | None:
    """Open the pool that was learnt before; None where none is named.

    Raises:
        CorpusError: it is no finished corpus, it is the new one, or its pictures were prepared otherwise.
    """
    if config.corpus is None:
        return None
    try:
        old = open_corpus(Path(config.corpus))
    except CorpusError as error:
        raise CorpusError(f"replay.corpus: {error.message}", hint=error.hint) from error
    if old.sha256 == new.sha256:
        raise CorpusError(
            f"replay.corpus={config.corpus} holds the same images as {new.folder}",
            hint="--corpus takes the new pool, replay.corpus the one that the weights were pretrained on",
        )
    if (old.fit, old.crop) != (new.fit, new.crop):
        raise CorpusError(
            f"replay.corpus={config.corpus} was built with fit={old.fit} and crop={old.crop}, "
            f"{new.folder} with fit={new.fit} and crop={new.crop}: one network cannot learn both",
            hint=f"build the new one like the old: --set fit={old.fit} --set crop={old.crop}",
        )
    if old.size_px != new.size_px:
        log.info("images of the old pool are resized from %d px to %d px", old.size_px, new.size_px)
    return old
