"""How often each image of a pool is drawn, so that a few long videos do not own what is learnt.

Six video sets are over half of OpenUS-46, mostly frames that hardly differ. Instead of throwing them away, a
run may draw them less often.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from pydantic import Field

from usfmae.base.config import Config
from usfmae.corpus.shards import Corpus


class BalanceConfig(Config):
    """At each level, a member with n images is drawn in proportion to n ** power.

    1 draws every image equally often, 0 every member of the level equally often; the power is one over the
    temperature of sampling (Conneau et al. 2020, "Unsupervised Cross-lingual Representation Learning at
    Scale", sec. 3.1, which takes 0.3).
    """

    anatomy: float = Field(default=1.0, ge=0, le=1)
    """Power between anatomies; folders that no card describes are one, "not stated"."""

    source: float = Field(default=1.0, ge=0, le=1)
    """Power between the sources of one anatomy."""

    group: float = Field(default=1.0, ge=0, le=1)
    """Power between the groups (patients, clips, files) of one source."""

    @property
    def is_even(self) -> bool:
        """Whether every image is drawn equally often."""
        return self.anatomy == self.source == self.group == 1.0


def image_weights(corpus: Corpus, config: BalanceConfig) -> Float[np.ndarray, " n"] | None:
    """The chance of each image of a corpus to be the next one drawn.

    Args:
        corpus: an open corpus.
        config: powers of the three levels.

    Returns:
        Chances that add up to 1, or None where all are equal.
    """
    if config.is_even:
        return None
    anatomy_of = {source["name"]: anatomy_key(source) for source in corpus.record["sources"]}
    sources = corpus.manifest["source"].to_pylist()
    levels = [
        [anatomy_of[source] for source in sources],
        sources,
        corpus.manifest["group"].to_pylist(),
    ]
    return nested_chances(levels, [config.anatomy, config.source, config.group])


def anatomy_key(source: dict[str, object]) -> str:
    """The anatomy of a source of corpus.json; "not stated" where no card says it."""
    return str(source.get("anatomy") or "not stated")


def nested_chances(levels: Sequence[Sequence[str]], powers: Sequence[float]) -> Float[np.ndarray, " n"]:
    """Chances of images that are grouped, and the groups grouped again.

    Args:
        levels: from the coarsest to the finest, the member that each image belongs to. A finer level counts
            within the coarser ones, so the same name below two parents is two members.
        powers: of each level.

    Returns:
        Positive numbers that add up to 1: the product over the levels of a member's share among its
        siblings, times one over the images of the finest member.
    """
    num_images = len(levels[0])
    parents = np.zeros(num_images, dtype=np.int64)
    chances = np.ones(num_images)
    for names, power in zip(levels, powers, strict=True):
        _, own = np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)
        _, first, members = np.unique(
            parents * (own.max(initial=0) + 1) + own, return_index=True, return_inverse=True
        )
        shares = np.bincount(members) ** power
        among = np.bincount(parents[first], weights=shares)
        chances *= (shares / among[parents[first]])[members]
        parents = members
    each: Float[np.ndarray, " n"] = chances / np.bincount(parents)[parents]
    return each
