"""Is a run still getting better? A verdict from the curve of a probe, by a method that can be said aloud.

1. Noise: how far looks scatter around their neighbours, from pseudo-residuals (Gasser, Sroka and
   Jennen-Steinmetz 1986, "Residual variance and residual pattern in nonlinear regression", Biometrika 73):
   each look against the line through the one before and the one after. A trend does not enter it, and the
   first third of the epochs, where a curve bends most, is left out.
2. Trend: a straight line through the last third of the epochs (at least `MIN_TAIL` looks). The curve is
   *still rising* if that line rises by at least `MIN_RISE` and by more than noise explains (one-sided t test
   at 5 %), and *falling* if the same holds downwards.
3. Otherwise it is *flat since* the earliest look from which on no look (median of three) lies below the mean
   of the last third by more than two standard deviations of the noise, or `MIN_RISE` if that is more.

The interval of a look is not used: it says how well these images stand for all, and as every look is scored
on the same images that part of the error moves all looks together.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from scipy.stats import t as student_t

MIN_LOOKS = 8
"""With fewer it is too early to say."""

MIN_TAIL = 5
"""Looks through which the line of the trend goes, at least."""

TAIL_RATIO = 1 / 3
"""Share of the epochs whose trend decides."""

MIN_RISE = 0.003
"""Over the last third, in units of the metric; less is not worth a longer run even if it is certain."""

CHANCE = 0.05
"""How often a flat curve may be called rising."""

SCORES = ("knn_macro_f1", "knn_auroc", "linear_macro_f1", "linear_auroc")
"""Metrics that say what an encoder is worth; larger is better. A task's curve is their mean at each look."""

State = Literal["too early to say", "still rising", "flat", "falling"]


@dataclass(frozen=True)
class Verdict:
    """What a curve says."""

    state: State
    """Rising, flat, falling, or too few looks."""

    num_looks: int
    """Points of the curve."""

    since_epoch: float | None = None
    """Where flat began, or where the best (median of three) was if falling."""

    rise: float | None = None
    """Of the straight line over the last third, in units of the metric."""

    rise_by_chance: float | None = None
    """What noise alone makes of a flat curve in one of twenty."""

    noise: float | None = None
    """Standard deviation of a look around the curve."""

    def __str__(self) -> str:
        """For people: "still rising", "flat since epoch 40"; with the numbers it rests on."""
        if self.rise is None or self.rise_by_chance is None:
            return f"{self.state} ({self.num_looks} of at least {MIN_LOOKS} looks)"
        since = "" if self.since_epoch is None else f" since epoch {self.since_epoch:.4g}"
        chance = f"chance gives up to {self.rise_by_chance:.3f}"
        return f"{self.state}{since} ({self.rise:+.3f} over the last third; {chance})"

    def record(self) -> dict[str, Any]:
        """For run.json."""
        return {"verdict": str(self), **asdict(self)}


def judge_curve(epochs: Sequence[float], values: Sequence[float]) -> Verdict:
    """The verdict on one curve.

    Args:
        epochs: when was looked, in ascending order and all different; need not be evenly spaced.
        values: what was seen, larger is better.

    Raises:
        ValueError: the two differ in length, epochs do not ascend, or a value is not a finite number.
    """
    x, y = np.asarray(epochs, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.shape != y.shape or (np.diff(x) <= 0).any() or not np.isfinite([*x, *y]).all():
        raise ValueError(f"{len(x)} epochs and {len(y)} values are no curve: epochs ascend, all is finite")
    if len(x) < MIN_LOOKS:
        return Verdict("too early to say", len(x))
    start, bent = _first_of_last(x, TAIL_RATIO, MIN_TAIL), _first_of_last(x, 2 * TAIL_RATIO, MIN_TAIL + 2)
    noise = look_noise(x[bent:], y[bent:])
    late = x[start:] - x[start:].mean()
    spread = float((late**2).sum())
    length = x[-1] - x[start]
    rise = float((late * y[start:]).sum()) / spread * length
    chance = float(student_t.isf(CHANCE, len(x) - bent - 2)) * noise / spread**0.5 * float(length)
    numbers = (float(rise), chance, noise)
    if rise >= max(MIN_RISE, chance):
        return Verdict("still rising", len(x), None, *numbers)
    smooth = np.array([np.median(y[max(0, i - 1) : i + 2]) for i in range(len(y))])
    if -rise >= max(MIN_RISE, chance):
        return Verdict("falling", len(x), float(x[int(smooth.argmax())]), *numbers)
    low = np.flatnonzero(smooth[:start] < y[start:].mean() - max(2 * noise, MIN_RISE))
    first = int(low[-1]) + 1 if len(low) else 0
    return Verdict("flat", len(x), float(x[first]), *numbers)


def look_noise(x: Float64[np.ndarray, " look"], y: Float64[np.ndarray, " look"]) -> float:
    """Standard deviation of looks around a smooth curve, whatever its slope; at least three looks."""
    before = (x[2:] - x[1:-1]) / (x[2:] - x[:-2])
    after = 1 - before
    apart = before * y[:-2] + after * y[2:] - y[1:-1]
    return float(np.sqrt((apart**2 / (before**2 + after**2 + 1)).mean()))


def _first_of_last(x: Float64[np.ndarray, " look"], ratio: float, least: int) -> int:
    """Number of the first look in the last `ratio` of the epochs; at least so many are in it."""
    length = (ratio + 1e-9) * (x[-1] - x[0])  # a look on the border is in, however it was rounded
    return min(int(np.searchsorted(x, x[-1] - length)), len(x) - least)


def judge_run(lines: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The verdict on each watched task, from the lines of a run's `metrics.jsonl`.

    Args:
        lines: those of kind "watch" count; of each task the mean of `SCORES` at a look. A look that lacks one
            of the scores that the task's other looks have is left out, since its mean would be another thing.

    Returns:
        Name of the task to `Verdict.record()`.
    """
    seen: dict[str, dict[float, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        value = line.get("value") if line.get("kind") == "watch" and line.get("metric") in SCORES else None
        if value is not None and np.isfinite(value):
            seen[str(line["task"])][float(line["epoch"])][line["metric"]] = float(value)
    verdicts = {}
    for task, looks in seen.items():
        scores = {name for look in looks.values() for name in look}
        curve = {at: float(np.mean([*look.values()])) for at, look in looks.items() if scores == {*look}}
        verdicts[task] = judge_curve(sorted(curve), [curve[at] for at in sorted(curve)]).record()
    return verdicts
