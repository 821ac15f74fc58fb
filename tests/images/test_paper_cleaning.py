"""The paper's cleaning: boxes of OCR, colours by k-means, small bright contours."""

import cv2
import numpy as np
import pytest

from usfmae.images import paper_cleaning
from usfmae.images.clean import CleanConfig, clean_frame
from usfmae.images.frame import Frame, FrameSource
from usfmae.images.paper_cleaning import colour_mask, contour_mask, paper_mask, text_mask


@pytest.fixture
def grey() -> np.ndarray:
    noise = np.random.default_rng(0).normal(70, 8, (120, 160))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5), 0, 255).astype(np.uint8)


@pytest.fixture
def box_reader(monkeypatch):
    corners = np.array([[20, 30], [59, 30], [59, 41], [20, 41]], np.float32)
    monkeypatch.setattr(paper_cleaning, "text_polygons", lambda pixels: [corners])


def test_the_whole_box_of_a_text_is_masked(grey, box_reader):
    # Rows 30..41 and columns 20..59: 12 x 40 pixels.
    assert text_mask(grey).sum() == 480


def test_coloured_lines_are_a_cluster_of_their_own(grey):
    drawn = np.repeat(grey[..., None], 3, 2)
    cv2.line(drawn, (10, 10), (120, 80), (255, 255, 0), 2)
    line = np.ptp(drawn, axis=2) > 100
    found = colour_mask(drawn)
    assert found[line].mean() > 0.95
    assert found[~line].mean() < 0.01


def test_grey_frames_have_no_colour(grey):
    assert not colour_mask(grey).any()
    assert not colour_mask(np.repeat(grey[..., None], 3, 2)).any()


def test_a_small_bright_cross_is_a_contour_and_a_large_disc_is_not(grey):
    cv2.drawMarker(grey, (40, 40), 255, cv2.MARKER_CROSS, 7, 3)
    cv2.circle(grey, (110, 70), 25, 255, -1)
    found = contour_mask(grey)
    assert found[40, 40]
    assert not found[70, 110]


def test_equal_frames_have_equal_masks(grey, box_reader):
    drawn = np.repeat(grey[..., None], 3, 2)
    drawn[50:60, 50:90] = (0, 200, 40)
    np.testing.assert_array_equal(paper_mask(drawn), paper_mask(drawn))


def test_mode_paper_fills_the_box(grey, box_reader):
    grey[33:38, 25:50] = 255
    cleaned = clean_frame(
        Frame(grey, None, FrameSource("fake.png", 0, 1)), config=CleanConfig(mode="paper", max_filled_ratio=1)
    )
    assert cleaned.mask[29:43, 25:50].all()  # the box and one pixel around it
    assert cleaned.frame.pixels[33:38, 25:50].max() < 120


def test_the_text_reader_finds_a_word():
    pytest.importorskip("rapidocr_onnxruntime")
    pixels = np.full((120, 300), 40, np.uint8)
    cv2.putText(pixels, "LIVER", (60, 70), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 255, 2, cv2.LINE_AA)
    word = pixels > 128
    assert text_mask(pixels)[word].mean() > 0.9
