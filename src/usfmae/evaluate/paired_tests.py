"""Is one classifier better than another on the same images? Tests by counting, by swapping, by folds.

- McNemar's exact test looks at the images that one has right and the other wrong (McNemar 1947). It takes
  images for independent. Where patients have several, Obuchowski's version sums within patients first
  (Obuchowski 1998, "On the comparison of correlated proportions for clustered data", Stat. Med. 17).
- The permutation test swaps the two classifiers' answers for whole patients: if neither is better, no swap
  matters. It holds for any number of images per patient and for macro F1, which no formula covers.
- Wilcoxon's signed ranks compare the two fold by fold. Folds share training images, so differences are not
  independent and p is rather too small; `folds_and_seeds` has the corrected t-test.
- Holm's correction keeps the chance of any false alarm among many comparisons below the level (Holm 1979,
  "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from scipy import stats
from scipy.special import ndtr

from usfmae.base.config import Config
from usfmae.base.seeds import rng_for
from usfmae.evaluate.delong import Answers, seeds_of
from usfmae.evaluate.metrics import DECISIONS, decision_counts, predicted_classes, score_decisions
from usfmae.evaluate.statistics import MAX_CELLS

MAX_EXACT = 12
"""Patients that are answered differently up to which all 2**n swaps are tried."""

SAME = 1e-12
"""Differences that are closer than this are one and the same."""


class PermutationConfig(Config):
    """How answers are swapped."""

    num_permutations: int = Field(default=10_000, ge=100, le=1_000_000)
    """Random swaps where there are too many to try all; p is then at least 1 / (num_permutations + 1)."""

    seed: int = Field(default=0, ge=0)
    """Of the swaps."""


@dataclass(frozen=True)
class McNemarTest:
    """Which images the two classifiers decide differently."""

    num_only_first: int
    """Images that the baseline has right and the contender wrong."""

    num_only_second: int
    """Images that the contender has right and the baseline wrong."""

    num_groups: int
    """Patients that were summed over; images where no groups were given."""

    p: float
    """Two-sided: exact binomial over images, normal over patients."""

    test: str
    """`mcnemar-exact` or `mcnemar-obuchowski`."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "test": self.test,
            "num_only_first": self.num_only_first,
            "num_only_second": self.num_only_second,
            "num_groups": self.num_groups,
            "p": self.p,
        }


@dataclass(frozen=True)
class PermutationTest:
    """How often swapping the classifiers patient by patient gives as large a difference."""

    metric: str
    """One of `DECISIONS`."""

    difference: float | None
    """`second - first`; None where the metric is not defined."""

    p: float | None
    """Two-sided; None where the metric is not defined."""

    num_groups: int
    """Patients."""

    num_groups_differing: int
    """Patients that the two classifiers do not answer alike; only those matter."""

    num_permutations: int
    """Swaps that were tried."""

    is_exact: bool
    """All swaps were tried, none at random."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"test": "permutation", **vars(self)}


@dataclass(frozen=True)
class WilcoxonTest:
    """Signed ranks of the differences between two classifiers over folds."""

    num_better: int
    """Folds in which the contender is better."""

    num_worse: int
    """Folds in which it is worse."""

    num_folds: int
    """Folds in all; those without a difference say nothing and are left out of the ranks."""

    p: float
    """Two-sided."""

    smallest_p: float
    """What p would be if all folds agreed; 0.0625 with five, so five can never be below 0.05."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"test": "wilcoxon", **vars(self)}


