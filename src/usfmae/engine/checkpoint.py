"""Checkpoints: a folder per step that is either whole or not there.

    checkpoints/step_00000600/
        model.safetensors        every tensor of the module
        optimizer.safetensors    Adam's averages under "<what>/<parameter>"
        state.json               the step and the SHA-256 of both

A network that lies in pieces on several ranks (fsdp) writes `shard-*.safetensors` in place of the first two,
one per rank, through `torch.distributed.checkpoint`. Either kind loads into any number of ranks, whole or in
pieces. There is no random state to save: all randomness is a function of the seed and the step.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_pieces
from torch.distributed.checkpoint.state_dict_saver import save as save_pieces

from usfmae.base.errors import FolderError, TrainingError
from usfmae.base.files import file_sha256, new_folder, read_json, remove_folder, write_json
from usfmae.base.logs import get_logger
from usfmae.engine.parallel import like
from usfmae.engine.ranks import ALONE, Ranks

log = get_logger(__name__)
FOLDER = "checkpoints"
_FILES = ("model.safetensors", "optimizer.safetensors")
_NAME = re.compile(r"step_\d{8,}")
"""Of our folders; a copy that somebody made beside them is none."""
_MODEL, _OPTIMIZER = "model/", "optimizer/"

Contents = dict[str, dict[str, Tensor]]
"""Tensors of a checkpoint by file and name."""


@dataclass(frozen=True)
class Checkpoint:
    """One finished checkpoint on disk."""

    path: Path
    """Its folder."""

    step: int
    """Steps done when it was written."""


def save_checkpoint(
    run: Path,
    *,
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep: int = 2,
    ranks: Ranks = ALONE,
) -> Checkpoint:
    """Write a checkpoint and delete all but the newest `keep`; called by all ranks.

    Raises:
        FolderError: the disk is full; older checkpoints stay. All ranks raise it, whichever met it.
    """
    path = run / FOLDER / f"step_{step:08d}"
    if ranks.sharded:
        with ranks.shared(new_folder(path)) as folder:
            _save_shards(folder, step, module, optimizer, ranks)
        ranks.first(lambda: _forget(run, keep))
    else:
        ranks.first(lambda: write_whole(run, step, whole_contents(module, optimizer), keep))
    return Checkpoint(path, step)


def whole_contents(module: nn.Module, optimizer: torch.optim.Optimizer) -> Contents:
    """What a checkpoint of a network that is not in pieces holds: the tensors themselves, no copies."""
    return {_FILES[0]: module.state_dict(), _FILES[1]: _optimizer_tensors(module, optimizer)}


def write_whole(run: Path, step: int, contents: Contents, keep: int) -> None:
    """Write the checkpoint of `contents` and delete all but the newest `keep`; in any thread.

    Args:
        run: the run's folder.
        step: steps done.
        contents: of `whole_contents`, or a copy; may not change meanwhile.
        keep: at least 1.

    Raises:
        FolderError: the disk is full; older checkpoints stay.
    """
    _write_files(run / FOLDER / f"step_{step:08d}", step, contents)
    _forget(run, keep)


def _write_files(path: Path, step: int, contents: Contents) -> None:
    with new_folder(path) as folder:
        for name, tensors in contents.items():
            save_file(_on_cpu(tensors), folder / name)
        sums = {name: file_sha256(folder / name) for name in contents}
        write_json(folder / "state.json", {"step": step, "sha256": sums})


def _save_shards(
    folder: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks
) -> None:
    tensors = {_MODEL + name: tensor for name, tensor in module.state_dict().items()}
    tensors |= {_OPTIMIZER + name: t for name, t in _optimizer_tensors(module, optimizer).items()}
    try:
        save_pieces(tensors, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        raise _first_failure(error) from error
    sums = _share_of_sums(folder, sorted(path.name for path in folder.glob("*.safetensors")), ranks)
    all_sums = {name: value for part in ranks.gather(sums) for name, value in part.items()}
    ranks.first(
        lambda: write_json(
            folder / "state.json",
            {"step": step, "ranks": ranks.world, "sha256": dict(sorted(all_sums.items()))},
        )
    )


def _share_of_sums(folder: Path, names: list[str], ranks: Ranks) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in names[ranks.rank :: ranks.world]}


def _first_failure(error: CheckpointException) -> Exception:
    """What the first rank that failed met; `CheckpointException` itself is no Exception."""
    first = next(iter(error.failures.values()))[0]
    return first if isinstance(first, Exception) else RuntimeError(str(first))


def _forget(run: Path, keep: int) -> None:
    for old in find_checkpoints(run)[:-keep]:
        remove_folder(old.path)


def find_checkpoints(run: Path) -> list[Checkpoint]:
    """All finished checkpoints of a run, oldest first."""
    found = sorted(path for path in (run / FOLDER).glob("step_*") if _NAME.fullmatch(path.name))
    return [Checkpoint(path, int(path.name.removeprefix("step_"))) for path in found]


def load_checkpoint(
    checkpoint: Checkpoint,
    *,
    module: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Put a checkpoint into `module` and `optimizer`, exactly; called by all ranks.

    Raises:
        TrainingError: a file is missing, damaged (checksum) or of another network.
    """
    path = checkpoint.path
    hint = f"delete {path} to go on from the checkpoint before it, or start again with --overwrite"
    sums = _read_sums(path, hint)
    missing = [name for name in sums if not (path / name).exists()]
    if missing:
        raise TrainingError(f"{path / missing[0]}: is missing", hint=hint)
    for part in ranks.gather(_share_of_sums(path, sorted(sums), ranks)):
        for name, found in part.items():
            if found != sums[name]:
                raise TrainingError(f"{path / name}: is damaged (checksum differs)", hint=hint)
    try:
        if _FILES[0] in sums:
            _load_whole(path, module, optimizer)
        else:
            _load_shards(path, module, optimizer)
    except (SafetensorError, RuntimeError, KeyError, CheckpointException) as error:
        raise TrainingError(f"{path}: does not fit this network ({error})", hint=hint) from error


