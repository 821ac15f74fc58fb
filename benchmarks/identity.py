"""Can a name that was burned into a frame still be read in what a corpus stores?

On real frames of the evaluation side of `marks_data.py`, eight of each source, three lines (a name, a number,
a date of birth) are written as scanners write them: one into the first rows, two anywhere. The frames pass
`corpus.curate` as frames of a DICOM file do by default. Then rapidocr reads each picture twice, as it is and
enlarged, before and after; a line counts as read when half of its letters come back in order.

Run:  USFMAE_DATA=... python benchmarks/identity.py [--frames 8]
"""

import argparse
import difflib
import json
from dataclasses import replace

import cv2
import numpy as np

from marks_data import SOURCES, frames_of
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.curate import Kept, curate
from usfmae.images.frame import Frame
from usfmae.images.read import read_frame
from usfmae.images.words import reader

LINES = ("ZAPFENSTEIN ERIKA", "Q7731904", "17.07.1953")
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)
INKS = ((255, 255, 255), (220, 220, 220), (255, 255, 0), (0, 255, 255))


def signed(frame: Frame, rng: np.random.Generator) -> Frame:
    """The frame with the three lines on it."""
    pixels = frame.pixels.copy()
    ink = INKS[int(rng.integers(len(INKS)))]
    font, scale = FONTS[int(rng.integers(len(FONTS)))], float(rng.uniform(0.38, 0.6))
    taken = []
    for index, line in enumerate(LINES):
        fitted = scale
        while (size := cv2.getTextSize(line, font, fitted, 1))[0][0] > frame.width - 8:
            fitted *= 0.9
        (across, up), below = size
        for _ in range(50):
            left = int(rng.integers(2, frame.width - across - 2))
            base = up + 3 if index == 0 else int(rng.integers(up + 3, frame.height - below - 2))
            box = (base - up - 2, base + below + 2)
            if all(box[1] <= top or box[0] >= bottom for top, bottom in taken):
                break
        taken.append(box)
        colour = ink if pixels.ndim == 3 else int(np.dot(ink, (0.299, 0.587, 0.114)))
        cv2.putText(pixels, line, (left, base), font, fitted, colour, 1, cv2.LINE_AA)
    return replace(frame, pixels=pixels, source=replace(frame.source, is_dicom=True))


def lines_read(pixels: np.ndarray) -> int:
    """How many of the three lines a text reader can still read."""
    shown = pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    words = []
    for zoom in (1, 2):
        found, _ = reader()(cv2.resize(shown, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC))
        words += [str(line[1]).upper().replace(" ", "") for line in found or []]
    return sum(any(_is_in(line.replace(" ", ""), word) for word in words) for line in LINES)


def _is_in(line: str, word: str) -> bool:
    blocks = difflib.SequenceMatcher(None, line, word, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) >= len(line) / 2


def main() -> None:
    """Plant, curate, read, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=8)
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(5)
    totals = {"frames": 0, "left_out": 0, "lines": 0, "read_before": 0, "read_after": 0, "read_in_plain": 0}
    print(f"{'source':20} frames left out  lines read before  after")
    for source in SOURCES:
        paths = list(frames_of(source, evaluation=True))
        picked = [paths[int(k)] for k in rng.permutation(len(paths))[: chosen.frames]]
        row = dict.fromkeys(totals, 0)
        for path in picked:
            plain = read_frame(path)
            if plain.width < 160:
                continue
            frame = signed(plain, rng)
            row["frames"] += 1
            row["lines"] += len(LINES)
            row["read_before"] += lines_read(frame.pixels)
            row["read_in_plain"] += lines_read(plain.pixels)
            kept = [each for each in curate([frame], BuildConfig()) if isinstance(each, Kept)]
            row["left_out"] += not kept
            row["read_after"] += sum(lines_read(each.frame.pixels) for each in kept)
        print(
            f"{source:20} {row['frames']:6} {row['left_out']:8} {row['read_before']:18} {row['read_after']:6}"
        )
        totals = {key: totals[key] + row[key] for key in totals}
    print(json.dumps(totals))


if __name__ == "__main__":
    main()
