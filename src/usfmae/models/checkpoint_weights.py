"""Encoders in the checkpoints of pretraining: of a run that ended early or is still going.

runs/a/run.json                        shape, input, whether an average of the weights is kept
runs/a/checkpoints/step_00000600/
    state.json                         SHA-256 of each file beside it
    model.safetensors, optimizer.safetensors, or shard-*.safetensors of a network in pieces
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_pieces

from usfmae.base.config import make_config
from usfmae.base.errors import FolderError, WeightsError
from usfmae.base.files import file_sha256, read_json
from usfmae.base.input_spec import InputSpec
from usfmae.base.logs import get_logger
from usfmae.models.encoders import CnnConfig
from usfmae.models.vit import ViTConfig

log = get_logger(__name__)
_ENCODER = "encoder."
"""Prefix of the encoder's tensors in a checkpoint."""

_STATE, _MODEL, _RUN = "state.json", "model.safetensors", "run.json"
_IN_SHARDS = "model/"
"""Prefix, in shards, of what a whole checkpoint has in `_MODEL`."""


@dataclass(frozen=True)
class CheckpointWeights:
    """The network of a checkpoint."""

    sha256: str
    """Of its state.json, or of model.safetensors where that was asked for."""

    config: ViTConfig | CnnConfig
    """Shape of the encoder."""

    input_spec: InputSpec
    """What the encoder wants to see."""

    tensors: dict[str, Tensor]
    """Those of the encoder under their own names, those of the decoder with "decoder." before."""


def checkpoint_named(weights: Path) -> Path | None:
    """The checkpoint that a path names (its folder, or model.safetensors in it); None for any other path."""
    folder = weights.parent if weights.name == _MODEL else weights
    named = folder.is_dir() and re.fullmatch(r"step_\d{8,}", folder.name)
    return folder if named or ((folder / _STATE).is_file() and not (folder / _RUN).exists()) else None


def run_of(weights: Path) -> Path:
    """The folder of the run that weights belong to: of a checkpoint or a file in it, else `weights`."""
    checkpoint = checkpoint_named(weights)
    if checkpoint is not None:
        return checkpoint.resolve().parent.parent
    in_run = weights.suffix == ".safetensors" and (weights.parent / _RUN).is_file()
    return weights.parent if in_run else weights


def newest_checkpoint(run: Path) -> Path | None:
    """The last finished checkpoint in the folder of a run, or in its folder of checkpoints."""
    found = [*run.glob("checkpoints/step_*/state.json"), *run.glob("step_*/state.json")]
    return max(found).parent if found else None


def read_checkpoint(weights: Path) -> CheckpointWeights:
    """Read the network of a checkpoint, whole or in shards, every file checked.

    The weights themselves, as those of a run are; not their average, where one is kept (`ema.decay`).

    Args:
        weights: a path that `checkpoint_named` knows.

    Raises:
        WeightsError: it is empty or damaged, or no run.json of pretraining lies above it.
    """
    checkpoint = checkpoint_named(weights)
    assert checkpoint is not None, "ask checkpoint_named first"
    try:
        sums = _sums(checkpoint)
        settings, spec = _settings(checkpoint)
        tensors = _read(checkpoint, sums)
        if (settings.get("ema") or {}).get("decay") is not None:
            log.info("%s: these are the weights; their average is saved when the run ends", checkpoint)
        sha256 = file_sha256(checkpoint / _STATE) if weights == checkpoint else sums[_MODEL]
    except FileNotFoundError as error:
        raise WeightsError(
            f"{checkpoint}: is no longer whole ({error})",
            hint="a run that goes on deletes its older checkpoints; loop.keep_checkpoints says how many stay",
        ) from error
    return CheckpointWeights(
        sha256,
        _shape(settings["model"]),
        spec,
        {name.removeprefix(_ENCODER): value for name, value in tensors.items()},
    )


