"""Checkpoints: a folder per step that is either whole or not there.

    checkpoints/step_00000600/
        model.safetensors        every tensor of the module
        optimizer.safetensors    Adam's averages under "<what>/<parameter>"
        state.json               the step and the SHA-256 of both

There is no random state to save: all randomness is a function of the seed and the step.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from usfmae.base.errors import TrainingError
from usfmae.base.files import file_sha256, new_folder, read_json, write_json
from usfmae.base.logs import get_logger

log = get_logger(__name__)
FOLDER = "checkpoints"
_FILES = ("model.safetensors", "optimizer.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """One finished checkpoint on disk."""

    path: Path
    """Its folder."""

    step: int
    """Steps done when it was written."""


def save_checkpoint(
    run: Path, *, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, keep: int = 2
) -> Checkpoint:
    """Write a checkpoint and delete all but the newest `keep`.

    Raises:
        FolderError: the disk is full; older checkpoints stay.
    """
    path = run / FOLDER / f"step_{step:08d}"
    with new_folder(path) as folder:
        save_file(_on_cpu(module.state_dict()), folder / _FILES[0])
        save_file(_optimizer_tensors(module, optimizer), folder / _FILES[1])
        write_json(
            folder / "state.json",
            {"step": step, "sha256": {name: file_sha256(folder / name) for name in _FILES}},
        )
    for old in find_checkpoints(run)[:-keep]:
        shutil.rmtree(old.path)
    return Checkpoint(path, step)


def find_checkpoints(run: Path) -> list[Checkpoint]:
    """All finished checkpoints of a run, oldest first."""
    found = sorted((run / FOLDER).glob("step_*"))
    return [Checkpoint(path, int(path.name.removeprefix("step_"))) for path in found]


def load_checkpoint(
    checkpoint: Checkpoint, *, module: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Put a checkpoint into `module` and `optimizer`, exactly.

    Raises:
        TrainingError: a file is missing, damaged (checksum) or of another network.
    """
    path = checkpoint.path
    hint = f"delete {path} to go on from the checkpoint before it, or start again with --overwrite"
    state = read_json(path / "state.json")
    for name, expected in state["sha256"].items():
        if not (path / name).exists():
            raise TrainingError(f"{path / name}: is missing", hint=hint)
        if file_sha256(path / name) != expected:
            raise TrainingError(f"{path / name}: is damaged (checksum differs)", hint=hint)
    try:
        module.load_state_dict(load_file(path / _FILES[0]))
        if optimizer is not None:
            _load_optimizer(module, optimizer, load_file(path / _FILES[1]))
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise TrainingError(f"{path}: does not fit this network ({error})", hint=hint) from error


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    return _on_cpu(
        {
            f"{what}/{names[parameter]}": torch.as_tensor(value)
            for parameter, averages in optimizer.state.items()
            for what, value in averages.items()
        }
    )


def _load_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer, saved: dict[str, Tensor]) -> None:
    by_parameter: dict[str, dict[str, Any]] = {}
    for key, value in saved.items():
        what, _, name = key.partition("/")
        by_parameter.setdefault(name, {})[what] = value
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if name not in by_parameter:
            continue  # never stepped, for example a checkpoint of step 0
        optimizer.state[parameter] = {
            what: value if what == "step" else value.to(parameter.device)
            for what, value in by_parameter[name].items()
        }
