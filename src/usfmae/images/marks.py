"""Burned-in marks: text, calipers, measurement lines, logos and other things that are no echo.

The network of `mark_network` proposes pixels; what is plainly colour or power Doppler is taken back, because
flow is signal, but red or blue ink is told from flow by its one hue. In clips, bright pixels that stay while
their surroundings change are marks too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8

from usfmae.images.fill import grown
from usfmae.images.flow import certain_flow, coloured_ink, flow_pixels
from usfmae.images.frame import Colour, Grey
from usfmae.images.mark_network import mark_logits

MarkKind = Literal["text", "caliper", "line", "logo", "other"]
MARK_KINDS: tuple[MarkKind, ...] = ("text", "caliper", "line", "logo", "other")

SURE_LOGIT = 8.0
"""Added where colour alone says that a pixel is ink."""

FLOW_DOUBT, FLOW_RIM_PX = 4.0, 2
"""Taken off where a pixel has a colour of flow but lies in an area of one hue, as ink does, and so near to
flow."""

LONGEST_PX = 416
"""Larger frames are shrunk to this for the search; the network was fitted on frames of 160 to 500 pixels."""

CORE_LOGIT, RIM_LOGIT = -0.5, -1.5
"""A mark has a pixel above the first, and reaches as far as its pixels are above the second."""

CERTAIN_LOGIT = 0.5
"""Above, a pixel is filled whatever that changes; see `clean.CleanConfig.least_change`."""

LETTER_LOGIT, LETTER_GAIN, LETTER_REACH_PX = 2.0, 1.5, (2, 10)
"""Letters stand in lines: pixels so near (rows, columns) to plain letters, those above the first, gain the
second."""


@dataclass(frozen=True)
class MarkBox:
    """One mark, or one line of text."""

    kind: MarkKind
    """What it is."""

    top: int
    """First row, in pixels."""

    left: int
    """First column, in pixels."""

    height: int
    """Rows."""

    width: int
    """Columns."""


@dataclass(frozen=True)
class Marks:
    """Which pixels of a frame are marks."""

    text: Bool[np.ndarray, "height width"]
    """Letters and digits."""

    caliper: Bool[np.ndarray, "height width"]
    """Ends of measurements: +, x and dotted crosses."""

    line: Bool[np.ndarray, "height width"]
    """Measurement lines, ellipses and boxes, solid or dotted."""

    logo: Bool[np.ndarray, "height width"]
    """Badges of makers."""

    other: Bool[np.ndarray, "height width"]
    """Scales, grey bars, body marks, arrows, and what only its stillness in a clip gave away."""

    certain: Bool[np.ndarray, "height width"]
    """Marked pixels that are no doubtful rim."""

    flow: Bool[np.ndarray, "height width"]
    """Colour and power Doppler: no mark, and not to be filled."""

    boxes: tuple[MarkBox, ...]
    """One per mark, from top to bottom."""

    @property
    def all(self) -> Bool[np.ndarray, "height width"]:
        """Every marked pixel."""
        return np.asarray(self.text | self.caliper | self.line | self.logo | self.other)


def find_marks(
    pixels: Grey | Colour,
    *,
    sector: Bool[np.ndarray, "_ _"] | None = None,
    static: Bool[np.ndarray, "_ _"] | None = None,
) -> Marks:
    """Find what was burned into a frame, inside and outside the sector.

    Args:
        pixels: the frame as stored.
        sector: where the echo is; colour counts as flow only there. None for the whole frame.
        static: pixels that `static_marks` found in the clip of this frame; None for a still.

    Raises:
        ValueError: a mask is not of the frame's size.
    """
    height, width = pixels.shape[:2]
    for name, mask in (("sector", sector), ("static", static)):
        if mask is not None and mask.shape != (height, width):
            raise ValueError(f"{name} must be {height} x {width} like the frame, not {mask.shape}")
    shrink = min(1.0, LONGEST_PX / max(height, width))
    seen = pixels
    if shrink < 1:
        small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        seen = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA))
    logits, kinds = mark_logits(seen)
    logits[_beside_letters(logits, kinds)] += LETTER_GAIN
    flow = np.zeros(seen.shape[:2], bool)
    if pixels.ndim == 3:
        flow = flow_pixels(seen)
        if sector is not None:
            flow &= _resized(sector, flow.shape)
        certain = certain_flow(seen, flow)
        flow |= certain
        logits[coloured_ink(seen, flow)] += SURE_LOGIT
        logits[flow | grown(certain, FLOW_RIM_PX)] -= FLOW_DOUBT
        logits[certain] = -np.inf
    labels, num = _connected(logits)
    by_kind = _kinds_of(labels, num, kinds)
    masks = [_resized(by_kind == index + 1, (height, width)) for index in range(len(MARK_KINDS))]
    if static is not None:
        masks[-1] |= static & ~np.logical_or.reduce(masks[:-1])
    marked = np.logical_or.reduce(masks)
    no_rim = _resized(logits > CERTAIN_LOGIT, (height, width)) & marked
    flow = _resized(flow, (height, width)) & ~marked
    text, caliper, line, logo, other = masks
    return Marks(text, caliper, line, logo, other, no_rim, flow, _boxes(masks))


def static_marks(
    frames: Sequence[Grey | Colour], *, least_bright: int = 90, most_change: int = 12
) -> Bool[np.ndarray, "height width"]:
    """Bright pixels of a clip that stay as they are while the pixels around them change.

    Args:
        frames: of one clip, equal in size; a dozen spread over it are enough.
        least_bright: grey level that a mark has in every frame, 0..255.
        most_change: grey levels between its darkest and brightest moment; codecs flicker by about 10.

    Returns:
        The marks; none where nothing moves, as in a frozen clip.

    Raises:
        ValueError: fewer than two frames, or frames of different sizes.
    """
    if len(frames) < 2 or len({frame.shape for frame in frames}) != 1:
        raise ValueError(
            f"needs at least two frames of one size, not {len(frames)} of {[f.shape for f in frames]}"
        )
    greys = [frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    low, high = greys[0].copy(), greys[0].copy()
    for grey in greys[1:]:
        np.minimum(low, grey, out=low)
        np.maximum(high, grey, out=high)
    change = high - low
    still = (change <= most_change) & (low >= least_bright)
    around = cv2.boxFilter(change, cv2.CV_32F, (25, 25))
    share = cv2.boxFilter((change > most_change).astype(np.float32), cv2.CV_32F, (25, 25))
    return np.asarray(still & (around > 1.5 * most_change) & (share > 0.5))


def _beside_letters(
    logits: Float[np.ndarray, "height width"], kinds: Float[np.ndarray, "5 half_height half_width"]
) -> Bool[np.ndarray, "height width"]:
    rows, columns = np.nonzero(logits > LETTER_LOGIT)
    letters = np.zeros(logits.shape, np.uint8)
    letters[rows, columns] = kinds[:, rows // 2, columns // 2].argmax(axis=0) == MARK_KINDS.index("text")
    down, across = LETTER_REACH_PX
    return np.asarray(cv2.dilate(letters, np.ones((2 * down + 1, 2 * across + 1), np.uint8)) > 0)


def _connected(
    logits: Float[np.ndarray, "height width"],
) -> tuple[Int32[np.ndarray, "height width"], int]:
    """Labels of areas above `RIM_LOGIT` that hold a pixel above `CORE_LOGIT`, and one more than the last."""
    low = (logits > RIM_LOGIT).astype(np.uint8)
    num, labels = cv2.connectedComponents(low, connectivity=8)
    keep = np.zeros(num, bool)
    keep[labels[logits > CORE_LOGIT]] = True
    labels[~keep[labels]] = 0
    return labels, num


def _kinds_of(
    labels: Int32[np.ndarray, "height width"], num: int, kinds: Float[np.ndarray, "5 half_height half_width"]
) -> UInt8[np.ndarray, "height width"]:
    """1 + kind of each marked pixel: the one that its whole area looks most like."""
    rows, columns = np.nonzero(labels)
    of = labels[rows, columns]
    scores = kinds[:, rows // 2, columns // 2]
    scores = scores - scores.max(axis=0)
    sums = np.stack([np.bincount(of, score, minlength=num) for score in scores.astype(np.float64)])
    by_kind = np.zeros(labels.shape, np.uint8)
    by_kind[rows, columns] = 1 + sums.argmax(axis=0)[of]
    return by_kind


def _boxes(masks: Sequence[Bool[np.ndarray, "height width"]]) -> tuple[MarkBox, ...]:
    boxes = []
    for kind, mask in zip(MARK_KINDS, masks, strict=True):
        if not mask.any():
            continue
        # Letters of a word are apart by less than their height, dots of a line by less than 7 pixels.
        reach = np.ones((3, 11) if kind == "text" else (7, 7), np.uint8)
        joined = cv2.dilate(mask.astype(np.uint8), reach)
        _, labels = cv2.connectedComponents(joined, connectivity=8)
        rows, columns = np.nonzero(mask)
        of = labels[rows, columns]
        order = np.argsort(of, kind="stable")
        for part in np.split(order, np.nonzero(np.diff(of[order]))[0] + 1):
            top, left = int(rows[part].min()), int(columns[part].min())
            bottom, right = int(rows[part].max()), int(columns[part].max())
            boxes.append(MarkBox(kind, top, left, bottom - top + 1, right - left + 1))
    return tuple(sorted(boxes, key=lambda box: (box.top, box.left)))


def _resized(
    mask: Bool[np.ndarray, "rows columns"], shape: tuple[int, ...]
) -> Bool[np.ndarray, "height width"]:
    if mask.shape == shape:
        return mask
    if not mask.any():
        return np.zeros(shape, bool)
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR) > 100)
