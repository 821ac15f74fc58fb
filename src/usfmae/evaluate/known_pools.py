"""What published encoders are known to have learnt from, where their pools are not at hand.

UltraSam's list is US-43d (github.com/CAMMA-public/UltraSam), USF-MAE's OpenUS-46; the cards of the sets say
which of them they are in (`pools.us43d`, `openus46_index`).
"""

from dataclasses import dataclass
from typing import Literal

from usfmae.datasets.registry import get_card
from usfmae.models.encoders import PUBLISHED_NAMES

OF_PHOTOGRAPHS = {"sam": "SA-1B", "dinov2": "LVD-142M"}
"""Published encoders that have seen photographs only, by the pool's name (Kirillov et al. 2023, sec. 5;
Oquab et al. 2023, sec. 3)."""

LEFT_OUT = ("bus-bra", "mmotu-2d", "gist514-db")
"""Benchmarks of USF-MAE (arXiv 2510.22990): its README speaks of 46 sets, and in one sentence of 43 without
these three."""


@dataclass(frozen=True)
class Known:
    """What is known of a published encoder and a set."""

    kind: Literal["learnt", "photographs", "unknown"]
    """Whether the set is in its pool; whether it has seen ultrasound at all."""

    why: str
    """The list that says so, or what is missing."""


def known_of(encoder: str, task: str) -> Known:
    """Whether a published encoder has learnt from a labelled set, by its publishers' own lists.

    A list without the set proves nothing: pools hold images of one another.

    Args:
        encoder: as `--encoder` names it, one of `PUBLISHED_NAMES`.
        task: name of a set's card.

    Raises:
        ValueError: it is not a published encoder.
    """
    if encoder not in PUBLISHED_NAMES:
        raise ValueError(f"{encoder} is not a published encoder")
    if encoder in OF_PHOTOGRAPHS:
        return Known("photographs", f"published after {OF_PHOTOGRAPHS[encoder]}, which holds photographs")
    card = get_card(task)
    if encoder == "ultrasam":
        listed = card.pools.us43d
        if listed not in (None, "no"):
            return Known("learnt", f"US-43d: {listed}")
    if encoder == "usf-mae" and card.openus46_index is not None:
        if task not in LEFT_OUT:
            return Known("learnt", "OpenUS-46")
        return Known(
            "unknown", "its pool is not at hand; its README says both that it holds this set and not"
        )
    return Known("unknown", f"the pool of {encoder} is not at hand")
