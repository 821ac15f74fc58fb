"""Small pools that the tests draw themselves."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import Corpus
from usfmae.corpus.sources import Source

CONFIG = BuildConfig(size_px=32, files_per_part=5, min_side_px=16)


def picture(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    """A smooth random grey picture; another seed is another picture."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (6, 6)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height)), 0, 255).astype(np.uint8)


def draw(path: Path, seed: int, **size: int) -> Path:
    """Save `picture(seed)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, **size)).save(path)
    return path


@pytest.fixture
def config() -> BuildConfig:
    return CONFIG


@pytest.fixture
def scans(tmp_path) -> Path:
    """Twelve pictures in two folders: with five files per part, two full parts and a short one."""
    for k in range(12):
        draw(tmp_path / "scans" / ("a" if k < 7 else "b") / f"{k:02d}.png", k)
    return tmp_path / "scans"


@pytest.fixture
def corpus(scans, tmp_path) -> Corpus:
    """A corpus of `scans`."""
    return build_corpus([Source("scans", scans)], out=tmp_path / "corpus", config=CONFIG)


@pytest.fixture
def drawn():
    """The function that draws a picture."""
    return picture
