"""Cleaning as the USF-MAE paper describes it, kept for comparison (`clean.mode=paper`).

Text boxes by OCR, coloured marks by k-means in HSV, small grey contours by Canny; all filled by Navier-Stokes
inpainting. The paper gives the steps but no thresholds: those here are ours, set once by eye and not tuned.
"""

import cv2
import numpy as np
from jaxtyping import Bool

from usfmae.images.fill import Fill
from usfmae.images.frame import Colour, Grey
from usfmae.images.words import text_polygons

NUM_COLOURS = 6
"""Clusters of k-means."""

LEAST_SATURATION, LEAST_VALUE = 70, 60
"""A cluster is a coloured mark when its centre is above both, 0..255."""

CONTOUR_AREA_PX = (4.0, 150.0)
"""A contour of such an area is a small mark, not anatomy ..."""

LEAST_CONTOUR_GREY = 150
"""... if it is as bright as this on average."""

GROW_PX = 1
"""Pixels that the mask is grown by before filling."""

PAPER_FILL: Fill = "navier_stokes"
"""How it is filled."""


def paper_mask(pixels: Grey | Colour) -> Bool[np.ndarray, "height width"]:
    """Pixels that the paper's cleaning would fill, before growing them by `GROW_PX`.

    Raises:
        MissingExtraError: rapidocr is not installed.
    """
    grey = pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return np.asarray(text_mask(pixels) | colour_mask(pixels) | contour_mask(grey))


def text_mask(pixels: Grey | Colour) -> Bool[np.ndarray, "height width"]:
    """The boxes that OCR finds.

    Raises:
        MissingExtraError: rapidocr is not installed.
    """
    mask = np.zeros(pixels.shape[:2], np.uint8)
    for corners in text_polygons(pixels):
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return mask.astype(bool)


def colour_mask(pixels: Grey | Colour) -> Bool[np.ndarray, "height width"]:
    """Clusters of hue, saturation and value that are colourful and not dark; none in a grey frame."""
    if pixels.ndim == 2 or not np.ptp(pixels, axis=2).any():
        return np.zeros(pixels.shape[:2], bool)
    colours = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2HSV)
    points = colours.reshape(-1, 3).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1.0)
    cv2.setRNGSeed(0)  # k-means++ draws from OpenCV's own generator: equal frames, equal masks
    clusters = min(NUM_COLOURS, len(points))
    _, labels, centres = cv2.kmeans(points, clusters, np.empty(0), stop, 1, cv2.KMEANS_PP_CENTERS)
    colourful = (centres[:, 1] >= LEAST_SATURATION) & (centres[:, 2] >= LEAST_VALUE)
    return np.asarray(colourful[labels[:, 0]].reshape(pixels.shape[:2]))


def contour_mask(grey: Grey) -> Bool[np.ndarray, "height width"]:
    """Small bright contours of Canny edges; the hull of each is masked, as edges of thin marks are open."""
    edges = cv2.Canny(grey, 120, 240)
    contours, _ = cv2.findContours(edges, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    mask = np.zeros(grey.shape, np.uint8)
    for contour in contours:
        hull = cv2.convexHull(contour)
        left, top, width, height = cv2.boundingRect(hull)
        if not CONTOUR_AREA_PX[0] <= cv2.contourArea(hull) <= CONTOUR_AREA_PX[1]:
            continue
        inside = np.zeros((height, width), np.uint8)
        cv2.drawContours(inside, [hull], -1, 1, -1, offset=(-left, -top))
        there = np.s_[top : top + height, left : left + width]
        if grey[there][inside > 0].mean() >= LEAST_CONTOUR_GREY:
            mask[there] |= inside
    return mask.astype(bool)
