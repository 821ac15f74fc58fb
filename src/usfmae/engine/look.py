"""How a B-mode image's brightness varies between scanners and settings: the curves, bands and noise.

Formulas are written once for NumPy arrays and torch tensors alike, so a view looks the same wherever it is
made. Everything multiplies or keeps 0 at 0: black outside the fan stays black without knowing the fan.
"""

from functools import lru_cache
from typing import TypeVar

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from usfmae.base.seeds import rng_for

ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)

NUM_DEPTHS = 5
"""Depths at which a time-gain curve is drawn, the first and the last row among them."""

NUM_TILES = 4
"""Different fields of speckle; each is rolled by any number of pixels in both directions."""

SPECKLE_LIMIT = 4.0
"""Standard deviations at which speckle is cut, so that a strength of up to 1/4 never turns negative."""

_ONSET, _SOFT = 0.1, 0.5


def toned(grey: ArrayT, gain: ArrayT, contrast: ArrayT, gamma: ArrayT) -> ArrayT:
    """Gain, contrast and gamma of a grey map, in this order; black stays black.

    Contrast is the slope at mid grey of an S-curve through (0, 0), (1/2, 1/2) and (1, 1): the usual
    stretching about the mean would lift the black outside the fan. All three are the identity at 1.

    Args:
        grey: in [0, 1].
        gain: factor on brightness, above 1 saturating; broadcast against `grey`, as are the others.
        contrast: above 1 steeper at mid grey, below 1 flatter.
        gamma: exponent; below 1 brightens.

    Returns:
        In [0, 1], of the broadcast shape.
    """
    bright = (grey * gain).clip(0, 1)
    up, down = bright**contrast, (1 - bright) ** contrast
    grey_map: ArrayT = (up / (up + down)) ** gamma
    return grey_map


@lru_cache(maxsize=16)
def depth_basis(height: int) -> Float32[np.ndarray, "height depth"]:
    """Weights with which each row blends values given at `NUM_DEPTHS` even depths: a smooth curve.

    Between two depths the blend is a raised cosine, so a curve is level where it is given and never
    leaves the range of its values.
    """
    place = (np.arange(height) + 0.5) / height * (NUM_DEPTHS - 1)
    above = np.minimum(place.astype(int), NUM_DEPTHS - 2)
    share = (1 - np.cos(np.pi * (place - above))) / 2
    basis = np.zeros((height, NUM_DEPTHS), dtype=np.float32)
    rows = np.arange(height)
    basis[rows, above], basis[rows, above + 1] = 1 - share, share
    basis.setflags(write=False)
    return basis


def shadow_factor(depth: ArrayT, across: ArrayT, numbers: ArrayT) -> ArrayT:
    """What an acoustic shadow leaves of the brightness: a band along the beams, dark from some depth on.

    Beams run straight down (`spread` 0, a linear array) or fan out from a point above the image (a convex
    array), which is all that is assumed of the scanner. Edges and onset are soft.

    Args:
        depth: rows in [0, 1], 0 at the top.
        across: columns in [0, 1]; broadcast against `depth`.
        numbers: in its last axis, strength: share of brightness lost in the middle of the band, 0 for no
            shadow; centre: where the band's middle meets the top, in [0, 1]; half width at the top, as a
            fraction of the image's width; start: depth in [0, 1] at which it begins; spread: how much
            wider the beams lie at the bottom than at the top, as a fraction. Leading axes come before
            the rows and columns of the answer.

    Returns:
        Factors in [0, 1].
    """
    strength, centre, half_width, start, spread = (numbers[..., k, None, None] for k in range(5))
    beam = (across - 0.5) / (depth * spread + 1) - (centre - 0.5)
    inside = _smooth((half_width - abs(beam)) / (half_width * _SOFT))
    left: ArrayT = 1 - inside * (_smooth((depth - start) / _ONSET) * strength)
    return left


@lru_cache(maxsize=4)
def speckle_tiles(side: int, correlation_px: tuple[float, float]) -> Float32[np.ndarray, "tile side side"]:
    """Fields of fully developed speckle that continue across their edges, mean 0 and deviation 1.

    The logarithm of the amplitude of correlated complex Gaussian noise (Wagner et al. 1983, "Statistics of
    speckle in ultrasound B-scans"), since B-mode grey is the logarithm of echo amplitude: skewed towards
    dark, its depth the same at every brightness.

    Args:
        side: of the tiles in pixels; a power of two is fastest.
        correlation_px: deviation (down, across) of the Gaussian that smooths the complex noise.
    """
    down, across = (
        np.exp(-2 * (np.pi * np.fft.fftfreq(side) * deviation) ** 2) for deviation in correlation_px
    )
    noise = rng_for(0, "speckle", side).standard_normal((2, NUM_TILES, side, side))
    echoes = np.fft.ifft2(np.fft.fft2(noise[0] + 1j * noise[1]) * down[:, None] * across)
    log_amplitude = np.log(np.abs(echoes) + 1e-12)
    spread = log_amplitude - log_amplitude.mean(axis=(1, 2), keepdims=True)
    tiles = (spread / spread.std(axis=(1, 2), keepdims=True)).clip(-SPECKLE_LIMIT, SPECKLE_LIMIT)
    field: Float32[np.ndarray, "tile side side"] = tiles.astype(np.float32)
    field.setflags(write=False)
    return field


def tile_side(size_px: tuple[int, int]) -> int:
    """Side of the speckle tiles for views of a size (height, width): a power of two that covers them."""
    return 1 << (max(*size_px, 2) - 1).bit_length()


def _smooth(ramp: ArrayT) -> ArrayT:
    """0 below 0, 1 above 1, and between them level at both ends."""
    t = ramp.clip(0, 1)
    smooth: ArrayT = t * t * (3 - 2 * t)
    return smooth
