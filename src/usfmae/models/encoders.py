"""Encoders by name: the ViT that is pretrained here, and the networks it is compared with."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from pydantic import Field
from torch import nn

from usfmae.base.config import Config, make_config
from usfmae.models.cnn.convnext import ConvNeXtTiny
from usfmae.models.cnn.densenet import DenseNet121
from usfmae.models.cnn.efficientnet_lite import EfficientNetLite0
from usfmae.models.cnn.resnet import ResNet50
from usfmae.models.cnn.vgg import Vgg19
from usfmae.models.encoder import ConvolutionalEncoder, Encoder
from usfmae.models.published.beit import BeitConfig, BeitEncoder
from usfmae.models.published.patched import PatchedConfig, PatchedEncoder
from usfmae.models.published.plain import PlainConfig, PlainEncoder
from usfmae.models.published.sam import SamConfig, SamEncoder
from usfmae.models.vit import VisionTransformer, ViTConfig

CnnName = Literal["resnet-50", "vgg-19", "vgg-19-bn", "densenet-121", "convnext-tiny", "efficientnet-lite0"]
PublishedName = Literal["usf-mae", "sam", "ultrasam", "fetalclip", "dinov2", "usfm", "tinyusfm", "openus"]
EncoderName = Literal["vit", CnnName, PublishedName]
CNN_NAMES: tuple[str, ...] = get_args(CnnName)
PUBLISHED_NAMES: tuple[str, ...] = get_args(PublishedName)
"""Encoders that others have published; they come from a file, never from a random start."""
ENCODER_NAMES: tuple[str, ...] = ("vit", *CNN_NAMES, *PUBLISHED_NAMES)

_BUILD: dict[str, Callable[["CnnConfig"], ConvolutionalEncoder]] = {
    "resnet-50": lambda c: ResNet50(c.channels),
    "vgg-19": lambda c: Vgg19(c.channels, batch_norm=False),
    "vgg-19-bn": lambda c: Vgg19(c.channels, batch_norm=True),
    "densenet-121": lambda c: DenseNet121(c.channels),
    "convnext-tiny": lambda c: ConvNeXtTiny(c.channels, drop_path=c.drop_path),
    "efficientnet-lite0": lambda c: EfficientNetLite0(c.channels, drop_path=c.drop_path),
}


_PATCHED: dict[str, tuple[type[PatchedConfig], Callable[[Any], PatchedEncoder]]] = {
    "sam": (SamConfig, SamEncoder),
    "plain": (PlainConfig, PlainEncoder),
    "beit": (BeitConfig, BeitEncoder),
}
"""The published transformers by the name of their kind in a record; several encoders can be of one kind."""


class CnnConfig(Config):
    """Shape of a convolutional encoder; any image size will do."""

    name: CnnName
    """Which network."""

    channels: int = Field(default=1, ge=1)
    """Input channels: 1 for grey, 3 for ImageNet weights."""

    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Chance to skip the last block; ResNet, VGG and DenseNet are not made for it and take no notice."""


def build_cnn(config: CnnConfig) -> ConvolutionalEncoder:
    """A convolutional encoder with torch's own random start."""
    encoder = _BUILD[config.name](config)
    encoder.config = config
    return encoder


def start_cnn(encoder: ConvolutionalEncoder, generator: torch.Generator) -> None:
    """A random start drawn from `generator` in module order: normal with variance 2 / fan out for
    convolutions (He et al. 2015, "Delving deep into rectifiers"), 0.02 for linear maps and all of ConvNeXt
    (Liu et al. 2022, appendix A.1), zero biases, unit norms."""
    small = isinstance(encoder, ConvNeXtTiny)
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d) and not small:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def encoder_record(encoder: Encoder) -> dict[str, Any]:
    """What `build_encoder` needs to build an encoder of the same shape, for the metadata of a file."""
    if isinstance(encoder, VisionTransformer):
        return {"vit": encoder.config.model_dump(mode="json")}
    if isinstance(encoder, PatchedEncoder):
        kind = next(kind for kind, (shape, _) in _PATCHED.items() if type(encoder.config) is shape)
        return {kind: encoder.config.model_dump(mode="json")}
    assert isinstance(encoder, ConvolutionalEncoder)
    return {"cnn": encoder.config.model_dump(mode="json")}


def build_encoder(record: dict[str, Any]) -> Encoder:
    """An encoder of the shape that `encoder_record` wrote.

    Raises:
        KeyError: the record is of no known kind.
        SettingError: its shape cannot be.
    """
    if "cnn" in record:
        return build_cnn(make_config(CnnConfig, record["cnn"]))
    for kind, (shape, build) in _PATCHED.items():
        if kind in record:
            return build(make_config(shape, record[kind]))
    return VisionTransformer(make_config(ViTConfig, record["vit"]))