def _read_sums(path: Path, hint: str) -> dict[str, str]:
    """Names and SHA-256 of the files of a checkpoint."""
    try:
        state = read_json(path / "state.json")
    except FolderError as error:
        raise TrainingError(error.message, hint=hint) from error
    sums = state.get("sha256") if isinstance(state, dict) else None
    if not isinstance(sums, dict) or not sums:
        raise TrainingError(f"{path / 'state.json'}: is damaged (no checksums in it)", hint=hint)
    return sums


def _load_whole(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    places = module.state_dict()
    saved = load_file(path / _FILES[0])
    module.load_state_dict(
        {name: like(t, places[name]) if name in places else t for name, t in saved.items()}
    )
    if optimizer is not None:
        parameters = dict(module.named_parameters())
        averages = {}
        for key, value in load_file(path / _FILES[1]).items():
            what, _, name = key.partition("/")
            averages[key] = value if what == "step" else like(value, parameters[name])
        _put_averages(module, optimizer, averages)


def _load_shards(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    reader = HuggingFaceStorageReader(str(path))
    saved = set(reader.read_metadata().state_dict_metadata)
    tensors: dict[str, Any] = {_MODEL + name: tensor for name, tensor in module.state_dict().items()}
    other = tensors.keys() ^ {key for key in saved if key.startswith(_MODEL)}
    if other:
        raise KeyError(f"{len(other)} tensors are only in one of the two (first: {min(other)})")
    averages: dict[str, Tensor] = {}
    if optimizer is not None:
        parameters = dict(module.named_parameters())
        for key in sorted(key.removeprefix(_OPTIMIZER) for key in saved if key.startswith(_OPTIMIZER)):
            what, _, name = key.partition("/")
            averages[key] = torch.zeros(()) if what == "step" else torch.zeros_like(parameters[name].detach())
    tensors |= {_OPTIMIZER + key: tensor for key, tensor in averages.items()}
    with warnings.catch_warnings():  # that it loads in a single process is what is meant there
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load_pieces(tensors, storage_reader=reader)
    if optimizer is not None:
        _put_averages(module, optimizer, averages)


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    return {
        f"{what}/{names[parameter]}": torch.as_tensor(value)
        for parameter, averages in optimizer.state.items()
        for what, value in averages.items()
    }


def _put_averages(module: nn.Module, optimizer: torch.optim.Optimizer, saved: dict[str, Tensor]) -> None:
    by_parameter: dict[str, dict[str, Any]] = {}
    for key, value in saved.items():
        what, _, name = key.partition("/")
        by_parameter.setdefault(name, {})[what] = value
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if name not in by_parameter:
            continue  # never stepped, for example a checkpoint of step 0
        # The fused optimiser wants its step count where the parameter is, too.
        optimizer.state[parameter] = {
            what: value.to(parameter.device) for what, value in by_parameter[name].items()
        }
