"""Running moments of batch norms, taken anew from the weights as they are.

While a network learns, a batch norm keeps a moving average of the mean and variance of its batches, and that
is what a test image meets. Networks from ImageNet keep 99 % of it in a step: after 150 steps on a few hundred
ultrasound images a fifth of what is tested with are still the moments of photographs. And a moving average of
weights (`ema`) has no moments of its own. So when training has ended the moments are the plain mean over some
training batches ("precise batch norm"; Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", sec. 3).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def has_moments(module: nn.Module) -> bool:
    """Whether there is a batch norm with running moments in it."""
    return bool(_norms(module))


@torch.no_grad()
def settle_moments(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running moments of every batch norm to their mean over `batches`; nothing else changes.

    What is random while training (skipped blocks) is off meanwhile. A norm that `batches` never reach keeps
    nothing: mean 0, variance 1.

    Args:
        module: any network.
        batches: inputs on its device, each of the size that it was trained with, at least one.
    """
    norms = _norms(module)
    was_training = {one: one.training for one in module.modules()}
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean over batches
        norm.train()
    try:
        for images in batches:
            module(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for one, training in was_training.items():
            one.training = training


@contextmanager
def settled_moments(module: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """Within, the running moments of every batch norm are their mean over `batches`; then as they were.

    Args:
        module: any network.
        batches: as for `settle_moments`.
    """
    before = [
        (norm, {name: value.clone() for name, value in norm.named_buffers()}) for norm in _norms(module)
    ]
    try:
        settle_moments(module, batches)
        yield
    finally:
        for norm, buffers in before:
            for name, value in buffers.items():
                norm.get_buffer(name).copy_(value)


def _norms(module: nn.Module) -> list[_BatchNorm]:
    found = (one for one in module.modules() if isinstance(one, _BatchNorm))
    return [norm for norm in found if norm.track_running_stats]
