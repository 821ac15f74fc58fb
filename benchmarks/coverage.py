"""Do 95 % intervals hold the truth 95 times in 100?

An experiment draws patients with 1 to 3 images each, whose scores share a shift of the patient's own, and
asks for intervals as `evaluate` does. The truth is the metric over 400,000 patients. For each setting: how
often the interval of macro-F1 and of AUROC held the truth, lay below it and above it, and how wide it was; by
the bootstrap over patients (percentile and bca), by DeLong's variance over patients (AUROC only), and by the
bootstrap over images, which is what ignoring the patients would claim.

Run:  python benchmarks/coverage.py [--experiments 1000] [--resamples 500] [--only 1 2 ...]
"""

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from usfmae.evaluate.delong import delong_test
from usfmae.evaluate.metrics import score
from usfmae.evaluate.statistics import BootstrapConfig, Interval, score_with_intervals

METRICS = ("macro_f1", "auroc")
TRUTH_PATIENTS = 400_000
WANTED = (0.93, 0.97)


@dataclass(frozen=True)
class Setting:
    """A kind of dataset and a classifier on it."""

    name: str
    num_patients: int
    shares: tuple[float, ...]
    """How many patients are of each class."""

    skill: float
    """By how much the score of the true class is raised, where the scatter of one image is about 1."""

    shared_ratio: float
    """Share of the scatter's variance that images of one patient have in common."""


SETTINGS = (
    Setting("two classes, 200 patients", 200, (0.68, 0.32), 1.1, 0.6),
    Setting("two classes, 200 patients, better", 200, (0.68, 0.32), 1.5, 0.6),
    Setting("four classes, 200 patients", 200, (0.4, 0.3, 0.2, 0.1), 1.5, 0.6),
    Setting("two classes, 50 patients", 50, (0.68, 0.32), 1.5, 0.6),
    Setting("two classes, 200 patients, near 1", 200, (0.68, 0.32), 3.0, 0.6),
)
"""The first three are what is wanted; the others say where it ends: few patients, an AUROC near 1."""


def drawn(
    setting: Setting, num_patients: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " image"], Float[np.ndarray, "image class"], Int[np.ndarray, " image"]]:
    """Labels, probabilities and patients of one experiment."""
    num_classes = len(setting.shares)
    groups = np.repeat(np.arange(num_patients), rng.integers(1, 4, num_patients))
    labels = rng.choice(num_classes, num_patients, p=setting.shares)[groups]
    shared = rng.normal(size=(num_patients, num_classes))[groups] * np.sqrt(setting.shared_ratio)
    own = rng.normal(size=(len(groups), num_classes)) * np.sqrt(1 - setting.shared_ratio)
    scores = np.exp(setting.skill * np.eye(num_classes)[labels] + shared + own)
    return labels, scores / scores.sum(axis=1, keepdims=True), groups


def intervals(setting: Setting, seed: int, resamples: int) -> dict[tuple[str, str], Interval]:
    """All intervals of one experiment, by metric and method."""
    rng = np.random.default_rng([1, seed])
    labels, probabilities, groups = drawn(setting, setting.num_patients, rng)
    found = {}
    for method in ("percentile", "bca"):
        config = BootstrapConfig(num_resamples=resamples, method=method, seed=seed)
        scored = score_with_intervals(labels, probabilities, groups, config=config)
        found |= {(metric, method): scored.metrics[metric] for metric in METRICS}
    config = BootstrapConfig(num_resamples=resamples, method="percentile", seed=seed)
    careless = score_with_intervals(labels, probabilities, np.arange(len(labels)), config=config)
    found |= {(metric, "over images"): careless.metrics[metric] for metric in METRICS}
    found["auroc", "delong"] = delong_test(labels, probabilities, probabilities, groups).first
    return found


def cover(setting: Setting, experiments: int, resamples: int, figures: dict[str, float]) -> None:
    """Print one setting's table."""
    start = time.monotonic()
    labels, probabilities, _ = drawn(setting, TRUTH_PATIENTS, np.random.default_rng(0))
    truth = score(labels, probabilities)
    runs = [intervals(setting, seed, resamples) for seed in range(experiments)]
    named = ", ".join(f"{metric} {truth[metric]:.4f}" for metric in METRICS)
    print(f"\n{setting.name}: {named}; {experiments} experiments in {time.monotonic() - start:.0f} s")
    print(f"{'metric':10}{'method':14}{'holds':>8}{'below':>8}{'above':>8}{'width':>8}{'none':>6}")
    for metric, method in sorted({key for run in runs for key in run}):
        bounds = [(run[metric, method].low, run[metric, method].high) for run in runs]
        known = np.array([(low, high) for low, high in bounds if low is not None])
        below, above = np.mean(known[:, 1] < truth[metric]), np.mean(known[:, 0] > truth[metric])
        holds, width = 1 - below - above, np.mean(known[:, 1] - known[:, 0])
        none = len(bounds) - len(known)
        print(f"{metric:10}{method:14}{holds:8.3f}{below:8.3f}{above:8.3f}{width:8.3f}{none:6}", flush=True)
        figures[f"{setting.name}: {metric}, {method}"] = round(float(holds), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--only", type=int, nargs="+", default=range(1, len(SETTINGS) + 1))
    args = parser.parse_args()
    figures: dict[str, float] = {}
    chosen = [SETTINGS[number - 1] for number in args.only]
    for setting in chosen:
        cover(setting, args.experiments, args.resamples, figures)
    names = [setting.name for setting in chosen if setting in SETTINGS[:3]]
    wanted = [figures[f"{name}: {metric}, bca"] for name in names for metric in METRICS]
    verdict = all(WANTED[0] <= value <= WANTED[1] for value in wanted)
    print(json.dumps({**figures, "experiments": args.experiments, "as_wanted": verdict}))


if __name__ == "__main__":
    main()
