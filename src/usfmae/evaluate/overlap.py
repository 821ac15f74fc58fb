"""How well a predicted label map lies on the true one: Dice, IoU and the 95 % Hausdorff distance.

Dice is 2|A and B| / (|A| + |B|), IoU |A and B| / |A or B|. The 95 % Hausdorff distance is measured between
surfaces: the surface of a structure is its pixels with one of the four neighbours outside of it (what lies
beyond the picture is outside). For each surface pixel of one map the distance to the nearest surface pixel of
the other is taken, between centres; the result is the larger of the two 95th percentiles, truth to prediction
and prediction to truth, as in DeepMind's `surface-distance` (`compute_robust_hausdorff`, Nikolov et al. 2021,
there weighted by the length of each surface element) and in MONAI. MedPy pools both directions before the
percentile, so its numbers are a little smaller.

Where a structure is in neither map nothing is said (NaN), and the image is left out of the structure's mean:
otherwise eight classes of which an image has one would be seven eighths right for nothing. Where it is in one
of the two only, Dice and IoU are 0 and the distance is the diagonal of the picture, the largest there is.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, UInt8
from scipy.ndimage import binary_erosion, generate_binary_structure
from scipy.spatial import KDTree

from usfmae.evaluate.statistics import BootstrapConfig, Interval, intervals_over_groups

OVERLAP_METRICS = ("dice", "iou", "hd95")
"""Fields of `Overlap`, in order."""

NOWHERE = "the structure is in no image, neither drawn nor predicted"

_FOUR_NEIGHBOURS = generate_binary_structure(2, 1)


@dataclass(frozen=True)
class Overlap:
    """How two maps of one structure agree; NaN where both are empty."""

    dice: float
    """0 to 1, 1 is best."""

    iou: float
    """0 to 1, 1 is best."""

    hd95: float
    """In the unit of the spacing, 0 is best."""


def overlap(
    truth: Bool[np.ndarray, "height width"],
    predicted: Bool[np.ndarray, "height width"],
    *,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Overlap:
    """Dice, IoU and the 95 % Hausdorff distance of one structure in one image.

    Args:
        truth: where it is.
        predicted: where it is said to be.
        spacing: pixel pitch (down, across): millimetres for a distance in mm, ones for one in pixels.

    Raises:
        ValueError: a pitch is not positive.
    """
    if min(spacing) <= 0:
        raise ValueError(f"spacing must be positive, not {spacing}")
    num_true, num_predicted = int(truth.sum()), int(predicted.sum())
    if not num_true and not num_predicted:
        return Overlap(np.nan, np.nan, np.nan)
    if not num_true or not num_predicted:
        height, width = truth.shape
        return Overlap(0.0, 0.0, float(np.hypot((height - 1) * spacing[0], (width - 1) * spacing[1])))
    both = int((truth & predicted).sum())
    dice = 2 * both / (num_true + num_predicted)
    return Overlap(dice, both / (num_true + num_predicted - both), _hd95(truth, predicted, spacing))


def overlaps(
    truth: UInt8[np.ndarray, "height width"],
    predicted: UInt8[np.ndarray, "height width"],
    *,
    num_structures: int,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Float64[np.ndarray, "structure 3"]:
    """The columns `OVERLAP_METRICS` of each structure of two label maps; label k + 1 is the k-th structure.

    Args:
        truth: labels, 0 outside.
        predicted: labels, 0 outside.
        num_structures: how many structures there are.
        spacing: pixel pitch (down, across).
    """
    rows = []
    for label in range(1, num_structures + 1):
        found = overlap(truth == label, predicted == label, spacing=spacing)
        rows.append([found.dice, found.iou, found.hd95])
    return np.array(rows, dtype=np.float64)


def mean_overlap(
    values: Float[np.ndarray, "image structure"],
    groups: Int[np.ndarray, " image"],
    *,
    config: BootstrapConfig,
) -> tuple[Interval, tuple[Interval, ...]]:
    """The mean of one metric with its interval over groups.

    Of each structure the mean over the images in which it is defined; of several structures their mean, each
    counting the same.

    Args:
        values: one metric; NaN where it is not defined.
        groups: the patient of each image, any integers.
        config: number of draws, level, method, seed.

    Returns:
        The mean over structures, and that of each structure.
    """
    defined = ~np.isnan(values)
    filled = np.where(defined, values, 0.0)

    def means(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample metric"]:
        mass = weights @ defined.astype(float)
        each = np.divide(weights @ filled, mass, out=np.full(mass.shape, np.nan), where=mass > 0)
        return np.concatenate([mean_of_defined(each)[:, None], each], axis=1)

    overall, *structures = intervals_over_groups(means, groups, config=config, undefined=NOWHERE)
    return overall, tuple(structures)


def mean_of_defined(values: Float[np.ndarray, "row column"]) -> Float64[np.ndarray, " row"]:
    """The mean of each row without its NaNs; NaN where there is nothing else."""
    defined = ~np.isnan(values)
    num = defined.sum(axis=1)
    total = np.where(defined, values, 0.0).sum(axis=1)
    mean: Float64[np.ndarray, " row"] = np.divide(total, num, out=np.full(len(values), np.nan), where=num > 0)
    return mean


def surface_px(mask: Bool[np.ndarray, "height width"]) -> Int64[np.ndarray, "pixel 2"]:
    """The pixels (down, across) of a structure that have one of their four neighbours outside of it."""
    inside = binary_erosion(mask, _FOUR_NEIGHBOURS, border_value=0)
    found: Int64[np.ndarray, "pixel 2"] = np.argwhere(mask & ~inside)
    return found


def _hd95(
    truth: Bool[np.ndarray, "height width"],
    predicted: Bool[np.ndarray, "height width"],
    spacing: tuple[float, float],
) -> float:
    one, other = surface_px(truth) * np.array(spacing), surface_px(predicted) * np.array(spacing)
    there, back = KDTree(other).query(one)[0], KDTree(one).query(other)[0]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))
