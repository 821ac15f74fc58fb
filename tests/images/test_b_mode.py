"""What is no B-mode is refused with the reason, and B-mode is not."""

import cv2
import numpy as np
import pytest
from screens import CONVEX, LINEAR, decorate, frame, on_screen, sector_of, text_screen

from usfmae.images.b_mode import why_no_b_mode
from usfmae.images.frame import FrameRegion
from usfmae.images.sector import find_sector
from usfmae.images.simulate.device import DEVICES
from usfmae.images.simulate.study import simulate_study


def reason(pixels, regions=()) -> str | None:
    picture = frame(pixels, regions)
    return why_no_b_mode(picture, find_sector(picture))


def spectrum(rng):
    """Columns of noise that stand on a line, as high as the pulse."""
    rows, time = np.arange(70)[:, None], np.arange(280)[None]
    height = 15 + 40 * np.exp(-(time % 70) / 20)
    return np.where(rows < height, rng.integers(60, 220, (70, 280)), 0)[::-1].astype(np.uint8)


@pytest.mark.parametrize("device", [LINEAR, CONVEX], ids=lambda device: device.name)
def test_b_mode_is_kept_with_and_without_decoration(device):
    screen, _, _ = on_screen(*sector_of(device))
    assert reason(screen) is None
    assert reason(decorate(screen)) is None
    assert reason(sector_of(device)[0]) is None


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_simulated_images_are_kept(device):
    picture = simulate_study(3, device=device, lesion=None, seed=1).frame
    assert why_no_b_mode(picture, find_sector(picture)) is None


@pytest.mark.parametrize("level", [0, 90, 255])
def test_blank_frames_are_named(level):
    assert reason(np.full((200, 300), level)) == "is blank or nearly uniform"
    noise = np.random.default_rng(0).integers(0, 4, (200, 300))
    assert reason(np.clip(noise + level, 0, 255)) == "is blank or nearly uniform"


def test_a_screen_of_text_is_refused():
    assert "only margin, text" in reason(text_screen())
    # Compression joins the lines of a larger one into something as thick as tissue.
    _, coded = cv2.imencode(".jpg", text_screen((480, 640)), [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert reason(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)) == "is a screen of text"


def test_a_printed_report_is_a_white_page():
    page = 255 - text_screen((400, 300))
    page[250:330, 50:150] = 120  # a small picture in it
    assert reason(page) == "is a white page (a report or a photograph of one)"


def test_a_spectrum_alone_is_refused():
    screen = np.zeros((240, 320), np.uint8)
    screen[120:190, 20:300] = spectrum(np.random.default_rng(1))
    screen[190, 20:300] = 200  # the base line
    assert reason(screen) == "is a Doppler spectrum or an M-mode strip without a 2-D image"


@pytest.mark.parametrize(
    ("spatial_format", "name"), [(2, "an M-mode strip"), (3, "a Doppler spectrum"), (4, "a wave form")]
)
def test_a_file_that_names_only_a_trace_is_believed(spatial_format, name):
    screen, box, _ = on_screen(*sector_of(LINEAR))
    trace = FrameRegion(box, spatial_format, data_type=3)
    assert reason(screen, (trace,)) == f"holds only {name}, says the file"
    beside = FrameRegion(box, spatial_format=1, data_type=1)
    assert reason(screen, (trace, beside)) is None
