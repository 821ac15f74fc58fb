"""The file in which a trained segmenter on a vision transformer travels."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from usfmae.base.config import make_config
from usfmae.base.errors import SettingError, WeightsError
from usfmae.base.files import file_sha256, write_by
from usfmae.base.input_spec import InputSpec
from usfmae.models.segmenter import Segmenter, ViTFeatures
from usfmae.models.vit import VisionTransformer, ViTConfig

_FORMAT = "usfmae segmenter 1"
"""The one name in the file's metadata, as in a classifier's: equal networks give equal files."""


@dataclass(frozen=True)
class LoadedSegmenter:
    """A segmenter ready to use."""

    network: Segmenter
    """On the CPU, in evaluation mode."""

    structures: tuple[str, ...]
    """Names of its outputs but the first, which is the outside."""

    input_spec: InputSpec
    """What it wants to see."""

    sha256: str
    """Hash of the file."""


def save_segmenter(
    path: Path, network: Segmenter, *, structures: tuple[str, ...], input_spec: InputSpec
) -> None:
    """Write a segmenter as safetensors; shape, structures and input travel in the metadata.

    Raises:
        ValueError: its encoder is no vision transformer.
    """
    if not isinstance(network.encoder, ViTFeatures):
        raise ValueError(f"a segmenter on {type(network.encoder).__name__} has no file format yet")
    about = {
        "vit": network.encoder.vit.config.model_dump(mode="json"),
        "input_spec": input_spec.model_dump(mode="json"),
        "structures": structures,
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_by(path, lambda temporary: save_file(state, temporary, metadata={_FORMAT: json.dumps(about)}))


def load_segmenter(path: Path) -> LoadedSegmenter:
    """Read what `save_segmenter` wrote, every tensor of it.

    Raises:
        WeightsError: missing, damaged, or no segmenter of ours.
    """
    if not path.exists():
        raise WeightsError(f"{path}: no such segmenter file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if _FORMAT not in metadata:
            raise WeightsError(f"{path}: is no segmenter of usfmae", hint="evaluate segment writes one")
        about = json.loads(metadata[_FORMAT])
        structures = tuple(about["structures"])
        spec = make_config(InputSpec, about["input_spec"])
        encoder = ViTFeatures(VisionTransformer(make_config(ViTConfig, about["vit"])))
        network = Segmenter(encoder, len(structures) + 1, channels=spec.channels, generator=torch.Generator())
        network.load_state_dict(load_file(path))
    except (SafetensorError, SettingError, RuntimeError, KeyError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as a segmenter ({error})") from error
    return LoadedSegmenter(network.eval(), structures, spec, file_sha256(path))
