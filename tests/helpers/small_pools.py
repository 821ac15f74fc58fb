"""Folders of blurred noise, and pools made of them."""

from pathlib import Path

import cv2
import numpy as np

from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.sources import Source


def draw_scans(folder: Path, *, count: int, side: int, seed: int) -> None:
    """Square pictures that all differ."""
    folder.mkdir()
    noise = np.random.default_rng(seed)
    for k in range(count):
        picture = cv2.GaussianBlur(noise.integers(0, 256, (side, side), dtype=np.uint8), (5, 5), 2)
        cv2.imwrite(str(folder / f"{k}.png"), picture)


def build_pool(images: Path, out: Path, *, size_px: int = 32, **settings: str) -> Path:
    """A corpus of one folder."""
    build_corpus([Source("scans", images)], out=out, config=BuildConfig(size_px=size_px, **settings))
    return out
