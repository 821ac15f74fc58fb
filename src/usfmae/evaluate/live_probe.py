"""What a linear classifier reads off an encoder in training, and how many directions its features use."""

from dataclasses import dataclass

import numpy as np

from usfmae.base.input_spec import InputSpec
from usfmae.evaluate.feature_rank import effective_rank
from usfmae.evaluate.linear_probe import fit_fixed_probe
from usfmae.evaluate.live import Live, Sides
from usfmae.evaluate.live_knn import KnnJudge
from usfmae.evaluate.protocol import Task
from usfmae.models.encoder import Encoder


def judge_linearly(sides: Sides) -> list[dict[str, object]]:
    """Balanced logistic regression, fitted to the training images and scored on the validation images.

    Its penalty is fixed (`linear_probe.DEFAULT_C`): one fit per look instead of 31, and a curve whose penalty
    jumped from look to look would be harder to read. Patients are on one side only, as in the split.
    `usfmae evaluate linear-probe`, which chooses its penalty inside the training images, may give a little
    more.

    Returns:
        Lines for the metrics log: task, metric (linear_macro_f1, linear_auroc), value, low, high.
    """
    probe = fit_fixed_probe(
        sides.train, sides.train_labels, num_classes=len(sides.task.classes), balanced=True
    )
    return sides.lines("linear", probe.probabilities(sides.val))


def judge_rank(sides: Sides) -> list[dict[str, object]]:
    """How many directions the features of all images use: falls towards 1 when an encoder collapses.

    Returns:
        One line for the metrics log: task, metric (feature_rank), value.
    """
    rank = effective_rank(np.concatenate([sides.train, sides.val]))
    return [{"task": sides.task.name, "metric": "feature_rank", "value": rank}]


@dataclass(frozen=True, eq=False)
class LiveProbe:
    """Nearest neighbours, linear probe and feature rank from one pass of the encoder over a labelled set.

    Test images of the split are not touched.
    """

    task: Task
    """The first of its splits is used."""

    def __call__(self, encoder: Encoder, input_spec: InputSpec) -> list[dict[str, object]]:
        """Lines for the metrics log: knn_macro_f1, knn_auroc, linear_macro_f1, linear_auroc, feature_rank."""
        return Live(self.task, [KnnJudge(), judge_linearly, judge_rank])(encoder, input_spec)
