"""The ways to use an encoder for classes, by name: what commands and plans of comparison offer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from usfmae.evaluate.finetune import finetune
from usfmae.evaluate.finetune_config import FinetuneConfig, finetune_defaults
from usfmae.evaluate.frozen import (
    AttentiveProbeConfig,
    KnnConfig,
    LinearProbeConfig,
    evaluate_attentive_probe,
    evaluate_knn,
    evaluate_linear_probe,
)
from usfmae.evaluate.start import Weights
from usfmae.models.encoders import EncoderName

MethodName = Literal["knn", "linear-probe", "attentive-probe", "finetune"]

MethodConfig = KnnConfig | LinearProbeConfig | AttentiveProbeConfig | FinetuneConfig


@dataclass(frozen=True)
class Method:
    """One way to use an encoder."""

    evaluate: Callable[..., dict[str, Any]]
    """As `frozen.evaluate_knn` is called; makes a result's folder."""

    defaults: Callable[[Weights, EncoderName], MethodConfig]
    """Settings to start from; a random start may need others, and so may another network."""

    is_frozen: bool = True
    """Whether the encoder stays as it is, so that its features can be shared (`FeatureStore`)."""


METHODS: dict[MethodName, Method] = {
    "knn": Method(evaluate_knn, lambda *_: KnnConfig()),
    "linear-probe": Method(evaluate_linear_probe, lambda *_: LinearProbeConfig()),
    "attentive-probe": Method(evaluate_attentive_probe, lambda *_: AttentiveProbeConfig()),
    "finetune": Method(finetune, finetune_defaults, is_frozen=False),
}
"""The cheap ones first."""
