"""Weights in half precision, for shipping: half the bytes, whatever network is in the file.

Matrices and kernels become fp16. Vectors (norms, biases, running variances) stay fp32: they
are less than 1 % of the bytes, and fp16 has no number between 0 and 6e-8. So do positions: a ViT tells fixed
ones from learned ones by their being sine-cosine to the bit (`VisionTransformer.positions_at`), and rounded
they would be resampled at another size where those of the run are computed. Reading gives fp32 in any case.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from usfmae.base.errors import WeightsError
from usfmae.base.files import write_by
from usfmae.models.weights import read_state

POSITIONS = "pos_embed"
"""The one matrix that is not rounded."""

LARGEST = torch.finfo(torch.float16).max
"""65,504: beyond it fp16 knows only infinity."""


def write_half(source: Path, out: Path, *, notes: dict[str, str] | None = None) -> None:
    """Write the network of a weights file of ours in half precision; equal files give equal files.

    Args:
        source: a .safetensors file that says in its metadata which network it holds.
        out: the file to make.
        notes: added to those in the metadata, for example the name and the licence.

    Raises:
        WeightsError: the file cannot be read, does not say what it holds, or has a number that is not finite
            or beyond the range of fp16.
        FolderError: the disk is full or the folder cannot be written.
    """
    state, metadata = read_state(source)
    if len(metadata) != 1:
        raise WeightsError(
            f"{source}: does not say which network it holds",
            hint="take the weights.safetensors of a run of this package",
        )
    ((kind, words),) = metadata.items()
    about = json.loads(words)
    about["notes"] = {**about.get("notes", {}), **(notes or {})}
    halved = {name: _half(source, name, tensor) for name, tensor in state.items()}

    def write(temporary: Path) -> None:
        save_file(halved, temporary, metadata={kind: json.dumps(about)})
        temporary.chmod(0o644)  # safetensors lets nobody else read; these are for everybody

    write_by(out, write)


def notes_of(path: Path) -> dict[str, str]:
    """The notes in the metadata of a weights file of ours; none in files of others.

    Raises:
        WeightsError: it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as weights ({error})") from error
    about = json.loads(next(iter(metadata.values()))) if len(metadata) == 1 else {}
    return dict(about.get("notes", {})) if isinstance(about, dict) else {}


def _half(source: Path, name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.contiguous()
    largest = float(tensor.abs().max()) if tensor.numel() else 0.0
    if not largest <= LARGEST:  # a NaN is not either
        raise WeightsError(
            f"{source}: {name} holds {largest:g}, which half precision cannot",
            hint="was it saved by a run that diverged? Take an earlier checkpoint",
        )
    return (tensor if tensor.ndim < 2 or name == POSITIONS else tensor.half()).contiguous()
