"""Does the novelty score of an encoder notice what is no breast ultrasound?

Fitted on features of BUS-BRA's training images of one fold, the threshold set on its validation images (95 %
kept), familiar are its test images. Against them: the breast of another hospital (BUSI; what looks strange
there is the device, not the anatomy), other anatomy (ovary, fetal head, muscle, carotid, brachial plexus,
liver), and what is no ultrasound: photographs, drawn textures, CT and MR. AUROC with 95 % interval over
patients of both sides, and the share called novel; photographs are patches of two pictures, CT and MR windows
of a handful, so their intervals stand for little. Other sets differ from BUS-BRA in device, size and
compression too, so a high AUROC is no proof that anatomy is noticed.

A random start needs no weights and says what raw brightness and texture already give.

Cost: about 2 minutes on one core for ViT-Ti at 64 px.
Run:  USFMAE_DATA=... python benchmarks/novelty.py [--weights FILE] [--fold 2] [--most 150] [--threads 1]
"""

import argparse
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from sklearn.datasets import load_sample_images

from marks_data import SOURCES
from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import rng_for
from usfmae.engine.devices import set_up_cpu
from usfmae.evaluate.features import encode_images
from usfmae.evaluate.protocol import TaskConfig, load_task
from usfmae.evaluate.start import Start, open_start, shown_to
from usfmae.evaluate.statistics import BootstrapConfig, Interval
from usfmae.evaluate.told_apart import told_apart
from usfmae.images.frame import Frame, FrameSource
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frame
from usfmae.models.novelty import Novelty, fit_knn_distance, fit_mahalanobis, with_threshold
from usfmae.models.vit import ViTConfig

KINDS = {
    "same anatomy, other hospital": ("busi",),
    "other anatomy": (
        "mmotu-2d", "fetal-head", "muscle", "muscle-lower-limb", "carotid-cca", "brachial-plexus", "liver",
    ),
}  # fmt: skip
SLICES = ("CT_small.dcm", "MR_small.dcm", "693_J2KR.dcm", "examples_overlay.dcm")
"""Small CT and MR pictures that come with pydicom."""


def drawn(pixels: np.ndarray) -> Frame:
    """Pixels that are in no file."""
    return Frame(np.ascontiguousarray(pixels, dtype=np.uint8), None, FrameSource("drawn", 0, 1))


