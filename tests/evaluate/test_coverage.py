"""Few experiments with fixed seeds; benchmarks/coverage.py has a thousand and says what to expect."""

import numpy as np
import pytest

from usfmae.evaluate.delong import delong_test
from usfmae.evaluate.metrics import score
from usfmae.evaluate.statistics import BootstrapConfig, score_with_intervals

NUM_EXPERIMENTS = 200


def drawn(num_patients, seed):
    """The first setting of the benchmark: two classes, 1 to 3 images of a patient, 60 % of scatter shared."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_patients), rng.integers(1, 4, num_patients))
    labels = (rng.random(num_patients) < 0.32).astype(int)[groups]
    shared = rng.normal(size=(num_patients, 2))[groups] * np.sqrt(0.6)
    own = rng.normal(size=(len(groups), 2)) * np.sqrt(0.4)
    scores = np.exp(1.1 * np.eye(2)[labels] + shared + own)
    return labels, scores / scores.sum(axis=1, keepdims=True), groups


@pytest.fixture(scope="module")
def experiments():
    """The truth, and by metric the intervals over patients, over images and by DeLong's variance."""
    truth = score(*drawn(100_000, 0)[:2])
    found = {"macro_f1": [], "auroc": [], "macro_f1 over images": [], "auroc over images": [], "delong": []}
    for seed in range(1, NUM_EXPERIMENTS + 1):
        labels, probabilities, groups = drawn(200, seed)
        config = BootstrapConfig(num_resamples=300, seed=seed)
        grouped = score_with_intervals(labels, probabilities, groups, config=config).metrics
        careless = score_with_intervals(labels, probabilities, np.arange(len(labels)), config=config).metrics
        for metric in ("macro_f1", "auroc"):
            found[metric].append(grouped[metric])
            found[f"{metric} over images"].append(careless[metric])
        found["delong"].append(delong_test(labels, probabilities, probabilities, groups).first)
    return truth, found


@pytest.mark.parametrize(
    ("metric", "intervals"), [("macro_f1", "macro_f1"), ("auroc", "auroc"), ("auroc", "delong")]
)
def test_intervals_over_patients_hold_the_truth_about_95_times_in_100(experiments, metric, intervals):
    truth, found = experiments
    held = np.mean([interval.low <= truth[metric] <= interval.high for interval in found[intervals]])
    assert 0.89 <= held <= 0.985  # 200 experiments of 0.94 scatter by 0.017


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_intervals_over_images_are_too_narrow(experiments, metric):
    truth, found = experiments
    held = np.mean(
        [interval.low <= truth[metric] <= interval.high for interval in found[f"{metric} over images"]]
    )
    assert held < 0.90
