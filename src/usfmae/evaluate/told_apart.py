"""How well a score tells strange pictures from familiar ones."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64
from scipy.stats import rankdata

from usfmae.evaluate.statistics import BootstrapConfig, Interval, score_with_intervals


def told_apart(
    familiar: Float[np.ndarray, " familiar"],
    strange: Float[np.ndarray, " strange"],
    *,
    familiar_groups: Sequence[str],
    strange_groups: Sequence[str],
    config: BootstrapConfig,
) -> Interval:
    """AUROC of a novelty score, with its interval over patients of both sides.

    0.5 where strange pictures score like familiar ones, 1 where each scores higher than all of them; below
    0.5 they look more familiar than the familiar ones.

    Args:
        familiar: scores of pictures of the training kind that were not trained on.
        strange: scores of others; any unit, larger is stranger, infinite allowed.
        familiar_groups: the patient of each.
        strange_groups: likewise; a name on both sides stands for two groups.
        config: number of draws, level, method and seed.

    Raises:
        ValueError: a side without picture, or a score that is no number.
    """
    scores = np.concatenate([familiar, strange])
    if not len(familiar) or not len(strange) or np.isnan(scores).any():
        raise ValueError(f"{len(familiar)} familiar and {len(strange)} strange pictures need a score each")
    labels = np.repeat([0, 1], [len(familiar), len(strange)]).astype(np.int64)
    names = [("familiar", one) for one in familiar_groups] + [("strange", one) for one in strange_groups]
    groups: Int64[np.ndarray, " n"] = (
        np.unique(names, axis=0, return_inverse=True)[1].astype(np.int64).ravel()
    )
    rank = (rankdata(scores) - 0.5) / len(scores)  # keeps the order, ties and all, within (0, 1)
    both = np.stack([1 - rank, rank], axis=1)
    return score_with_intervals(labels, both, groups, config=config).metrics["auroc"]