def of_source(name: str, most: int) -> Iterator[tuple[str, Frame]]:
    """At most so many pictures of a source, evenly spread, with their groups."""
    pattern, group = SOURCES[name]
    files = sorted((Path(os.environ["USFMAE_DATA"])).glob(pattern))
    for path in files[:: -(-len(files) // most)]:
        match = re.match(group, path.name)
        yield match.group(1) if match else path.name, read_frame(path)


def windows(name: str, pixels: np.ndarray, number: int, seed: int) -> Iterator[tuple[str, Frame]]:
    """Windows of half to the whole of a picture."""
    rng = rng_for(seed, "windows", name)
    for _ in range(number):
        sides = [(whole, int(whole * rng.uniform(0.5, 1))) for whole in pixels.shape[:2]]
        height, width = (side for _, side in sides)
        top, left = (int(rng.integers(0, whole - side + 1)) for whole, side in sides)
        yield name, drawn(pixels[top : top + height, left : left + width])


def photographs(most: int) -> Iterator[tuple[str, Frame]]:
    """Windows of the two photographs that come with scikit-learn, in colour."""
    found = load_sample_images()
    for name, pixels in zip(found.filenames, found.images, strict=True):
        yield from windows(Path(name).name, np.asarray(pixels, dtype=np.uint8), most // 2, 0)


def slices(most: int) -> Iterator[tuple[str, Frame]]:
    """Windows of CT and MR slices, stretched to 8 bits."""
    for name in SLICES:
        path = get_testdata_file(name, download=False)
        if path is None:
            continue
        values = pydicom.dcmread(path).pixel_array.astype(float)
        values = values[0] if values.ndim == 3 else values
        low, high = np.quantile(values, [0.01, 0.99])
        grey = (255 * np.clip((values - low) / max(high - low, 1), 0, 1)).astype(np.uint8)
        yield from windows(name, grey, most // len(SLICES), 1)


def textures(most: int) -> Iterator[tuple[str, Frame]]:
    """Noise whose amplitude falls with frequency, as in natural pictures, and gratings."""
    for number in range(most):
        rng = rng_for(0, "texture", number)
        down, across = np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128), indexing="ij")
        if number % 2:
            power = np.maximum(np.hypot(down, across), 1 / 128) ** -rng.uniform(0.5, 2)
            picture = np.fft.ifft2(np.fft.fft2(rng.normal(size=(128, 128))) * power).real
        else:
            angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 30)
            rows, columns = np.mgrid[0:128, 0:128] / 128
            picture = np.sin(2 * np.pi * waves * (np.cos(angle) * rows + np.sin(angle) * columns))
        low, high = np.quantile(picture, [0.01, 0.99])
        yield str(number), drawn(255 * np.clip((picture - low) / (high - low), 0, 1))


def encoded(pictures: list[tuple[str, Frame]], start: Start) -> np.ndarray:
    """Features of pictures, prepared as the encoder wants to see them."""
    spec: InputSpec = start.input_spec
    side = max(spec.size_px)
    images = [prepare(frame, size_px=side, fit=spec.fit, crop=spec.crop) for _, frame in pictures]
    return encode_images(start.encoder, np.stack(images), input_spec=spec)


def shown(part: Interval) -> str:
    """A value with its bounds."""
    return (
        f"{part.value:.3f} ({part.low:.3f} to {part.high:.3f})"
        if part.low is not None
        else f"{part.value:.3f}"
    )


def main() -> None:
    """Score every kind of picture and print the table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path, help="file or run folder; a random start without")
    parser.add_argument("--fold", type=int, default=2)
    parser.add_argument("--most", type=int, default=150, help="pictures of a kind")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--image-px", type=int, default=64, help="input side of a random start")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    set_up_cpu(chosen.threads)
    weights = chosen.weights or "scratch"
    fit, crop = shown_to(weights)
    network = ViTConfig(size="ti", image_px=chosen.image_px)
    start = open_start(weights, network=network, fit=fit, crop=crop)
    task = load_task(
        "bus-bra",
        Path(os.environ["USFMAE_DATA"]) / "bus-bra",
        config=TaskConfig(size_px=max(start.input_spec.size_px), folds=(chosen.fold,), fit=fit, crop=crop),
    )
    split = task.splits[0]
    features = encode_images(start.encoder, task.images, input_spec=start.input_spec)
    train, labels = features[split.train], task.labels[split.train]
    detectors: dict[str, Novelty] = {
        name: with_threshold(scorer, features[split.val], weights_sha256=start.sha256)
        for name, scorer in (
            ("Mahalanobis", fit_mahalanobis(train, labels)),
            (f"distance to neighbour {chosen.k}", fit_knn_distance(train, k=chosen.k)),
        )
    }
    strange = {
        f"{kind}: {name}": list(of_source(name, chosen.most))
        for kind, names in KINDS.items()
        for name in names
    }
    strange |= {
        "no ultrasound: photographs": list(photographs(chosen.most)),
        "no ultrasound: CT and MR": list(slices(chosen.most)),
        "no ultrasound: textures": list(textures(chosen.most)),
    }
    print(f"{start.init} encoder; {len(train)} training, {len(split.test)} familiar pictures")
    heads = [f"{name}: {what}" for name in detectors for what in ("AUROC", "called novel")]
    print(f"| pictures | number | {' | '.join(heads)} |\n{'|---' * (2 + len(heads))}|")
    rows = {
        "familiar: BUS-BRA test": (
            [task.items[one].group for one in split.test.tolist()],
            features[split.test],
        )
    }
    rows |= {
        name: ([group for group, _ in found], encoded(found, start))
        for name, found in strange.items()
        if found
    }
    familiar_groups, familiar = rows["familiar: BUS-BRA test"]
    figures: dict[str, float] = {}
    for kind, (groups, found) in rows.items():
        cells = []
        for name, detector in detectors.items():
            novel = float(detector.is_novel(found).mean())
            cells += ["", f"{novel:.2f}"]
            if found is not familiar:
                auroc = told_apart(
                    detector.scores(familiar), detector.scores(found),
                    familiar_groups=familiar_groups, strange_groups=groups,
                    config=BootstrapConfig(num_resamples=chosen.resamples),
                )  # fmt: skip
                cells[-2] = shown(auroc)
                figures[f"{name}, {kind}"] = round(auroc.value or 0.0, 4)
        print(f"| {kind} | {len(found)} of {len(set(groups))} | {' | '.join(cells)} |")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
