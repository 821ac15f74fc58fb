"""Filling marked pixels from their surroundings."""

from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool

from usfmae.images.frame import Colour, Grey

Fill = Literal["smooth", "telea", "navier_stokes"]


def grown(mask: Bool[np.ndarray, "height width"], radius_px: int) -> Bool[np.ndarray, "height width"]:
    """The mask and all pixels at most `radius_px` rows and columns from it, corners cut off.

    Raises:
        ValueError: a negative radius.
    """
    if radius_px < 0:
        raise ValueError(f"radius_px must be at least 0, not {radius_px}")
    if radius_px == 0:
        return mask
    side = 2 * radius_px + 1
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), reach) > 0)


def fill(pixels: Grey | Colour, mask: Bool[np.ndarray, "height width"], *, how: Fill) -> Grey | Colour:
    """A copy of `pixels` with new values where `mask` is True and the old ones elsewhere.

    - "smooth": the weighted mean of what is known nearby, from the finest scale that knows anything
      (push-pull, Gortler et al. 1996, "The Lumigraph", sec. 3.4);
    - "telea": fast marching (Telea 2004), radius 3 pixels;
    - "navier_stokes": Bertalmio et al. 2001, radius 3 pixels.

    A frame that is masked everywhere becomes black.
    """
    if not mask.any():
        return pixels.copy()
    if mask.all():
        return np.zeros_like(pixels)
    if how != "smooth":
        method = cv2.INPAINT_TELEA if how == "telea" else cv2.INPAINT_NS
        return np.asarray(cv2.inpaint(np.ascontiguousarray(pixels), mask.astype(np.uint8), 3, method))
    filled = _push_pull(pixels.astype(np.float32), mask)
    out = pixels.copy()
    out[mask] = np.clip(np.rint(filled[mask]), 0, 255).astype(np.uint8)
    return out


def _push_pull(values: np.ndarray, mask: Bool[np.ndarray, "height width"]) -> np.ndarray:
    known = (~mask).astype(np.float32)
    levels: list[tuple[Any, Any]] = [(values * (known if values.ndim == 2 else known[..., None]), known)]
    while min(levels[-1][1].shape) > 2 and not levels[-1][1].all():
        levels.append((cv2.pyrDown(levels[-1][0]), cv2.pyrDown(levels[-1][1])))
    summed, weight = levels[-1]
    guess = _ratio(summed, weight)
    for summed, weight in reversed(levels[:-1]):
        size = (weight.shape[1], weight.shape[0])
        guess = cv2.resize(guess, size, interpolation=cv2.INTER_LINEAR)
        trust = np.minimum(weight * 2, 1)
        blend = trust if values.ndim == 2 else trust[..., None]
        guess = blend * _ratio(summed, weight) + (1 - blend) * guess
    return np.asarray(guess)


def _ratio(summed: np.ndarray, weight: np.ndarray) -> np.ndarray:
    weight = np.maximum(weight, 1e-6)
    return np.asarray(summed / (weight if summed.ndim == 2 else weight[..., None]))
