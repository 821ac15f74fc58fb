"""Nearest neighbours while an encoder is being trained: a curve that says when to stop."""

from dataclasses import dataclass

from usfmae.base.input_spec import InputSpec
from usfmae.evaluate.frozen import KnnConfig
from usfmae.evaluate.knn import knn_probabilities
from usfmae.evaluate.live import LIVE_BOOTSTRAP, Live, Sides
from usfmae.evaluate.protocol import Task
from usfmae.models.encoder import Encoder

LIVE_CONFIG = KnnConfig(precision="auto", bootstrap=LIVE_BOOTSTRAP)
"""Fast rather than exact: the fastest number type, half the resamples."""


@dataclass(frozen=True)
class KnnJudge:
    """Training images vote on validation images."""

    config: KnnConfig = LIVE_CONFIG
    """Neighbours and intervals; nothing else is read from it."""

    def __call__(self, sides: Sides) -> list[dict[str, object]]:
        """Lines for the metrics log: task, metric (knn_macro_f1, knn_auroc), value, low, high."""
        votes = knn_probabilities(
            sides.train,
            sides.train_labels,
            sides.val,
            num_classes=len(sides.task.classes),
            k=self.config.k,
            temperature=self.config.temperature,
        )
        return sides.lines("knn", votes, self.config.bootstrap)


@dataclass(frozen=True, eq=False)
class LiveKnn:
    """Nearest neighbours alone.

    Test images of the split are not touched, so its result stays honest however often the curve is looked at.
    Cost: one pass of the encoder over the two sides.
    """

    task: Task
    """The first of its splits is used."""

    config: KnnConfig = LIVE_CONFIG
    """Neighbours, pooling, intervals; the encoder's shape is not read from it."""

    def __call__(self, encoder: Encoder, input_spec: InputSpec) -> list[dict[str, object]]:
        """Lines for the metrics log: task, metric (knn_macro_f1, knn_auroc), value, low, high."""
        judges = [KnnJudge(self.config)]
        live = Live(self.task, judges, pool=self.config.pool, precision=self.config.precision)
        return live(encoder, input_spec)
