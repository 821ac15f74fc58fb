"""Which shifts of pictures are tried, and how much."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from usfmae.base.config import Config
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.images.shifts import SHIFTS


def _as_amounts(value: Any) -> Any:
    """`6` and `-6,6` as amounts, as they are typed on a command line."""
    if isinstance(value, str):
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError as error:
            raise ValueError("amounts are numbers with commas between them") from error
    return (value,) if isinstance(value, int | float) else value


Amounts = Annotated[tuple[float, ...], BeforeValidator(_as_amounts)]


class ShiftsConfig(Config):
    """What is tried; amounts in the units of `images.shifts`, none for a shift that is left out."""

    gain: Amounts = SHIFTS["gain"].amounts
    """Overall gain in dB."""

    contrast: Amounts = SHIFTS["contrast"].amounts
    """Display range in dB, 60 as it is."""

    blur: Amounts = SHIFTS["blur"].amounts
    """Deviation of a Gaussian in pixels of the prepared picture."""

    crop: Amounts = SHIFTS["crop"].amounts
    """Side of the central part by that of the whole."""

    bootstrap: BootstrapConfig = BootstrapConfig()
    """Intervals."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None for all that this process may use."""

    @field_validator(*SHIFTS)
    @classmethod
    def _possible(cls, amounts: tuple[float, ...], info: Any) -> tuple[float, ...]:
        """Sorted, each once, without the one that changes nothing, which is always there."""
        shift = SHIFTS[str(info.field_name)]
        low, high = shift.limits
        for amount in amounts:
            if not low <= amount <= high:
                raise ValueError(f"{shift.words(amount)} is not between {low:g} and {high:g}")
        return tuple(sorted(set(amounts) - {shift.neutral}))

    def model_post_init(self, _context: object) -> None:
        if not self.chosen():
            raise ValueError(f"no amount of any shift is left to try ({', '.join(SHIFTS)})")

    def chosen(self) -> dict[str, tuple[float, ...]]:
        """Shifts that are tried, each with its amounts, the neutral one among them, in order."""
        asked = {name: getattr(self, name) for name in SHIFTS}
        return {
            name: tuple(sorted({*amounts, SHIFTS[name].neutral}))
            for name, amounts in asked.items()
            if amounts
        }
