"""Burned-in marks drawn on any frame, with the truth of which pixels they cover.

For measuring and for fitting the detector of `images.marks`: text, calipers, measurement lines, logos and
what else scanners draw (scales, body marks, arrows), in several sizes and colours, anti-aliased, and
recompressed if asked. `simulate.marks` draws the few marks of the simulated studies, this one many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from usfmae.images.frame import Colour, Grey
from usfmae.images.simulate.symbols import Alpha, caliper, line, logo, scale_or_body_mark

Kind = Literal["text", "caliper", "line", "logo", "other"]
KINDS: tuple[Kind, ...] = ("text", "caliper", "line", "logo", "other")
"""Order of the label map: 1 is text, 0 is no mark."""

GLYPH_ALPHA = 0.35
"""A pixel belongs to a mark when at least this much of it is ink."""

SEEN_CHANGE = 12
"""And when the ink changed it by so many grey levels: white on white cannot be found, nor need it."""

LEGIBLE = 40.0
"""Ink that differs from what it covers by fewer grey levels on average is white instead."""

FAINT = 0.05
"""Less ink than this is none."""

RINGING = 4
"""Grey levels by which compression spreads a mark to pixels beside it."""

WORDS = (
    *("MAMA", "DIR", "ESQ", "QSE", "LT", "RT", "BREAST", "SAG", "TRV", "AXILLA", "Volume", "cm", "mm", "Hz"),
    *(
        "GALLBLADDER",
        "Name:",
        "ID",
        "Dist",
        "Gn",
        "Frq",
        "MI",
        "TIs",
        "L-CY",
        "R-OV",
        "UT",
        "Liver",
        "D 8.44cm",
    ),
    *(
        "SMITH^JANE",
        "Garcia, M.",
        "F/43Y",
        "2019-04-12",
        "10:22:31",
        "12L-RS",
        "GE",
        "PHILIPS",
        "1:",
        "2",
        "+",
    ),
)
GREYS = ((255, 255, 255), (235, 235, 235), (205, 205, 205), (170, 170, 170))
COLOURS = (
    *((255, 255, 0), (230, 220, 60), (190, 180, 40), (0, 255, 0), (90, 220, 90), (0, 255, 255)),
    *((80, 160, 255), (40, 60, 220), (255, 160, 0), (255, 60, 60), (255, 0, 255)),
)


@dataclass(frozen=True)
class BurnedIn:
    """A frame with marks on it, and where they are."""

    pixels: Grey | Colour
    """The frame as a scanner would have saved it."""

    label_map: UInt8[np.ndarray, "height width"]
    """1 + index in `KINDS` where at least `GLYPH_ALPHA` of a pixel is ink that shows; else 0."""

    touched: Bool[np.ndarray, "height width"]
    """Every pixel that any ink reached, with halos and anti-aliasing, or that it changed by `RINGING` levels
    more in compression than it would have changed without the marks."""

    text_boxes: tuple[tuple[int, int, int, int], ...]
    """(top, left, height, width) in pixels of each line of text."""


def burn_in(
    pixels: Grey | Colour,
    *,
    rng: np.random.Generator,
    kinds: Sequence[Kind],
    allowed: Bool[np.ndarray, "height width"] | None = None,
    fonts: Sequence[int | str] = (cv2.FONT_HERSHEY_SIMPLEX,),
    jpeg_quality: int | None = None,
) -> BurnedIn:
    """Draw one mark of each of `kinds`, in order, where `allowed` has room; one without room is left out.

    Args:
        pixels: the frame; a grey one stays grey, so colours become their luma.
        rng: draws places, sizes, words, colours and softness.
        kinds: what to draw.
        allowed: where the whole bounding box of a mark may lie; None for everywhere. Marks do not overlap.
        fonts: OpenCV's Hershey fonts by number, others by the path of a TrueType file; "" is Pillow's own.
        jpeg_quality: compress the result, 1..100; None leaves it as drawn.
    """
    height, width = pixels.shape[:2]
    free = np.ones((height, width), bool) if allowed is None else allowed.copy()
    canvas = (
        pixels.astype(np.float32)
        if pixels.ndim == 3
        else np.repeat(pixels[..., None], 3, 2).astype(np.float32)
    )
    label_map, touched = np.zeros((height, width), np.uint8), np.zeros((height, width), bool)
    boxes = []
    for kind in kinds:
        alpha = _mark(kind, rng, fonts, size=min(height, width))
        place = _room(free, alpha.shape, rng)
        if place is None:
            continue
        top, left = place
        there = np.s_[top : top + alpha.shape[0], left : left + alpha.shape[1]]
        before = canvas[there].copy()
        touched[there] |= _paint(canvas[there], alpha, kind, rng, grey=pixels.ndim == 2)
        changed = np.abs(canvas[there] - before).max(axis=2) >= SEEN_CHANGE
        glyph = (alpha >= GLYPH_ALPHA) & changed
        label_map[there][glyph] = KINDS.index(kind) + 1
        free[there] = False
        if kind == "text":
            boxes.append((top, left, *alpha.shape))
    drawn = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    if pixels.ndim == 2:
        drawn = np.asarray(cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY))
    if jpeg_quality is not None:
        drawn, plain = _compressed(drawn, jpeg_quality), _compressed(pixels, jpeg_quality)
        change = cv2.absdiff(drawn, plain)
        touched |= (change if change.ndim == 2 else change.max(axis=2)) >= RINGING
    return BurnedIn(drawn, label_map, touched, tuple(boxes))


def _compressed(pixels: Grey | Colour, quality: int) -> Grey | Colour:
    """As JPEG gives it back."""
    stored = pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    coded = cv2.imencode(".jpg", np.ascontiguousarray(stored), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED))
    return decoded if decoded.ndim == 2 else np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _mark(kind: Kind, rng: np.random.Generator, fonts: Sequence[int | str], *, size: int) -> Alpha:
    if kind == "text":
        alpha = _text(rng, fonts[int(rng.integers(len(fonts)))])
    else:
        draw = {"caliper": caliper, "line": line, "logo": logo, "other": scale_or_body_mark}[kind]
        alpha = draw(rng, size)
    if rng.random() < 0.4:  # shrunk after it was burned in
        alpha = np.asarray(cv2.GaussianBlur(np.pad(alpha, 1), (0, 0), rng.uniform(0.3, 0.6)))
        alpha = np.minimum(alpha * 1.15, 1).astype(np.float32)
    alpha = np.where(alpha > FAINT, alpha, np.float32(0))
    rows, columns = np.nonzero(alpha)
    if not rows.size:
        return alpha
    return np.ascontiguousarray(alpha[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])


def _text(rng: np.random.Generator, font: int | str) -> Alpha:
    if rng.random() < 0.6:
        words = " ".join(rng.choice(WORDS, int(rng.integers(1, 3))))
    else:
        letters = list(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789012345678901234567890.:/-+"
        )
        words = "".join(rng.choice(letters, int(rng.integers(1, 12))))
    tall = float(np.exp(rng.uniform(np.log(7), np.log(22))))
    if isinstance(font, str):
        face = (
            ImageFont.truetype(font, round(tall * 1.3)) if font else ImageFont.load_default(round(tall * 1.3))
        )
        left, top, right, bottom = face.getbbox(words)
        sheet = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
        ImageDraw.Draw(sheet).text((2 - left, 2 - top), words, fill=255, font=face)
        return np.asarray(sheet, np.float32) / 255
    thick = 2 if tall > 13 and rng.random() < 0.5 else 1
    scale = tall / 22
    (across, up), below = cv2.getTextSize(words, font, scale, thick)
    sheet8 = np.zeros((up + below + 6, across + 6), np.uint8)
    style = cv2.LINE_AA if rng.random() < 0.7 else cv2.LINE_8
    cv2.putText(sheet8, words, (3, up + 3), font, scale, 255, thick, style)
    return sheet8.astype(np.float32) / 255


def _room(
    free: Bool[np.ndarray, "height width"], shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[int, int] | None:
    """A place where a box fits into `free`; None after 40 tries."""
    spare_rows, spare_columns = free.shape[0] - shape[0], free.shape[1] - shape[1]
    if spare_rows < 0 or spare_columns < 0:
        return None
    for _ in range(40):
        top, left = int(rng.integers(spare_rows + 1)), int(rng.integers(spare_columns + 1))
        if free[top : top + shape[0], left : left + shape[1]].all():
            return top, left
    return None


def _paint(
    canvas: Float[np.ndarray, "height width 3"],
    alpha: Alpha,
    kind: Kind,
    rng: np.random.Generator,
    *,
    grey: bool,
) -> Bool[np.ndarray, "height width"]:
    """Lay ink over `canvas` in place; returns where it went."""
    touched = alpha > 0
    if kind == "text" and rng.random() < 0.12:  # on a plate of its own
        canvas[:] = rng.uniform(0, 60)
        touched[:] = True
    elif rng.random() < 0.15:  # with a dark rim
        rim = np.asarray(cv2.dilate(alpha, np.ones((3, 3), np.uint8)))
        canvas *= (1 - rim)[..., None]
        touched |= rim > 0
    coloured = rng.random() < {"line": 0.8, "caliper": 0.55}.get(kind, 0.4)
    inks = COLOURS if coloured else GREYS
    ink = np.array(inks[int(rng.integers(len(inks)))], np.float32)
    if grey:
        ink[:] = ink @ np.array([0.299, 0.587, 0.114], np.float32)
    opacity = rng.uniform(0.75, 1) if rng.random() < 0.3 else 1.0
    glyph = alpha >= GLYPH_ALPHA
    under = canvas[glyph].mean(axis=0) if glyph.any() else ink - LEGIBLE
    if np.abs(ink - under).max() * opacity < LEGIBLE:
        ink, opacity = np.full(3, 255, np.float32), 1.0
    cover = (alpha * opacity)[..., None]
    canvas *= 1 - cover
    canvas += cover * ink
    return np.asarray(touched)