def encoder_of_checkpoint(weights: Path) -> str:
    """Whose encoder a checkpoint holds, "vit" or the name of a convolutional network, by its run.json alone.

    Raises:
        WeightsError: no run.json of pretraining lies above it.
    """
    checkpoint = checkpoint_named(weights)
    assert checkpoint is not None, "ask checkpoint_named first"
    shape = _shape(_settings(checkpoint)[0]["model"])
    return shape.name if isinstance(shape, CnnConfig) else "vit"


def _shape(model: dict[str, Any]) -> ViTConfig | CnnConfig:
    """That of the encoder, from the settings of a masked autoencoder."""
    encoder = model["encoder"]
    if model.get("kind", "mae") == "mae":
        return make_config(ViTConfig, encoder)
    return make_config(CnnConfig, {name: encoder[name] for name in ("name", "channels")})


def _sums(checkpoint: Path) -> dict[str, str]:
    """Name and SHA-256 of each of its files."""
    if not (checkpoint / _STATE).exists():
        what = f"holds no {_STATE}" if any(checkpoint.iterdir()) else "is empty"
        raise WeightsError(f"{checkpoint}: {what}, so it is no whole checkpoint", hint="take another one")
    try:
        state = read_json(checkpoint / _STATE)
    except FolderError as error:
        raise WeightsError(error.message, hint="take another checkpoint") from error
    sums = state.get("sha256") if isinstance(state, dict) else None
    if not isinstance(sums, dict) or not sums:
        raise WeightsError(f"{checkpoint / _STATE}: is damaged (no checksums in it)")
    return sums


def _settings(checkpoint: Path) -> tuple[dict[str, Any], InputSpec]:
    """Of the run above: its settings, and what its encoder wants to see."""
    run_file = run_of(checkpoint) / _RUN
    if not run_file.exists():
        raise WeightsError(
            f"{checkpoint}: is a checkpoint, but the run.json that says which network is in it is not at "
            f"{run_file}",
            hint="give it inside the folder of its run, or copy run.json and checkpoints/ together",
        )
    try:
        record = read_json(run_file)
    except FolderError as error:
        raise WeightsError(error.message) from error
    made_by = record.get("made_by") if isinstance(record, dict) else None
    settings = made_by.get("settings") if isinstance(made_by, dict) else None
    if not isinstance(settings, dict) or "encoder" not in (settings.get("model") or {}):
        raise WeightsError(f"{run_file}: is not the record of a pretraining run")
    if "input_spec" not in record:
        raise WeightsError(
            f"{run_file}: does not say what its encoder wants to see, since an earlier version wrote it",
            hint=f"usfmae pretrain {run_file.parent} --out {run_file.parent} --resume writes it anew",
        )
    return settings, make_config(InputSpec, record["input_spec"])


def _read(checkpoint: Path, sums: dict[str, str]) -> dict[str, Tensor]:
    """The tensors of the network, checked, also where they lie in shards."""
    whole = _MODEL in sums
    for name in [_MODEL] if whole else sums:
        if file_sha256(checkpoint / name) != sums.get(name):
            raise WeightsError(
                f"{checkpoint / name}: is damaged (checksum differs)", hint="take another checkpoint"
            )
    tensors: dict[str, Tensor] = {}
    if whole:
        tensors |= load_file(checkpoint / _MODEL)
        return tensors
    reader = HuggingFaceStorageReader(str(checkpoint))
    for name, about in reader.read_metadata().state_dict_metadata.items():
        if name.startswith(_IN_SHARDS) and isinstance(about, TensorStorageMetadata):
            tensors[name] = torch.empty(about.size, dtype=about.properties.dtype)
    with warnings.catch_warnings():  # that it loads in a single process is what is meant there
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load_pieces(dict(tensors), storage_reader=reader, no_dist=True)
    return {name.removeprefix(_IN_SHARDS): tensor for name, tensor in tensors.items()}
