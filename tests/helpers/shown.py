"""A network that keeps what a pretraining step shows it."""

import torch
from torch import nn

from usfmae.base.input_spec import GREY_MEAN, GREY_STD
from usfmae.models.mae import MaeOutput
from usfmae.pretrain.step import PretrainStep


class Shown(nn.Module):
    """Keeps images in grey levels, what was hidden, and the context; projects images to their pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images, hiding, *context):
        self.grey = (images * GREY_STD + GREY_MEAN) * 255
        self.hiding = hiding
        self.context = context
        return MaeOutput(loss=self.weight.sum(), prediction=images[:, 0], projected=images.flatten(1))


def shown(config, batch) -> Shown:
    """What a network sees of a batch."""
    module = Shown()
    PretrainStep(config.input_spec, config)(module, batch)
    return module
