"""A word on the command line that must be one of a few, in one place."""

from collections.abc import Sequence
from typing import TypeVar

Word = TypeVar("Word", bound=str)


def one_of(known: Sequence[Word], word: str, *, flag: str) -> Word:
    """The known word that was typed.

    Args:
        known: what may be said.
        word: what was typed.
        flag: where, as in "--engine".

    Raises:
        SettingError: it is none of them; the hint names the nearest.
    """
    from usfmae.base.config import nearest
    from usfmae.base.errors import SettingError

    for other in known:
        if word == other:
            return other
    raise SettingError(f"{flag} {word}: is not one of {', '.join(known)}", hint=nearest(word, known))
