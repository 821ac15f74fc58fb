"""What fakes show: noise with a blob whose brightness and size tell the class."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from usfmae.base.seeds import rng_for

HEIGHT_PX, WIDTH_PX = 72, 96


@dataclass(frozen=True)
class Picture:
    """One drawn image and whose it is."""

    patient: int
    """Counted from 0."""
    shot: int
    """Number among the images of the patient, from 0."""
    label: int
    pixels: UInt8[np.ndarray, "height width"]
    lesion: UInt8[np.ndarray, "height width"]
    """255 inside, 0 outside."""
    astray: bool = False
    """True if it is to be filed on another side than the rest of its patient."""


def draw_pictures(
    num_patients: int, num_classes: int, *, seed: int, near_duplicates: int, leaking_patients: int
) -> Iterator[Picture]:
    """One or two images of every patient; classes take turns.

    Args:
        num_patients: how many.
        num_classes: at least 1.
        seed: another seed draws other images.
        near_duplicates: that many patients lend an image to the last ones.
        leaking_patients: that many have an image that is filed astray.
    """
    num_astray = 0
    for patient in range(num_patients):
        label = patient % num_classes
        num_shots = 1 + (patient // num_classes) % 2
        for shot in range(num_shots):
            astray = shot > 0 and num_astray < leaking_patients
            num_astray += astray
            pixels, lesion = _draw(label, num_classes, rng_for(seed, "fake", patient, shot))
            yield Picture(patient, shot, label, pixels, lesion, astray)
        lender = patient - (num_patients - near_duplicates)
        if lender >= 0:
            pixels, lesion = _draw(lender % num_classes, num_classes, rng_for(seed, "fake", lender, 0))
            noise = rng_for(seed, "fake copy", patient).normal(6.0, 2.0, pixels.shape)
            copied = np.clip(pixels + noise, 0, 255).astype(np.uint8)
            yield Picture(patient, num_shots, label, copied, lesion)


def _draw(
    label: int, num_classes: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]]:
    """Noise at two scales, and an ellipse: the higher the class, the darker and larger."""
    coarse = cv2.resize(rng.normal(size=(6, 8)), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    speckle = cv2.GaussianBlur(rng.normal(size=(HEIGHT_PX, WIDTH_PX)), (0, 0), 1.0)
    tissue = 110 + 32 * coarse + 45 * speckle
    level = label / max(1, num_classes - 1)
    radius = 10 + 10 * level
    centre = (int(rng.integers(24, WIDTH_PX - 24)), int(rng.integers(24, HEIGHT_PX - 24)))
    axes = (round(radius * rng.uniform(0.9, 1.3)), round(radius * rng.uniform(0.7, 1.0)))
    lesion = np.zeros((HEIGHT_PX, WIDTH_PX), dtype=np.uint8)
    cv2.ellipse(lesion, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, thickness=-1)
    pixels = np.where(lesion > 0, 150 - 130 * level + 15 * speckle, tissue)
    return np.clip(pixels, 0, 255).astype(np.uint8), lesion
