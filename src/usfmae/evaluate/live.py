"""Scores of an encoder in training: its features are computed once and judged in several ways."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from usfmae.base.input_spec import InputSpec
from usfmae.base.logs import get_logger
from usfmae.engine.devices import PrecisionName
from usfmae.evaluate.features import encode_images
from usfmae.evaluate.protocol import Task
from usfmae.evaluate.statistics import BootstrapConfig, score_with_intervals
from usfmae.models.classifier import PoolName
from usfmae.models.encoder import Encoder

log = get_logger(__name__)

LIVE_BOOTSTRAP = BootstrapConfig(num_resamples=500)
"""Half the usual resamples: fast rather than exact."""

LIVE_METRICS = ("macro_f1", "auroc")
"""What of a classifier is drawn as a curve."""


@dataclass(frozen=True, eq=False)
class Sides:
    """Features of the training and the validation images of a task's first split. Of its test images nothing
    is computed, so their result stays honest however often a curve is looked at."""

    task: Task
    """Where they come from."""

    train: Float32[np.ndarray, "train d"]
    """What is learnt from."""

    train_labels: Int64[np.ndarray, " train"]
    """Classes."""

    val: Float32[np.ndarray, "val d"]
    """What is scored."""

    val_labels: Int64[np.ndarray, " val"]
    """Classes."""

    val_groups: Int64[np.ndarray, " val"]
    """Patients (or clusters), none of which is in training."""

    def lines(
        self,
        prefix: str,
        probabilities: Float64[np.ndarray, "val class"],
        bootstrap: BootstrapConfig = LIVE_BOOTSTRAP,
    ) -> list[dict[str, object]]:
        """A classifier's answers on the validation images as lines for the metrics log: task, metric
        (`prefix`_macro_f1, `prefix`_auroc), value, low, high; none for what is not defined."""
        scored = score_with_intervals(
            self.val_labels, probabilities, self.val_groups, config=bootstrap, positive=self.task.positive
        )
        return [
            {"task": self.task.name, "metric": f"{prefix}_{name}", **scored.metrics[name].record()}
            for name in LIVE_METRICS
            if scored.metrics[name].value is not None
        ]


Judge = Callable[[Sides], list[dict[str, object]]]
"""From features to lines for the metrics log: task, metric, value, perhaps low and high."""


def encode_sides(
    task: Task,
    encoder: Encoder,
    input_spec: InputSpec,
    *,
    pool: PoolName = "mean",
    precision: PrecisionName = "auto",
) -> Sides:
    """Features of both sides by one pass of the encoder.

    Args:
        task: the first of its splits is used.
        encoder: on any device; left as it was found.
        input_spec: how it wants its input.
        pool: how tokens become one vector.
        precision: the fastest number type of the device by default.
    """
    split = task.splits[0]
    images = task.images[np.concatenate([split.train, split.val])]
    features = encode_images(encoder, images, input_spec=input_spec, pool=pool, precision=precision)
    return Sides(
        task=task,
        train=features[: len(split.train)],
        train_labels=task.labels[split.train],
        val=features[len(split.train) :],
        val_labels=task.labels[split.val],
        val_groups=task.group_ids(split.val),
    )


@dataclass(frozen=True, eq=False)
class Live:
    """A live evaluation: one pass of the encoder over the two sides, then every judge."""

    task: Task
    """The first of its splits is used."""

    judges: Sequence[Judge]
    """In the order of their lines."""

    pool: PoolName = "mean"
    """How tokens become one vector."""

    precision: PrecisionName = "auto"
    """Of the encoder."""

    def __call__(self, encoder: Encoder, input_spec: InputSpec) -> list[dict[str, object]]:
        """Lines for the metrics log; none where the encoder gives something else than finite numbers."""
        sides = encode_sides(self.task, encoder, input_spec, pool=self.pool, precision=self.precision)
        if not (np.isfinite(sides.train).all() and np.isfinite(sides.val).all()):
            log.warning("%s is not scored: the encoder's features are not finite numbers", self.task.name)
            return []
        return [line for judge in self.judges for line in judge(sides)]
