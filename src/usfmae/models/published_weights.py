"""The only way from a file that others have published to their encoder, and it is strict.

An adapter knows the names under which a network's tensors were published, what of a file is no encoder and
is dropped with a reason, and what the network wants to see. The shape is read off the tensors; anything
missing, left over or misshapen is an error, so nothing keeps its random start unseen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from usfmae.base.config import make_config
from usfmae.base.errors import WeightsError
from usfmae.base.files import file_sha256
from usfmae.base.input_spec import IMAGENET_INPUT, InputSpec
from usfmae.models.encoders import EncoderName
from usfmae.models.published.beit import BeitEncoder, beit_shape, resample_beit
from usfmae.models.published.names import (
    State,
    clip_names,
    dinov2_names,
    sam_names,
    tinyusfm_names,
    usfm_names,
)
from usfmae.models.published.patched import PatchedConfig, PatchedEncoder
from usfmae.models.published.plain import PlainEncoder, plain_shape, resample_plain
from usfmae.models.published.sam import SamEncoder, resample_sam, sam_shape
from usfmae.models.shipped import unknown_name
from usfmae.models.strict import check_tensors
from usfmae.models.weights import LoadedEncoder, LoadReport, load_encoder, read_state


@dataclass(frozen=True)
class Adapter:
    """How the file of one published encoder becomes a network."""

    title: str
    """What messages call it."""

    names: Callable[[Mapping[str, Tensor]], tuple[State, dict[str, str]]]
    """A file's tensors under our names, and what is dropped with the reason."""

    shape: Callable[[State], PatchedConfig]
    """The shape that tensors under our names belong to; KeyError or ValueError where they are of another
    kind."""

    build: Callable[[Any], PatchedEncoder]
    """A network of that shape."""

    resample: Callable[[State, Any, Any], dict[str, str]]
    """Bring tensors from one shape to that of another input side, in place; name -> how."""

    files: str
    """What files fit, for the hint."""

    input_spec: InputSpec = IMAGENET_INPUT
    """Standardisation as published."""

    image_px: int | None = None
    """Input side where none is asked for; None for that of the file's positions."""


_SAM = Adapter(
    "SAM image encoder",
    sam_names,
    sam_shape,
    SamEncoder,
    resample_sam,
    "segment-anything's sam_vit_*.pth, Hugging Face's SamModel and UltraSam.pth fit",
)
CLIP_INPUT = InputSpec(
    image_px=224,
    channels=3,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
"""As open_clip's constants.py and OpenAI's CLIP have it."""

ADAPTERS: dict[str, Adapter] = {
    "sam": _SAM,
    "ultrasam": _SAM,
    "fetalclip": Adapter(
        "CLIP vision tower",
        clip_names,
        partial(plain_shape, head_dim=64, norm_eps=1e-5),
        PlainEncoder,
        resample_plain,
        "FetalCLIP_weights.pt and other state dicts of open_clip's ViTs fit",
        CLIP_INPUT,
    ),
    "dinov2": Adapter(
        "DINOv2",
        dinov2_names,
        partial(plain_shape, head_dim=64),
        PlainEncoder,
        resample_plain,
        "dinov2_vit*14_pretrain.pth, with registers or without, and Hugging Face's Dinov2Model fit",
        image_px=224,  # of most of its training; its positions are of the last 10,000 steps at 518
    ),
    "usfm": Adapter("USFM", usfm_names, beit_shape, BeitEncoder, resample_beit, "USFM_latest.pth fits"),
    "tinyusfm": Adapter(
        "TinyUSFM",
        tinyusfm_names,
        partial(plain_shape, head_dim=16),  # 12 heads of 16, not the 3 of 64 of other ViT-Ti
        PlainEncoder,
        resample_plain,
        "TinyUSFM.pth fits",
    ),
}
"""By name of the encoder."""


def load_published(
    path: Path, name: EncoderName, *, image_px: int | None = None, drop_path: float = 0.0
) -> LoadedEncoder:
    """Build a published encoder and load it strictly.

    Args:
        path: a .pth, .pt, .bin or .safetensors file with published names.
        name: which encoder.
        image_px: input side wanted; positions are resampled. None for that of the weights.
        drop_path: stochastic depth for training on.

    Raises:
        WeightsError: the file is missing or damaged, or is not of this encoder; or there is no such network
            here (openus).
        SettingError: the patch does not divide `image_px`.
    """
    if name == "openus":
        raise WeightsError(
            "openus is a Vision Mamba (VMamba-S), and its selective scan is not written here: the published "
            "one needs a CUDA device and the package mamba-ssm",
            hint="its own program makes its numbers; usf-mae, ultrasam, usfm, tinyusfm, fetalclip run here",
        )
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file", hint=unknown_name(path))
    if name == "usf-mae":
        return load_encoder(path, image_px=image_px, drop_path=drop_path)
    adapter = ADAPTERS[name]
    state, _ = read_state(path)
    tensors, dropped = adapter.names(state)
    try:
        stored = adapter.shape(tensors)
    except KeyError as error:
        raise WeightsError(
            f"{path}: is no {adapter.title}: has no {error.args[0]}", hint=adapter.files
        ) from error
    except (ValueError, IndexError) as error:
        raise WeightsError(f"{path}: is no {adapter.title} ({error})", hint=adapter.files) from error
    side = image_px or adapter.image_px or stored.image_px
    config = make_config(type(stored), stored.model_dump() | {"image_px": side, "drop_path": drop_path})
    with torch.device("meta"):
        wanted = adapter.build(stored).state_dict()
    check_tensors(path, adapter.title, wanted, tensors, hint=adapter.files)
    encoder = adapter.build(config)
    resized = adapter.resample(tensors, stored, config)
    encoder.load_state_dict(tensors)
    spec = adapter.input_spec.model_copy(update={"image_px": side})
    if config.channels != spec.channels:
        spec = InputSpec(image_px=side, channels=config.channels)
    loaded = tuple(key for key in tensors if key not in resized)
    return LoadedEncoder(encoder.eval(), spec, LoadReport(loaded, resized, dropped), file_sha256(path))
