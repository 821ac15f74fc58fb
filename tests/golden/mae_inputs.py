"""Weights, images and hidden patches that anybody can draw again: the input of the golden MAE numbers."""

import hashlib

import numpy as np
import torch
from torch import Tensor

BATCH, IMAGE_PX, PATCH_PX, NUM_HIDDEN = 4, 64, 16, 12
DECODER_DIM, DECODER_LAYERS, DECODER_HEADS = 64, 2, 4
CASES = {"grey_normalised": (1, True), "colour_plain": (3, False)}
"""Case -> input channels, and whether the target is normalised."""


def drawn(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """Normal numbers that depend on the name alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    numbers = np.random.Generator(np.random.Philox(seed)).standard_normal(shape) * scale
    return torch.from_numpy(numbers).float()


def fill(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights for each of our names: norms near 1, everything else small; positions stay what they are."""
    filled = {}
    for name, tensor in state.items():
        if name.endswith("pos_embed"):
            filled[name] = tensor
        else:
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            filled[name] = centre + drawn(name, tuple(tensor.shape), 0.05)
    return filled


def images(channels: int) -> Tensor:
    """A batch of standardised noise."""
    return drawn(f"images {channels}", (BATCH, channels, IMAGE_PX, IMAGE_PX))


def noise() -> Tensor:
    """One number per patch; the smallest stay visible (MAE's rule)."""
    return drawn("noise", (BATCH, (IMAGE_PX // PATCH_PX) ** 2))


def fingerprint(name: str, gradient: Tensor) -> list[float]:
    """Length of a gradient and its products with three random directions of length 1."""
    flat = gradient.double().flatten()
    numbers = [flat.norm().item()]
    for k in range(3):
        direction = drawn(f"{name} direction {k}", (flat.numel(),)).double()
        numbers.append((flat @ (direction / direction.norm())).item())
    return numbers
