"""What was chosen on validation images must not be judged on them.

A threshold or temperature carries the names of the images that it was chosen on and refuses to be applied to
any of them: a threshold that was tuned on test images is told by its own error, not by a reader's suspicion.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from usfmae.base.errors import LeakError


@dataclass(frozen=True)
class ValidationImages:
    """The images that something was chosen on."""

    names: frozenset[str]
    """As in the column `path` of `predictions.csv`."""

    @staticmethod
    def of(names: Sequence[str], *, count: int) -> "ValidationImages":
        """From a list of names.

        Raises:
            ValueError: not `count` names, or a name twice.
        """
        unique = frozenset(names)
        if len(names) != count or len(unique) != count:
            raise ValueError(f"{count} images need as many different names, got {len(unique)}")
        return ValidationImages(unique)

    @property
    def sha256(self) -> str:
        """Fingerprint of the names, whatever their order."""
        return hashlib.sha256("\n".join(sorted(self.names)).encode()).hexdigest()

    def refuse(self, names: Sequence[str], *, what: str) -> None:
        """Stop where an image is among those that `what` was chosen on.

        Args:
            names: images that it is to be applied to.
            what: for the message, such as `threshold 0.31`.

        Raises:
            LeakError: with the count and the first one.
        """
        reused = sorted(self.names.intersection(names))
        if reused:
            raise LeakError(
                f"{what} was chosen on {len(reused):,} of these {len(names):,} images (first: {reused[0]})",
                hint="choose it on the validation images alone and test on others",
            )

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"num_images": len(self.names), "sha256": self.sha256}
