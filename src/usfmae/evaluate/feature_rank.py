"""How many directions the features of an encoder use: a measure of collapse that needs no labels."""

import numpy as np
from jaxtyping import Float32, Float64


def effective_rank(features: Float32[np.ndarray, "n d"] | Float64[np.ndarray, "n d"]) -> float:
    """Exponential of the entropy of the normalised singular values.

    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO; used on the
    features of an encoder by Garrido et al. 2023, "RankMe", ICML, whose small constant inside the logarithm
    is not needed in double precision. As in both, features are not centred: an encoder that gives one and
    the same vector, give or take a little noise, then has a rank near 1, while without their mean those
    features would be noise of full rank.

    Args:
        features: one row per image, at least one.

    Returns:
        Between 1 and min(n, d); 1 if all features are zero. It depends on n as long as n is not much larger
        than d, so only values of the same images can be compared.

    Raises:
        ValueError: there is no row, or a value is not a finite number.
    """
    if not features.size:
        raise ValueError(f"features of shape {features.shape} have no rank")
    if not np.isfinite(features).all():
        raise ValueError("features are not finite numbers")
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    total = values.sum()
    if total == 0:
        return 1.0
    shares = values[values > 0] / total
    shares = shares[shares > 0]  # the smallest doubles vanish in the division
    return float(np.exp(-(shares * np.log(shares)).sum()))
