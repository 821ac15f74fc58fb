"""What do more pictures of a patient and columns of a table add? BUS-BRA.

Frozen features, logistic regressions with the penalty chosen among training patients, the test side of each
fold pooled. Per image: pictures alone, with device and side, with BI-RADS too (a physician's reading of the
same picture), each as features and as log-odds, and the tables alone; differences to pictures alone are
paired over draws of patients. Per patient: the mean, the largest and the product of the images' answers, a
regression on mean features, gated attention; differences to the mean of answers. Histology is shown to be
refused.

Cost: about 3 minutes a fold on one core for ViT-Ti at 64 px.
Run:  USFMAE_DATA=... python benchmarks/fusion.py [--weights FILE] [--folds 2 3 4 5] [--threads 1]
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from usfmae.base.errors import DatasetError
from usfmae.engine.devices import set_up_cpu
from usfmae.evaluate.attention_pool import fit_attention_pool
from usfmae.evaluate.features import encode_images
from usfmae.evaluate.fusion import ImageAs, fit_fusion
from usfmae.evaluate.patient_fusion import Fusion, bags_of, fuse_probabilities, mean_features
from usfmae.evaluate.protocol import TaskConfig, load_task
from usfmae.evaluate.start import open_start, shown_to
from usfmae.evaluate.statistics import BootstrapConfig, Interval, paired_difference, score_with_intervals
from usfmae.evaluate.table_columns import Columns
from usfmae.models.vit import ViTConfig

DEVICE = Columns(categorical=("Device", "Side"))
READ = Columns(categorical=("Device", "Side", "BIRADS"))
IMAGE_ONLY = "pictures alone"
WAYS: dict[str, tuple[Columns | None, ImageAs, bool]] = {
    IMAGE_ONLY: (None, "features", True),
    "+ device, side (features)": (DEVICE, "features", True),
    "+ device, side (log-odds)": (DEVICE, "log-odds", True),
    "+ device, side, BI-RADS (features)": (READ, "features", True),
    "+ device, side, BI-RADS (log-odds)": (READ, "log-odds", True),
    "device, side alone": (DEVICE, "features", False),
    "device, side, BI-RADS alone": (READ, "features", False),
}
"""Columns, how pictures enter, whether they do."""

RULES: tuple[Fusion, ...] = ("mean", "max", "log-odds")
METRICS = ("auroc", "macro_f1")


def shown(part: Interval) -> str:
    """A value with its bounds."""
    return (
        f"{part.value:.3f} ({part.low:.3f} to {part.high:.3f})"
        if part.low is not None
        else f"{part.value:.3f}"
    )


def table(
    level: str,
    answers: dict[str, np.ndarray],
    baseline: str,
    labels: np.ndarray,
    groups: np.ndarray,
    config: BootstrapConfig,
) -> dict[str, float | None]:
    """Print metrics and paired differences, and give the figures."""
    print(f"\n| {level} | {' | '.join(METRICS)} | {' | '.join(f'{one} - {baseline}' for one in METRICS)} |")
    print("|---" * (1 + 2 * len(METRICS)) + "|")
    figures = {}
    for name, found in answers.items():
        scored = score_with_intervals(labels, found, groups, config=config).metrics
        apart = paired_difference(labels, answers[baseline], found, groups, config=config)
        cells = [shown(scored[metric]) for metric in METRICS]
        cells += ["" if name == baseline else shown(apart[metric]) for metric in METRICS]
        print(f"| {name} | {' | '.join(cells)} |")
        figures[f"{level}: {name}"] = scored["auroc"].value
    return figures


def main() -> None:
    """Fit every way on every fold, then print two tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path, help="file or run folder; a random start without")
    parser.add_argument("--folds", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--image-px", type=int, default=64, help="input side of a random start")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    set_up_cpu(chosen.threads)
    weights = chosen.weights or "scratch"
    fit, crop = shown_to(weights)
    start = open_start(weights, network=ViTConfig(size="ti", image_px=chosen.image_px), fit=fit, crop=crop)
    task = load_task(
        "bus-bra",
        Path(os.environ["USFMAE_DATA"]) / "bus-bra",
        config=TaskConfig(
            size_px=max(start.input_spec.size_px), folds=tuple(chosen.folds), fit=fit, crop=crop
        ),
    )
    features = encode_images(start.encoder, task.images, input_spec=start.input_spec)
    rows = [item.extras for item in task.items]
    patients = [item.group for item in task.items]
    num_classes = len(task.classes)

    by_image: dict[str, list[np.ndarray]] = {name: [] for name in WAYS}
    by_patient: dict[str, list[np.ndarray]] = {}
    bag_labels: list[np.ndarray] = []
    for split in task.splits:
        train, test = split.train, split.test
        known = [patients[one] for one in train.tolist()]
        told = [rows[one] for one in train.tolist()]
        for name, (columns, image_as, with_pictures) in WAYS.items():
            used = features if with_pictures else features[:, :0]
            model = fit_fusion(
                used[train], told, task.labels[train], known,
                num_classes=num_classes, columns=columns, image_as=image_as,
            )  # fmt: skip
            by_image[name].append(model.probabilities(used[test], [rows[one] for one in test.tolist()]))
        bags = bags_of([patients[one] for one in test.tolist()], task.labels[test], positive=task.positive)
        learnt = bags_of(known, task.labels[train], positive=task.positive)
        bag_labels.append(bags.labels)
        answers = {
            f"{rule} of answers": fuse_probabilities(by_image[IMAGE_ONLY][-1], bags, how=rule)
            for rule in RULES
        }
        none = [{}] * len(learnt)
        on_means = fit_fusion(
            mean_features(features[train], learnt), none, learnt.labels, learnt.names, num_classes=num_classes
        )
        answers["regression on mean features"] = on_means.probabilities(
            mean_features(features[test], bags), [{}] * len(bags)
        )
        pool = fit_attention_pool(features[train], learnt, num_classes=num_classes)
        answers["gated attention"] = pool.probabilities(features[test], bags)
        for name, found in answers.items():
            by_patient.setdefault(name, []).append(found)

    tested = np.concatenate([split.test for split in task.splits])
    config = BootstrapConfig(num_resamples=chosen.resamples)
    print(
        f"{start.init} encoder; {len(tested)} test images "
        f"of {len(np.unique(task.group_ids(tested)))} patients"
    )
    for note in READ.notes():
        print(f"note: {note}")
    figures = table(
        "per image", {name: np.concatenate(parts) for name, parts in by_image.items()}, IMAGE_ONLY,
        task.labels[tested], task.group_ids(tested), config,
    )  # fmt: skip
    whose = np.concatenate(bag_labels)
    figures |= table(
        "per patient", {name: np.concatenate(parts) for name, parts in by_patient.items()}, "mean of answers",
        whose, np.arange(len(whose)), config,
    )  # fmt: skip
    try:
        fit_fusion(
            features[tested], [rows[one] for one in tested.tolist()], task.labels[tested],
            [patients[one] for one in tested.tolist()], num_classes=num_classes,
            columns=Columns(categorical=("Histology",)),
        )  # fmt: skip
    except DatasetError as error:
        print(f"\nrefused: {error.message}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items() if value is not None}))


if __name__ == "__main__":
    main()