@dataclass(frozen=True)
class HolmCorrection:
    """The p-values of a family of comparisons, before and after."""

    p: tuple[float, ...]
    """As they were."""

    adjusted: tuple[float, ...]
    """In the same order; below the level where the comparison stands among all."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"correction": "holm", "p": list(self.p), "adjusted": list(self.adjusted)}


def mcnemar_test(
    labels: Int[np.ndarray, " image"],
    first: Float[np.ndarray, "image class"],
    second: Float[np.ndarray, "image class"],
    groups: Int[np.ndarray, " image"] | None = None,
) -> McNemarTest:
    """Is the accuracy the same? Exact over images; with groups Obuchowski's chi-square over patients.

    With one image per patient the latter is `(b - c)**2 / (b + c) * (n - 1) / n`, McNemar's statistic but for
    the last factor; it is approximate, so give no groups where every patient has one image.

    Args:
        labels: true classes.
        first: probabilities of the baseline.
        second: probabilities of the contender, for the same images in the same order.
        groups: the patient of each image; None takes every image for a patient of its own.
    """
    gained = _gained(labels, first, second)
    only_first, only_second = int((gained < 0).sum()), int((gained > 0).sum())
    if groups is None:
        apart = only_first + only_second
        p = float(stats.binomtest(only_first, apart).pvalue) if apart else 1.0
        return McNemarTest(only_first, only_second, len(labels), p, "mcnemar-exact")
    member = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(member, gained)
    num_groups = len(sums)
    p = 1.0
    if num_groups > 1 and (sums != 0).any():
        variance = num_groups / (num_groups - 1) * float((sums**2).sum())
        p = float(2 * ndtr(-abs(sums.sum()) / np.sqrt(variance)))
    return McNemarTest(only_first, only_second, num_groups, p, "mcnemar-obuchowski")


def permutation_test(
    labels: Int[np.ndarray, " image"],
    first: Answers,
    second: Answers,
    groups: Int[np.ndarray, " image"],
    *,
    metric: str = "macro_f1",
    positive: int | None = None,
    config: PermutationConfig,
) -> PermutationTest:
    """Could chance have made this difference? Whole patients change sides.

    Up to `MAX_EXACT` patients that are answered differently all swaps are tried, else
    `config.num_permutations` random ones, of which the data as they are count as one more (Phipson and Smyth
    2010, "Permutation p-values should never be zero", Stat. Appl. Genet. Mol. Biol. 9).

    Args:
        labels: true classes.
        first: probabilities of the baseline; of several seeds the mean of the metric is compared, and a
            patient changes sides in all of them at once.
        second: probabilities of the contender, for the same images in the same order, of as many seeds.
        groups: the patient of each image, any integers.
        metric: one of `DECISIONS`.
        positive: with two classes, the one to be found; the last if None.
        config: number of random swaps and seed.

    Raises:
        ValueError: a metric of another name (for AUROC see `delong`), or not as many seeds on either side.
    """
    if metric not in DECISIONS:
        raise ValueError(f"swapped answers test {', '.join(DECISIONS)}, not {metric}")
    member = np.unique(groups, return_inverse=True)[1]
    num_groups = int(member.max()) + 1
    pairs = [
        (predicted_classes(one), predicted_classes(other))
        for one, other in zip(seeds_of(first), seeds_of(second), strict=True)
    ]
    differing = np.unique(np.concatenate([member[one != other] for one, other in pairs]))
    num_classes = seeds_of(first)[0].shape[1]
    counted = [
        [decision_counts(labels, answer, num_classes=num_classes) for answer in pair] for pair in pairs
    ]
    moved = [_per_group(after - before, member, num_groups)[differing] for before, after in counted]

    def differences(swapped: Float[np.ndarray, "swap group"]) -> Float[np.ndarray, " swap"]:
        change = np.zeros(len(swapped))
        for (before, after), gained in zip(counted, moved, strict=True):
            crossed = swapped @ gained  # what goes from the contender to the baseline, and comes back
            sides = before.sum(axis=0) + crossed, after.sum(axis=0) - crossed
            low, high = (score_decisions(side, positive=positive)[metric] for side in sides)
            change += (high - low) / len(pairs)
        return change

    found = float(differences(np.zeros((1, len(differing))))[0])
    is_exact = len(differing) <= MAX_EXACT
    num_swaps = 2 ** len(differing) if is_exact else config.num_permutations
    if np.isnan(found):
        return PermutationTest(metric, None, None, num_groups, len(differing), 0, is_exact)
    rng = rng_for(config.seed, "permutation")
    rows_at_once = max(1, MAX_CELLS // max(len(differing), 3 * num_classes))
    as_large = 0
    for start in range(0, num_swaps, rows_at_once):
        rows = np.arange(start, min(start + rows_at_once, num_swaps))
        if is_exact:
            swapped = (rows[:, None] >> np.arange(len(differing))) & 1
        else:
            swapped = rng.integers(0, 2, (len(rows), len(differing)))
        as_large += int((np.abs(differences(swapped.astype(float))) >= abs(found) - SAME).sum())
    p = as_large / num_swaps if is_exact else (as_large + 1) / (num_swaps + 1)
    return PermutationTest(metric, found, p, num_groups, len(differing), num_swaps, is_exact)


def wilcoxon_test(first: Float[np.ndarray, " fold"], second: Float[np.ndarray, " fold"]) -> WilcoxonTest:
    """Is one of two classifiers better fold by fold? Exact for up to 13 folds that differ.

    Args:
        first: a metric of the baseline in each fold; over several seeds, its mean.
        second: the same of the contender.

    Raises:
        ValueError: no fold, or a value that is not a number.
    """
    if len(first) == 0 or not np.isfinite([first, second]).all():
        raise ValueError("signed ranks need at least one fold and a finite number in each")
    change = np.round(second - first, 12)  # so that 0.72 - 0.71 and 0.62 - 0.61 are a tie
    apart = change[change != 0]
    p = 1.0
    if len(apart) > 1:  # of a single fold either sign is as likely: p is 1
        if len(apart) <= 13:  # all signs are tried, so that ties are exact too
            p = float(stats.wilcoxon(apart, method=stats.PermutationMethod()).pvalue)
        else:
            p = float(stats.wilcoxon(apart).pvalue)
    return WilcoxonTest(
        num_better=int((change > 0).sum()),
        num_worse=int((change < 0).sum()),
        num_folds=len(change),
        p=p,
        smallest_p=2.0 ** (1 - len(change)),
    )


def holm_correction(p_values: Sequence[float]) -> HolmCorrection:
    """Adjust the p-values of one family of comparisons for being many.

    The smallest is multiplied by their number, the next by one less, and so on; none ends below a smaller
    one, none above 1.

    Raises:
        ValueError: a value that is no p-value.
    """
    p = np.array(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie between 0 and 1, got {list(p_values)}")
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(p) else steps
    return HolmCorrection(tuple(p.tolist()), tuple(adjusted.tolist()))


def _per_group(
    counts: Float[np.ndarray, "image count"], member: Int[np.ndarray, " image"], num_groups: int
) -> Float[np.ndarray, "group count"]:
    """Sums over the images of each patient."""
    sums = np.zeros((num_groups, counts.shape[1]))
    np.add.at(sums, member, counts)
    return sums


def _gained(
    labels: Int[np.ndarray, " image"],
    first: Float[np.ndarray, "image class"],
    second: Float[np.ndarray, "image class"],
) -> Int[np.ndarray, " image"]:
    """1 where only the second is right, -1 where only the first is."""
    right = [(predicted_classes(scores) == labels).astype(np.int64) for scores in (first, second)]
    return np.asarray(right[1] - right[0])
