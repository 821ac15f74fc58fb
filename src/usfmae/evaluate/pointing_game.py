"""Do heat maps point at the lesion?

Pointing game (Zhang et al. 2018, "Top-down Neural Attention by Excitation Backprop", sec. 4.1): a hit if the
maximum of the map lies in the lesion or within a tolerance of it. Energy (Wang et al. 2020, "Score-CAM",
sec. 4.3): the share of the map's positive part that lies in the lesion.

Lesions are large and in the middle, so both numbers are high for maps that know nothing. Beside
them stand what a random point gets (the share of the lesion's area) and what the centre of the picture gets,
and the differences with intervals over patients. A hit says that the network looked at the lesion, not that
it looked at the right thing there.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt

from usfmae.evaluate.group_means import mean_with_interval
from usfmae.evaluate.statistics import BootstrapConfig, Interval


@dataclass(frozen=True, eq=False)
class Pointed:
    """What each map of a set points at; all shares from 0 to 1."""

    hit: Float[np.ndarray, " image"]
    """1 for a hit, 0 for a miss; where several pixels share the maximum, the share of them that hit."""

    energy: Float[np.ndarray, " image"]
    """Share of the map's positive part inside the lesion; that of a flat map where nothing is positive."""

    random_hit: Float[np.ndarray, " image"]
    """The chance of a random point of the picture to hit, with the same tolerance."""

    centre_hit: Float[np.ndarray, " image"]
    """1 where the centre of the picture hits."""

    area_ratio: Float[np.ndarray, " image"]
    """The lesion's share of the picture: the energy of a flat map."""


def point(
    maps: Float[np.ndarray, "image height width"],
    lesions: Bool[np.ndarray, "image height width"],
    *,
    shown: Bool[np.ndarray, "image height width"] | None = None,
    tolerance_px: float = 0.0,
) -> Pointed:
    """Play the pointing game.

    Args:
        maps: heat maps at the resolution of the label maps; larger means more.
        lesions: True inside the lesion, laid out like the maps (`images.prepare.prepare_mask`).
        shown: True where there is picture and not padding; None for everywhere. A maximum in the padding is
            a miss; random points, the centre and areas are those of the picture.
        tolerance_px: a maximum hits if a pixel of the lesion is not further away; 15 in the paper, on
            pictures of some 500 pixels.

    Raises:
        ValueError: a picture without lesion (leave it out: there is nothing to hit), or a lesion outside of
            what is shown.
    """
    if shown is None:
        shown = np.ones_like(lesions)
    empty = np.flatnonzero(~(lesions & shown).any(axis=(1, 2)))
    if len(empty):
        raise ValueError(
            f"{len(empty)} of {len(lesions)} pictures show no lesion to point at (first: {empty[0]})"
        )
    rows = []
    for heat, lesion, picture in zip(maps, lesions & shown, shown, strict=True):
        near = np.asarray(distance_transform_edt(~lesion)) <= tolerance_px
        area_ratio = lesion.sum() / picture.sum()
        positive = np.maximum(heat, 0.0)
        total = positive.sum(dtype=np.float64)
        rows.append(
            (
                near[heat == heat.max()].mean(),
                positive[lesion].sum(dtype=np.float64) / total if total > 0 else area_ratio,
                near[picture].mean(),
                near[_centre(picture)],
                area_ratio,
            )
        )
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return Pointed(*columns)


def score_pointing(
    pointed: Pointed, groups: Int[np.ndarray, " image"], *, config: BootstrapConfig
) -> dict[str, Interval]:
    """Means over images with intervals over patients.

    Args:
        pointed: what `point` found.
        groups: the patient of each image, any integers.
        config: number of draws, level and seed.

    Returns:
        `hit`, `random_hit`, `centre_hit`, `energy` and `area_ratio`; the differences `hit_over_random`,
        `hit_over_centre` and `energy_over_area`. A difference whose interval holds 0 says that the maps
        point no better than the baseline.
    """
    values = {
        "hit": pointed.hit,
        "random_hit": pointed.random_hit,
        "centre_hit": pointed.centre_hit,
        "energy": pointed.energy,
        "area_ratio": pointed.area_ratio,
        "hit_over_random": pointed.hit - pointed.random_hit,
        "hit_over_centre": pointed.hit - pointed.centre_hit,
        "energy_over_area": pointed.energy - pointed.area_ratio,
    }
    return {name: mean_with_interval(value, groups, config=config) for name, value in values.items()}


def _centre(picture: Bool[np.ndarray, "height width"]) -> tuple[int, int]:
    """The middle of the box around what is shown; of two middle pixels the lower or right one."""
    down, across = np.flatnonzero(picture.any(axis=1)), np.flatnonzero(picture.any(axis=0))
    return int(down[0] + down[-1] + 1) // 2, int(across[0] + across[-1] + 1) // 2
