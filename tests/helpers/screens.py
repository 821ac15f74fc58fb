"""Fake scanner screens: speckle in a sector of known place, with everything around it that scanners draw."""

import cv2
import numpy as np

from usfmae.images.frame import Frame, FrameSource
from usfmae.images.simulate.device import Device
from usfmae.images.simulate.scan import beam_grid, image_grid, scan_convert

LINEAR = Device(name="linear", imaging_depth_mm=40, footprint_mm=38, longest_px=160)
CONVEX = Device(
    name="convex", geometry="convex", radius_mm=40, footprint_mm=55, imaging_depth_mm=80, longest_px=180
)


def frame(pixels, regions=()) -> Frame:
    return Frame(np.ascontiguousarray(pixels, np.uint8), (0.2, 0.3), FrameSource("drawn", 0, 1), regions)


def sector_of(device: Device, seed: int = 0, *, floor: int = 25):
    """Speckle that gets darker with depth, and where it is."""
    rng = np.random.default_rng(seed)
    grid = beam_grid(device)
    samples, lines = grid.down_mm.shape
    beams = cv2.GaussianBlur(rng.rayleigh(1.0, (samples, lines)).astype(np.float32), (3, 3), 0)
    depth = np.linspace(0, 1, samples, dtype=np.float32)[:, None]
    grey = floor + 80 * (1 - depth) + 60 * (beams - 0.6)
    inside = image_grid(device).inside
    return np.where(inside, np.clip(scan_convert(grey, device), 1, 255), 0).astype(np.uint8), inside


def on_screen(picture, inside, *, size=(240, 320), place=(32, 70), ground=0):
    """The picture on a screen, the box of what is inside, and where it is."""
    screen, where = np.full(size, ground, np.uint8), np.zeros(size, bool)
    rows = slice(place[0], place[0] + picture.shape[0])
    columns = slice(place[1], place[1] + picture.shape[1])
    screen[rows, columns][inside] = picture[inside]
    where[rows, columns] = inside
    down, across = np.nonzero(where)
    box = (down.min(), across.min(), np.ptp(down) + 1, np.ptp(across) + 1)
    return screen, tuple(int(value) for value in box), where


def decorate(screen, *, ink=230):
    """A banner, a column of settings, a grey bar, a ruler and an ECG round the middle of a screen."""
    height, width = screen.shape
    cv2.putText(screen, "MUSTER^E 01.02.1950 ABDOMEN", (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, ink, 1)
    for row, words in enumerate(("C5-1", "Gn 60", "12cm")):
        cv2.putText(screen, words, (3, 40 + 14 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.3, ink, 1)
    screen[100:160, 8:14] = np.linspace(255, 0, 60).astype(np.uint8)[:, None]
    screen[40 : height - 20 : 10, width - 12 : width - 8] = ink
    time = np.arange(width - 40)
    beat = (height - 12 - 8 * (np.abs(time % 60 - 30) < 2) + np.sin(time / 9)).astype(int)
    screen[beat, time + 20] = ink
    return screen


def text_screen(size=(240, 320)):
    screen = np.zeros(size, np.uint8)
    for row in range(20, size[0] - 5, 16):
        cv2.putText(screen, "LVEDD 4.82 cm   LVESD 3.1 cm", (8, row), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 210, 1)
    return screen


def m_mode(rng, size=(100, 280), *, beat_px=60, swing_px=6.0):
    """One line of tissue over time: still at the top, moving with the heart below."""
    height, width = size
    line = cv2.GaussianBlur(rng.rayleigh(1.0, (height + 60, 1)).astype(np.float32), (1, 5), 0)[:, 0]
    line[rng.integers(5, height + 50, 5)] += 4  # walls
    line *= np.linspace(70, 25, height + 60)
    phase = (np.arange(width) / beat_px + rng.uniform()) % 1
    move = swing_px * np.exp(-(((phase - 0.4) / 0.15) ** 2))
    down = np.arange(height)[:, None]
    where = down + 20 + move * np.clip(down / height * 1.5, 0, 1)
    picture = np.interp(where.ravel(), np.arange(height + 60), line).reshape(size)
    return np.clip(picture * (rng.rayleigh(1.0, size) * 0.4 + 0.5), 1, 255).astype(np.uint8)


def doppler(rng, size=(70, 280), *, beat_px=70, ways="up"):
    """A spectrum above its base line ("up"), below it ("down"), or on both sides."""
    height, width = size
    phase = (np.arange(width) / beat_px + rng.uniform()) % 1
    envelope = 0.2 + 0.6 * np.exp(-phase * 4)
    down = np.arange(height)[:, None] / height
    filled = {
        "up": down > 1 - envelope,
        "down": down < envelope,
        "both": (down > 0.6 * (1 - envelope)) & (down < 0.6 + 0.2 * envelope),
    }[ways]
    return np.where(filled, rng.integers(60, 220, size), 0).astype(np.uint8)
