"""A classifier that begins where a linear probe of its encoder ends.

A head that starts at zero sends its encoder random directions until it has learnt something, which few labels
and few steps may never allow, and by then features have been bent. Fitting it on the frozen features first
gives the better network on new images (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution", sec. 3.3: LP-FT).
"""

from typing import Any

import numpy as np
import torch

from usfmae.base.input_spec import InputSpec
from usfmae.datasets.splits import Split
from usfmae.evaluate.features import encode_images
from usfmae.evaluate.linear_probe import LinearProbe, fit_linear_probe
from usfmae.evaluate.protocol import Task
from usfmae.models.classifier import Classifier

NEVER = -10.0
"""Logit of a class that no training image has, less that of the rest."""


def start_at_probe(
    module: Classifier, task: Task, split: Split, *, input_spec: InputSpec, balanced: bool, seed: int
) -> dict[str, Any]:
    """Fit a linear probe on the training images, whole and as they are, and put it into `module`.

    Args:
        module: its classifier is replaced; the encoder stays as it is.
        task: images and labels.
        split: its training images are learnt from; the penalty is chosen inside them.
        input_spec: what the encoder sees.
        balanced: let every class weigh the same.
        seed: of the parts of the cross-validation.

    Returns:
        What `LinearProbe.record` tells, for the record of the split.
    """
    learnt = task.learnt_from(split)
    features = encode_images(module.encoder, task.images[learnt], input_spec=input_spec, pool=module.pool)
    probe = fit_linear_probe(
        features,
        task.labels[learnt],
        [task.items[index].group for index in learnt.tolist()],
        num_classes=len(task.classes),
        balanced=balanced,
        seed=seed,
    )
    put_probe(module, probe)
    return probe.record()


def put_probe(module: Classifier, probe: LinearProbe) -> None:
    """Make the head say what the probe says: the same probabilities, to single precision.

    Args:
        module: with as many classes as the probe was fitted for.
        probe: a regression of two classes has one column, the log-odds of the second; the head gets half of
            it for each, with opposite signs. Classes without training images get no weights.
    """
    model = probe.model
    weights, bias = model.weights, model.bias
    if len(model.classes) == 2:
        weights, bias = np.concatenate([-weights, weights], axis=1) / 2, np.array([-bias[0], bias[0]]) / 2
    head = module.classifier
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(NEVER)
        head.weight[model.classes] = torch.from_numpy(weights.T).to(head.weight)
        head.bias[model.classes] = torch.from_numpy(bias).to(head.bias)
