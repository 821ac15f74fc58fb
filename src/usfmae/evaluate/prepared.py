"""Labelled images read from their files and prepared as every network here sees them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from usfmae.base.errors import ImageError
from usfmae.base.input_spec import Crop, Fit
from usfmae.base.logs import progress_bar
from usfmae.datasets.record import Item
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frame


def read_images(
    items: Sequence[Item],
    *,
    size_px: int,
    fit: Fit = "pad",
    crop: Crop = "none",
    workers: int | None = None,
) -> tuple[UInt8[np.ndarray, "n s s"], dict[int, str]]:
    """Read and prepare one frame of each item, the first of a clip, in several threads with a progress bar.

    Args:
        items: images, clips or volumes.
        size_px: side of the prepared images.
        fit: how they are made square.
        crop: what of them is shown.
        workers: threads; decoding and resizing run outside of Python's lock.

    Returns:
        Prepared grey images, black where reading failed, and what was wrong by index.
    """
    images = np.zeros((len(items), size_px, size_px), dtype=np.uint8)
    problems: dict[int, str] = {}

    def read(index: int) -> None:
        try:
            item = items[index]
            frame = read_frame(item.path, item.frame or 0, key=item.array)
            images[index] = prepare(frame, size_px=size_px, fit=fit, crop=crop)
        except ImageError as error:
            problems[index] = error.message

    threads = workers or min(8, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool, progress_bar("read images", total=len(items)) as bar:
        for _ in pool.map(read, range(len(items))):
            bar.advance()
    return images, problems
