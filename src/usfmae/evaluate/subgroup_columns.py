"""Columns by which the images of a task are parted: what its tables say, and how large an outline is.

A card names the columns that are worth a look; of a set whose card names none, such as a user's own, every
column with few different values is taken. Nothing here knows a set by name.
"""

import csv
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from usfmae.base.errors import DatasetError, FolderError, ImageError
from usfmae.base.files import write_text
from usfmae.datasets.record import Item
from usfmae.datasets.splits import Split
from usfmae.datasets.task_facts import TaskFacts
from usfmae.evaluate.table_columns import MISSING
from usfmae.images.read import read_frame

COLUMNS_FILE = "columns.csv"
"""In a result's folder: path and the value of each column, for every test image."""

SIZE = "outlined size"
"""The column that label maps give."""

NOTHING_OUTLINED = "nothing outlined"

THIRDS = ("1st third in training", "2nd third in training", "3rd third in training")
"""Parts whose bounds each split has for itself, in the order in which they are shown."""

MAX_VALUES = 12
"""A column with more different values is no division of the images: an age, a name."""

Columns = dict[str, tuple[str | None, ...]]
"""By column, the value for each image; None where nothing is known."""


def table_columns(items: Sequence[Item], facts: TaskFacts | None) -> Columns:
    """The columns of the set's tables by which its images are parted.

    Args:
        items: all images of the task.
        facts: what the card says; None, or no columns, for every one that has 2 to `MAX_VALUES` values.
    """
    wanted = (
        facts.subgroups if facts is not None else tuple(dict.fromkeys(k for i in items for k in i.extras))
    )
    found: Columns = {}
    for name in wanted:
        words = [item.extras.get(name, "").strip() for item in items]
        values = tuple(None if word.casefold() in MISSING else word for word in words)
        num_values = len(set(values) - {None})
        if num_values > 1 and (facts is not None or num_values <= MAX_VALUES):
            found[name] = values
    return found


def outlined_shares(items: Sequence[Item], *, workers: int | None = None) -> Float64[np.ndarray, " n"]:
    """The share of each picture that its label maps mark, whatever they mark.

    A share, since most publishers do not say how many millimetres a pixel is: a lesion scanned closer looks
    larger.

    Args:
        items: images with label maps or without.
        workers: reading threads; None for one per core, at most 8.

    Returns:
        One ratio per image; NaN where there is no label map for this picture, or none that can be read.
    """
    shares = np.full(len(items), np.nan)

    def read(index: int) -> None:
        item = items[index]
        masks = [mask for mask in item.masks if item.media == "image" or mask.frame == item.frame]
        if not masks:
            return
        try:
            frame = read_frame(item.path, item.frame or 0, key=item.array)
            marked = np.zeros((frame.height, frame.width), dtype=bool)
            for mask in masks:
                marked |= mask.read(marked.shape) > 0
            shares[index] = marked.mean()
        except (ImageError, DatasetError, ValueError):  # a picture that is read in vain is told elsewhere
            return

    with_maps = [index for index, item in enumerate(items) if item.masks]
    with ThreadPoolExecutor(workers or min(8, len(os.sched_getaffinity(0)))) as pool:
        list(pool.map(read, with_maps))
    return shares


def size_parts(
    shares: Float64[np.ndarray, " n"], splits: Sequence[Split], facts: TaskFacts | None
) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    """Each picture's part by the share that is outlined, with bounds that it has no part in.

    Bounds are the card's, or the thirds of the training images of the split in which a picture is tested.
    Those of several splits differ, so their parts are named by number and a note has the bounds: the training
    sides of all splits together hold every test image.

    Args:
        shares: ratios of all images; NaN where unknown.
        splits: each picture tested at most once; training sides before any labels are left out.
        facts: what the card says.

    Returns:
        A value per image for `score_subgroups` (None too where bounds differ and it is tested nowhere), and
        notes for the result.
    """
    if (facts is not None and facts.size_cuts is not None) or len(splits) == 1:
        return in_parts(shares, size_cuts(shares[splits[0].train], facts)), ()
    parts: list[str | None] = [None] * len(shares)
    said = []
    for split in splits:
        cuts = _thirds(shares[split.train])
        for index in split.test.tolist():
            if shares[index] > 0 and cuts:
                parts[index] = THIRDS[int(np.searchsorted(cuts, shares[index], side="left"))]
            elif shares[index] == 0:
                parts[index] = NOTHING_OUTLINED
        if cuts:
            said.append(f"{' and '.join(f'{100 * cut:.3g}' for cut in cuts)} % in {split.name}")
    note = (
        f"{SIZE}: thirds of the training images of the split that tests an image, by outlined share of the "
        f"picture; they end at {', '.join(said)}"
    )
    return tuple(parts), (note,)


def size_cuts(shares: Float64[np.ndarray, " n"], facts: TaskFacts | None) -> tuple[float, ...]:
    """Bounds between small, middle and large: the card's, or the thirds of these images.

    Args:
        shares: of training images only, so that no test image decides how test images are parted.
        facts: what the card says.
    """
    if facts is not None and facts.size_cuts is not None:
        return facts.size_cuts
    return tuple(sorted(set(_thirds(shares))))


def _thirds(shares: Float64[np.ndarray, " n"]) -> tuple[float, ...]:
    """Where the first and the second third of the outlined pictures end; nothing where none is outlined."""
    known = shares[shares > 0]  # NaN is not
    if not len(known):
        return ()
    return tuple(np.quantile(known, [1 / 3, 2 / 3], method="inverted_cdf").tolist())


def in_parts(shares: Float64[np.ndarray, " n"], cuts: Sequence[float]) -> tuple[str | None, ...]:
    """Each picture's part by the share that is outlined, as a value for `score_subgroups`.

    Args:
        shares: ratios; NaN where unknown.
        cuts: ascending; a share that equals one is below it.

    Returns:
        `0 to 4 % of the picture`, `4 to 10 % ...`, `10 to 100 % ...`, `NOTHING_OUTLINED`, or None.
    """
    ends = ["0", *(f"{100 * cut:.3g}" for cut in cuts), "100"]
    names = [f"{low} to {high} % of the picture" for low, high in pairwise(ends)]
    places = np.searchsorted(np.asarray(cuts, dtype=np.float64), shares, side="left")
    return tuple(
        None if np.isnan(share) else names[place] if share > 0 else NOTHING_OUTLINED
        for share, place in zip(shares.tolist(), places.tolist(), strict=True)
    )


def write_columns(path: Path, names: Sequence[str], columns: Columns) -> None:
    """Write the values of some images, one row each; an unknown value is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *columns])
    for index, name in enumerate(names):
        writer.writerow([name, *(values[index] or "" for values in columns.values())])
    write_text(path, text.getvalue())


def read_columns(path: Path, names: Sequence[str]) -> Columns:
    """What `write_columns` wrote, in the order of `names`; empty where there is no such file.

    Raises:
        FolderError: it is no such table, or it is of other images.
    """
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    by_name = {row[0]: row for row in rows if len(row) == len(header)}
    missing = [name for name in names if name not in by_name]
    if header[:1] != ["path"] or missing:
        raise FolderError(
            f"{path}: says nothing of {len(missing)} of {len(names)} test images "
            f"(first: {missing[0] if missing else names[0]})",
            hint="evaluate again with --overwrite",
        )
    return {
        column: tuple(by_name[name][place] or None for name in names)
        for place, column in enumerate(header[1:], start=1)
    }
