"""Words of the trade, and words that may name a person."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usfmae.base.errors import MissingExtraError
from usfmae.images import words
from usfmae.images.marks import MarkBox
from usfmae.images.words import is_harmless, may_identify, read_text, reader

PIXELS = np.zeros((40, 60), np.uint8)
TEXT = MarkBox("text", 5, 5, 10, 30)


@pytest.mark.parametrize(
    "text", ["MAMA ESQ. QSE", "RT BREAST 10H", "1: 8.44cm", "D 26.0mm", "12 Hz", "GE", "+ 12.9mm"]
)
def test_places_measures_and_makers_name_nobody(text):
    assert is_harmless(text)


@pytest.mark.parametrize(
    "text",
    [
        "SMITH^JANE",
        "LT SMITH",
        "12.04.2019",
        "2019-04-12",
        "1-2-19",
        "10:22:31",
        "004711",
        "?!?",
        "Garcia, M.",
    ],
)
def test_names_dates_and_numbers_may(text):
    assert not is_harmless(text)


@given(st.text(alphabet="bcdfghjkmnpqrstvwxz", min_size=5, max_size=12))
def test_a_word_that_is_not_in_the_list_may(word):
    assert is_harmless(word) == (word in words.HARMLESS)


def test_without_reading_any_text_may_identify():
    assert may_identify(PIXELS, [TEXT], read_words=False)
    assert not may_identify(PIXELS, [MarkBox("caliper", 5, 5, 9, 9)], read_words=False)
    assert not may_identify(PIXELS, [], read_words=True)


def test_with_reading_one_unknown_word_is_enough(monkeypatch):
    answers = {5: "LIVER", 20: "LIVER"}
    monkeypatch.setattr(words, "read_text", lambda pixels, box: answers[box.top])
    boxes = [TEXT, MarkBox("text", 20, 5, 10, 30)]
    assert not may_identify(PIXELS, boxes, read_words=True)
    answers[20] = "MILLER"
    assert may_identify(PIXELS, boxes, read_words=True)


def test_only_text_is_read(monkeypatch):
    def fails(pixels, box):
        raise AssertionError(box)

    monkeypatch.setattr(words, "read_text", fails)
    assert not may_identify(PIXELS, [MarkBox("line", 0, 0, 9, 9)], read_words=True)


def test_what_the_reader_cannot_read_counts_as_unknown(monkeypatch):
    monkeypatch.setattr(words, "reader", lambda: lambda *_args, **_kwargs: (None, None))
    assert not is_harmless(read_text(PIXELS, TEXT))


def test_a_missing_reader_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    reader.cache_clear()
    with pytest.raises(MissingExtraError, match="rapidocr-onnxruntime") as caught:
        may_identify(PIXELS, [TEXT], read_words=True)
    assert "usfmae[clean]" in caught.value.hint
