"""Nearest neighbours while an encoder is being trained: a curve that says when to stop."""

from dataclasses import dataclass

import numpy as np

from usfmae.base.input_spec import InputSpec
from usfmae.evaluate.features import encode_images
from usfmae.evaluate.frozen import KnnConfig
from usfmae.evaluate.knn import knn_probabilities
from usfmae.evaluate.protocol import Task
from usfmae.evaluate.statistics import BootstrapConfig, score_with_intervals
from usfmae.models.vit import VisionTransformer

LIVE_CONFIG = KnnConfig(precision="auto", bootstrap=BootstrapConfig(num_resamples=500))
"""Fast rather than exact: the fastest number type, half the resamples."""


@dataclass(frozen=True, eq=False)
class LiveKnn:
    """Training images vote on validation images.

    Test images of the split are not touched, so its result stays honest however often the curve is looked at.
    Cost: one pass of the encoder over the two sides.
    """

    task: Task
    """The first of its splits is used."""

    config: KnnConfig = LIVE_CONFIG
    """Neighbours, pooling, intervals; the encoder's shape is not read from it."""

    def __call__(self, encoder: VisionTransformer, input_spec: InputSpec) -> list[dict[str, object]]:
        """Lines for the metrics log: task, metric (knn_macro_f1, knn_auroc), value, low, high."""
        task, split, config = self.task, self.task.splits[0], self.config
        sides = np.concatenate([split.train, split.val])
        features = encode_images(
            encoder, task.images[sides], input_spec=input_spec, pool=config.pool, precision=config.precision
        )
        bank, queries = features[: len(split.train)], features[len(split.train) :]
        votes = knn_probabilities(
            bank,
            task.labels[split.train],
            queries,
            num_classes=len(task.classes),
            k=config.k,
            temperature=config.temperature,
        )
        scored = score_with_intervals(
            task.labels[split.val],
            votes,
            task.group_ids(split.val),
            config=config.bootstrap,
            positive=task.positive,
        )
        lines: list[dict[str, object]] = []
        for name in ("macro_f1", "auroc"):
            interval = scored.metrics[name]
            if interval.value is not None:
                lines.append({"task": task.name, "metric": f"knn_{name}", **interval.record()})
        return lines
