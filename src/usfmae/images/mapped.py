"""Numbers that stay in their file: what is read of them is given back at once."""

from pathlib import Path
from typing import Any, Literal

import numpy as np


class Mapped:
    """A plain array in a file, cut as an array is: `numbers[place]`.

    The file is mapped anew for each cut. Pages of one long-lived map count as this process's memory until
    all of the file is in it (750 MB for 3,000 frames of 512 x 512); those of a cut go when the cut does.

    Args:
        path: the file.
        dtype: of its numbers.
        offset: place of the first, in bytes.
        shape: of the array.
        order: which axis is stored fastest: the last ("C") or the first ("F").

    Raises:
        ValueError: on cutting, if the file is too short.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], order: Literal["C", "F"]
    ) -> None:
        self._path, self._dtype, self._offset = path, dtype, offset
        self._shape, self._order = shape, order

    def __getitem__(self, place: tuple[Any, ...]) -> Any:
        whole: np.memmap[Any, Any] = np.memmap(
            self._path, self._dtype, "r", self._offset, self._shape, order=self._order
        )
        return whole[place]
