"""What other seeds and other splits say of a plan's numbers, beside the interval over patients and seeds.

That interval is a bootstrap, and of few seeds there is little to draw (`over_seeds`). So there is also the
standard deviation over seeds of the metric of all test images together, and for a difference Student's
interval of the mean over shared seeds, which knows how few they are; and for what is learnt from there is
Nadeau and Bengio's interval over the splits (`folds_and_seeds`). Where they do not agree with the bootstrap
on whether a difference may be none, that is a doubt and is said beside the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from usfmae.evaluate.metrics import METRICS, score
from usfmae.evaluate.plan_scores import Comparison, Entry
from usfmae.evaluate.predictions import fold_ids

LEVEL = 0.95
"""Of the intervals over seeds, as of those over splits."""


@dataclass(frozen=True)
class Doubts:
    """What stands beside a difference whose bootstrap interval has been given."""

    per_seed: dict[int, float]
    """The difference by seed, all test images together; empty where the contenders have other
    seeds or the metric is not defined."""

    spread: float | None
    """Standard deviation of these; None with a single seed."""

    low: float | None
    """Student's interval of the mean over seeds, on these patients; None with a single seed."""

    high: float | None
    """Upper bound."""

    is_one_draw: bool
    """Few labels and one seed: another draw of labels was never tried, so nobody is ahead."""

    words: tuple[str, ...]
    """Sentences without a full stop; empty where all agree."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "per_seed": {str(seed): value for seed, value in self.per_seed.items()},
            "sd": self.spread,
            "low": self.low,
            "high": self.high,
            "one_draw_of_labels": self.is_one_draw,
            "doubts": list(self.words),
        }


def seed_scores(entry: Entry) -> dict[str, list[float]]:
    """Every metric of all test images together, one value for each seed."""
    scored = [
        score(one.labels, one.probabilities, positive=entry.positive, folds=fold_ids(one))
        for one in entry.per_seed
    ]
    return {name: [one[name] for one in scored] for name in METRICS}


def seed_spreads(entry: Entry) -> dict[str, float | None]:
    """Standard deviation over seeds (n - 1 below) of every metric of all test images together; None with a
    single seed, or where a metric is not defined."""
    return {name: _spread(values) for name, values in seed_scores(entry).items()}


def doubts_about(one: Comparison, ours: Entry, rival: Entry) -> Doubts:
    """What seeds and splits have to say against the bootstrap interval.

    Over seeds only one disagreement counts: a bootstrap interval without 0 where Student's over seeds has it.
    The other way round nothing is claimed, and contenders that do not depend on the seed would always be so.

    Args:
        one: the difference.
        ours: the first contender of it.
        rival: the other.
    """
    per_seed: dict[int, float] = {}
    if ours.seeds == rival.seeds:
        mine, other = (seed_scores(entry)[one.metric] for entry in (ours, rival))
        change = np.array(mine) - np.array(other)
        per_seed = dict(zip(ours.seeds, change.tolist(), strict=True)) if np.isfinite(change).all() else {}
    values = list(per_seed.values())
    spread = _spread(values)
    low = high = None
    if spread is not None:
        half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * spread / len(values) ** 0.5
        low, high = float(np.mean(values)) - half, float(np.mean(values)) + half
    seeds = min(len(ours.seeds), len(rival.seeds))
    is_one_draw = ours.is_few and seeds == 1
    words = []
    if is_one_draw:
        words.append("one seed, so one draw of labels: another may turn it")
    elif seeds == 1:
        words.append("one seed only")
    by_bootstrap = leaves_out_0(one.difference.low, one.difference.high)
    if by_bootstrap and leaves_out_0(low, high) is False:
        words.append(f"not so over {len(values)} seeds: {_span(low, high)}")
    by_splits = (one.other_tests.get("corrected_t") or {}).get("difference") or {}
    by_splits = by_splits.get("low"), by_splits.get("high")
    if by_bootstrap is not None and leaves_out_0(*by_splits) not in (None, by_bootstrap):
        num = len(ours.folds)
        words.append(f"{'not so' if by_bootstrap else 'but not 0'} over {num} splits: {_span(*by_splits)}")
    return Doubts(per_seed, spread, low, high, is_one_draw, tuple(words))


def leaves_out_0(low: float | None, high: float | None) -> bool | None:
    """Whether an interval has 0 outside; None where there is no interval."""
    if low is None or high is None:
        return None
    return low > 0 or high < 0


def _spread(values: Sequence[float]) -> float | None:
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    return 0.0 if np.ptp(values) == 0 else float(np.std(values, ddof=1))


def _span(low: float | None, high: float | None) -> str:
    return f"[{low:+.3f}, {high:+.3f}]".replace("-", "\u2212")
