"""Every variant of pretraining as settings for images of 32 px in patches of 8, and clips to try them on."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

VARIANTS = {
    "ratio": ["model.hide_ratio=0.9"],
    "blocks": ["model.hiding.kind=block", "model.hiding.block=2"],
    "sector": ["model.hiding.kind=sector"],
    "loss in the sector": ["model.loss_in=sector"],
    "plain pixels": ["model.normalised_pixels=false"],
    "part": ["model.decoder.predict_ratio=0.5"],
    "cross": ["model.decoder.kind=cross", "model.decoder.predict_ratio=0.4"],
    "cross, layers": ["model.decoder.kind=cross", "model.decoder.layers_seen=2"],
    "context": ["model.context=clip"],
    "context, cross": ["model.context=clip", "model.decoder.kind=cross", "model.hiding.kind=sector"],
    "pairs": [
        "model.agreement.kind=clip", "model.agreement.dim=16", "model.hiding.kind=sector",
        "model.decoder.predict_ratio=0.5",
    ],
    "rectangle": ["model.encoder.image_px=[24, 32]"],
    "steps of size": ["resolution.start_px=16", "resolution.start_ratio=0.5"],
    "all at once": [
        "model.hiding.kind=sector", "model.decoder.kind=cross", "model.decoder.predict_ratio=0.5",
        "model.decoder.layers_seen=3", "model.context=clip", "model.encoder.image_px=[32, 24]",
        "resolution.start_px=[16, 16]", "loop.accumulate=3",
    ],
}  # fmt: skip


def draw_clips(root: Path) -> None:
    """Four clips of four frames and three stills, fans on black; one still is all black."""
    noise = np.random.default_rng(0)
    fan = cv2.fillConvexPoly(np.zeros((48, 48), np.uint8), np.array([[24, 2], [46, 40], [2, 40]]), 1)
    for k in range(4):
        speckle = noise.integers(30, 256, (4, 48, 48), np.uint8)
        first, *rest = (Image.fromarray(cv2.GaussianBlur(frame, (9, 9), 3) * fan) for frame in speckle)
        first.save(root / f"clip_{k}.tif", save_all=True, append_images=rest)
    for k in range(3):
        still = noise.integers(0, 256, (48, 48), np.uint8) * fan * (k > 0)
        Image.fromarray(still).save(root / f"still_{k}.png")
