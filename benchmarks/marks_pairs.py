"""Real frames before and after cleaning, as a contact sheet, since planted marks are not everything.

Frames of the evaluation side of `marks_data.py`, drawn by a seed. With --redistributable only of sources
whose licence lets us show them (fetal-head is HC18, and MMOTU-2D; both CC BY 4.0).

Run:  USFMAE_DATA=... python benchmarks/marks_pairs.py --out pairs.jpg [--redistributable] [--seed 0]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from marks_data import SOURCES, frames_of
from usfmae.base.files import write_bytes
from usfmae.images.clean import CleanConfig, clean_frame
from usfmae.images.read import read_frame

NUM = {"bus-bra": 14, "mmotu-2d": 16, "busi": 8, "fetal-head": 3, "liver": 2, "brachial-plexus": 3}
NUM |= {"muscle": 1, "muscle-lower-limb": 2, "carotid": 1}
OPEN_NUM = {"mmotu-2d": 10, "fetal-head": 2}
CELL_PX = 200


def tile(pixels: np.ndarray) -> np.ndarray:
    """The picture in a square cell, in colour."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, 2)
    scale = CELL_PX / max(pixels.shape[:2])
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:CELL_PX, :CELL_PX]
    cell = np.full((CELL_PX + 4, CELL_PX + 4, 3), 25, np.uint8)
    cell[: pixels.shape[0], : pixels.shape[1]] = pixels
    return cell


def main() -> None:
    """Draw and store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--redistributable", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", type=int, default=5)
    chosen = parser.parse_args()
    pairs = []
    for source, num in (OPEN_NUM if chosen.redistributable else NUM).items():
        paths = list(frames_of(source, evaluation=True))
        np.random.default_rng([chosen.seed, list(SOURCES).index(source)]).shuffle(paths)
        for path in paths[:num]:
            frame = read_frame(path)
            cleaned = clean_frame(frame, config=CleanConfig())
            after = tile(cleaned.frame.pixels)
            if cleaned.flags:
                cv2.rectangle(after, (0, 0), (CELL_PX - 1, CELL_PX - 1), (255, 0, 0), 1)
            print(len(pairs), source, path.name, f"{100 * cleaned.mask.mean():.1f} %", *cleaned.flags)
            pairs.append(np.hstack([tile(frame.pixels), after]))
    while len(pairs) % chosen.columns:
        pairs.append(np.zeros_like(pairs[0]))
    rows = [np.hstack(pairs[i : i + chosen.columns]) for i in range(0, len(pairs), chosen.columns)]
    sheet = np.ascontiguousarray(np.vstack(rows)[..., ::-1])
    write_bytes(chosen.out, cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())


if __name__ == "__main__":
    main()
