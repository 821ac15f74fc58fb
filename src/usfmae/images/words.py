"""Reading the text of marks, to tell a name from a word like "LIVER".

The reader is rapidocr (extra `clean`); it takes half a second per frame, so it is only asked about boxes that
`marks` found. What is not plainly a word of the trade may identify a person.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np

from usfmae.base.errors import MissingExtraError
from usfmae.images.frame import Colour, Grey
from usfmae.images.marks import MarkBox

_HARMLESS = """
a abd abdo abdomen ad age ant anterior aorta ap arm aua axilla bd bladder body bpd breast calf ccac cca
cm cm/s comp cy cyst d db depth dia dir direita dist e eca esq esquerda fh fl fps fr frq gain
gallbladder ge gn gs h hc heart hz ica inf int kidney l lat left leg lesion lig liver lk lo loq lov lt
luq m mama map mass med mhz mi mm nipple node obl ov ovary p pancreas per philips pos post pwr qie qii
qse qsi quadrant r rad retro retroareolar right rk rov rt ruq s sag samsung siemens spleen sup t testis
thyroid ti tib tic tis toshiba trans transverse trv ul uoq uq uqext uqinf uqint uqsup ut uterus vein vol
volume w wf
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Lower-case words that say where the transducer was, what was measured, or who built the scanner."""

MEASURE = re.compile(r"[+x:]?\d{1,3}([.,]\d{1,2})?(mm|cm|cm/s|hz|khz|mhz|db|fps|s|ms|%|h|d|w|x)?")
"""A number of at most three digits before its point; longer ones may be dates or numbers of patients."""


def is_harmless(text: str) -> bool:
    """Whether every word of a text is in `HARMLESS`, a short number with or without a unit, or one letter."""
    words = [word for word in re.split(r"[\s\-_,;:=()|/]+", text.lower()) if word]
    return all(
        len(word) == 1 or word.strip(".") in HARMLESS or MEASURE.fullmatch(word) is not None for word in words
    ) and not re.search(r"\d[-/.:]\d{1,2}[-/.:]\d", text)


def may_identify(pixels: Grey | Colour, boxes: Sequence[MarkBox], *, read_words: bool) -> bool:
    """Whether text of a frame may say who the patient is.

    Args:
        pixels: the frame.
        boxes: its marks; only those of kind "text" matter.
        read_words: read them; otherwise any text may.

    Raises:
        MissingExtraError: `read_words`, and rapidocr is not installed.
    """
    texts = [box for box in boxes if box.kind == "text"]
    if not texts or not read_words:
        return bool(texts)
    return not all(is_harmless(read_text(pixels, box)) for box in texts)


def read_text(pixels: Grey | Colour, box: MarkBox) -> str:
    """What one line of text says; "?" where the reader makes nothing of it, so that it counts as unknown.

    Raises:
        MissingExtraError: rapidocr is not installed.
    """
    margin = 3
    top, left = max(0, box.top - margin), max(0, box.left - margin)
    crop = pixels[top : box.top + box.height + margin, left : box.left + box.width + margin]
    enlarged = cv2.resize(_as_colour(crop), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    found, _ = reader()(enlarged, use_det=False, use_cls=False, use_rec=True)
    text = " ".join(str(line[0]) for line in found or [])
    return text if text.strip() else "?!?"


def text_polygons(pixels: Grey | Colour) -> list[np.ndarray]:
    """Corners (across, down) of every text that the reader finds in a whole frame.

    Raises:
        MissingExtraError: rapidocr is not installed.
    """
    found, _ = reader()(_as_colour(pixels), use_det=True, use_cls=False, use_rec=True)
    return [np.asarray(line[0], np.float32) for line in found or []]


@cache
def reader() -> Any:
    """The text reader, loaded once.

    Raises:
        MissingExtraError: rapidocr is not installed.
    """
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise MissingExtraError(
            "reading text in pictures needs rapidocr-onnxruntime, which is not installed",
            hint="pip install 'usfmae[clean]' && pip install --no-deps rapidocr-onnxruntime",
        ) from error
    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def _as_colour(pixels: Grey | Colour) -> np.ndarray:
    """Blue-green-red, as the reader takes it."""
    code = cv2.COLOR_GRAY2BGR if pixels.ndim == 2 else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code))
