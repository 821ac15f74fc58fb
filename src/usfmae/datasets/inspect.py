"""A close look at a copy of a dataset: does every file open, and does every label map fit its image?"""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from usfmae.base.errors import DatasetError, ImageError
from usfmae.base.logs import progress_bar
from usfmae.datasets.record import Item
from usfmae.images.read import read_frame


@dataclass(frozen=True)
class Inspection:
    """What was found in the files themselves."""

    num_files: int

    unreadable: tuple[str, ...]
    """One message per image, clip or volume that does not open."""

    misfits: tuple[str, ...]
    """One message per label map that is damaged, of another size, or holds values that mean nothing."""

    structures: dict[str, int]
    """How many files have at least one pixel of each structure."""

    empty: tuple[str, ...]
    """Files whose label maps mark nothing: a normal scan, or a forgotten annotation."""


def inspect(items: Sequence[Item]) -> Inspection:
    """Open the first frame of each file and all of its label maps, in several threads with a progress bar.

    Args:
        items: of a labelled set.
    """
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        progress_bar("check", total=len(items)) as bar,
    ):
        found = []
        for result in pool.map(_look, items):
            found.append(result)
            bar.advance()
    structures: Counter[str] = Counter()
    for look in found:
        structures.update(look.structures)
    return Inspection(
        num_files=len(items),
        unreadable=tuple(look.unreadable for look in found if look.unreadable is not None),
        misfits=tuple(message for look in found for message in look.misfits),
        structures=dict(structures),
        empty=tuple(
            item.name
            for item, look in zip(items, found, strict=True)
            if item.masks and not look.structures and not look.misfits and look.unreadable is None
        ),
    )


@dataclass(frozen=True)
class _Look:
    unreadable: str | None
    misfits: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()


def _look(item: Item) -> _Look:
    try:
        frame = read_frame(item.path, item.frame or 0, key=item.array)
    except ImageError as error:
        return _Look(error.message)
    misfits, structures = [], set()
    for label_map in item.masks:
        try:
            labels = label_map.read((frame.height, frame.width))
        except (ImageError, DatasetError) as error:
            misfits.append(error.message)
            continue
        names = label_map.meaning.structures
        structures |= {names[number - 1] for number in np.unique(labels).tolist() if number}
    return _Look(None, tuple(misfits), tuple(sorted(structures)))
