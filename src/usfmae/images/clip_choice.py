"""Which frames of a clip are worth keeping: those between which most has changed.

Frames at even steps of time are nearly the same where the transducer rests and far apart where it moves.
Here the way from the first frame to the last is measured in pixels that change, and cut into equal pieces.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import Float

from usfmae.images.frame import Frame
from usfmae.images.grey import to_grey

LOOKED_AT_PX = 32
"""Side of the small pictures that are compared: speckle averages out, movement does not."""

KEPT_PER_CHOSEN = 2
"""Frames held at most per frame that is to be chosen."""


def spread_by_change(frames: Iterable[Frame], max_frames: int) -> Iterator[Frame]:
    """At most `max_frames` of a clip, ordered as shown, with about as much change between any two.

    One pass; 2 * `max_frames` + 1 frames are held, however long the clip is. A frame is held when enough has
    changed since the last one held; when too many are held, every second one is dropped and "enough" becomes
    twice as much. At the end the held frames nearest to equal shares of all change are chosen. A clip in
    which nothing changes gives its first frame alone.

    Args:
        frames: in order, all of one clip.
        max_frames: at least 1.

    Raises:
        ValueError: `max_frames` is below 1.
        ImageError: from `frames`; what was chosen of the frames before it is yielded first.
    """
    if max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, not {max_frames}")
    held: list[tuple[float, Frame]] = []
    way, enough, last = 0.0, 0.0, None
    problem: Exception | None = None
    try:
        for frame in frames:
            small = _small(frame)
            way += 0.0 if last is None else float(np.abs(small - last).mean())
            last = small
            if held and (way <= held[-1][0] or way < held[-1][0] + enough):
                continue
            held.append((way, frame))
            if len(held) > KEPT_PER_CHOSEN * max_frames:
                held = held[::2]
                enough = max(2 * enough, way / (KEPT_PER_CHOSEN * max_frames))
    except Exception as error:  # the frames before it are good
        problem = error
    for index in _nearest([place for place, _ in held], max_frames):
        yield held[index][1]
    if problem is not None:
        raise problem


def _small(frame: Frame) -> Float[np.ndarray, "side side"]:
    side = (LOOKED_AT_PX, LOOKED_AT_PX)
    return np.asarray(cv2.resize(to_grey(frame.pixels), side, interpolation=cv2.INTER_AREA), dtype=np.float64)


def _nearest(places: list[float], count: int) -> list[int]:
    """Indices of `count` ascending places, each the nearest to the middle of an equal share; all if fewer."""
    if len(places) <= count:
        return list(range(len(places)))
    middles = places[0] + (np.arange(count) + 0.5) / count * (places[-1] - places[0])
    chosen: list[int] = []
    for number, middle in enumerate(middles.tolist()):
        first = chosen[-1] + 1 if chosen else 0
        free = np.asarray(places[first : len(places) - (count - 1 - number)])
        chosen.append(first + int(np.abs(free - middle).argmin()))
    return chosen
