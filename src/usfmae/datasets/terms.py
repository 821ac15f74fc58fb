"""Licence arithmetic: what may be done with something made from several datasets.

The strictest term wins, and what nobody has stated stays unknown: it is neither a permission nor a refusal.
This is bookkeeping from the publishers' own words, not legal advice.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from usfmae.base.config import Config
from usfmae.base.errors import SettingError
from usfmae.datasets.card import Card

Allowed = bool | None
"""True: allowed, False: forbidden, None: not stated."""


class Terms(Config):
    """What is allowed with a dataset, or with what was made from several."""

    commercial: Allowed
    """Use for profit."""

    share: Allowed
    """Passing on, unchanged."""

    derivatives: Allowed
    """Passing on what was made from it. Whether a network's weights are that is disputed: ask."""

    share_alike: bool
    """What is made from it must carry the same licence."""

    @property
    def summary(self) -> str:
        """In a few words: `commercial use, sharing`; `no commercial use; derivatives unknown`."""
        terms = {"commercial use": self.commercial, "sharing": self.share, "derivatives": self.derivatives}
        parts = [
            ", ".join(name for name, allowed in terms.items() if allowed),
            ", ".join(f"no {name}" for name, allowed in terms.items() if allowed is False),
            ", ".join(f"{name} unknown" for name, allowed in terms.items() if allowed is None),
            "same licence" if self.share_alike else "",
        ]
        return "; ".join(part for part in parts if part)


NOTHING_STATED = Terms(commercial=None, share=None, derivatives=None, share_alike=False)
"""Of images that no card describes."""


_FREE = ("CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "ODC-By-1.0", "MIT", "Apache-2.0", "BSD-3-Clause")
_SAME_LICENCE = ("CC-BY-SA-4.0", "GPL-2.0-only", "GPL-3.0-only", "ODbL-1.0")
_NOT_FOR_PROFIT = ("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-NC-ND-4.0")

LICENCES = (*_FREE, *_SAME_LICENCE, *_NOT_FOR_PROFIT, "CC-BY-ND-4.0")
"""SPDX names whose terms are known; https://spdx.org/licenses."""


def terms_of_licence(spdx: str) -> Terms:
    """What a licence of this SPDX name allows.

    Raises:
        SettingError: a name that is not in `LICENCES`.
    """
    if spdx not in LICENCES:
        near = get_close_matches(spdx.upper(), [name.upper() for name in LICENCES], n=1)
        meant = [name for name in LICENCES if name.upper() in near]
        known = f"do you mean {meant[0]}?" if meant else f"known are {', '.join(LICENCES)}"
        raise SettingError(f"licence {spdx}: is not known", hint=known)
    return Terms(
        commercial="-NC" not in spdx,
        share=True,
        derivatives="-ND" not in spdx,
        share_alike=spdx in _SAME_LICENCE or "-SA" in spdx,
    )


def terms_of(card: Card) -> Terms:
    """What the publisher of a dataset allows, as its card has it."""
    spdx = card.licence.spdx or ""
    derivatives: Allowed = False if "-ND" in spdx else card.licence.redistribution
    return Terms(
        commercial=card.licence.commercial_use,
        share=card.licence.redistribution,
        derivatives=derivatives,
        share_alike="-SA" in spdx or "SA" in (card.licence.stated or "").replace("-", " ").split(),
    )


def strictest(several: Iterable[Terms]) -> Terms:
    """The terms of something made from all of them; of nothing, nothing is stated."""
    terms = list(several)
    if not terms:
        return NOTHING_STATED
    return Terms(
        commercial=all_allow(part.commercial for part in terms),
        share=all_allow(part.share for part in terms),
        derivatives=all_allow(part.derivatives for part in terms),
        share_alike=any(part.share_alike for part in terms),
    )


def all_allow(allowed: Iterable[Allowed]) -> Allowed:
    """True where all allow it, False where one forbids it, else None."""
    answers = set(allowed)
    if False in answers:
        return False
    return None if None in answers else True
