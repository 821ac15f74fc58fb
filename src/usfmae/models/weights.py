"""The only way from a weights file to a network, and it is strict.

Every tensor of a file is loaded, resized (positions, patch embedding), or dropped by name with a reason; a
file that leaves any encoder tensor at its random start is refused. Layouts known: ours and timm's, the
published MAE (`mae_pretrain_vit_base_full.pth`), Hugging Face ViTMAE and ViT.
"""

import json
import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from usfmae.base.config import make_config
from usfmae.base.errors import WeightsError
from usfmae.base.files import file_sha256, write_by
from usfmae.base.input_spec import IMAGENET_INPUT, InputSpec
from usfmae.models.checkpoint_weights import checkpoint_named, newest_checkpoint, read_checkpoint
from usfmae.models.encoder import Encoder
from usfmae.models.encoders import CnnConfig, encoder_record
from usfmae.models.layouts import MAE_DECODER, infer_vit, to_our_names
from usfmae.models.opening import load_tensors
from usfmae.models.positions import resize_positions
from usfmae.models.shipped import card_of, unknown_name
from usfmae.models.vit import VisionTransformer, ViTConfig

WEIGHTS_FILE = "weights.safetensors"
"""Name of the encoder in a run folder."""
AVERAGED_FILE = "weights_ema.safetensors"
"""Name of the average of its weights, where the run keeps one (`ema.decay`)."""

FORMAT = "usfmae encoder 1"
"""The one name in a file's metadata: safetensors writes several in random order, and equal networks are to
give equal files."""


@dataclass(frozen=True)
class LoadReport:
    """Every tensor of a file, accounted for."""

    loaded: tuple[str, ...]
    """Names (ours) taken as they are."""

    resized: dict[str, str] = field(default_factory=dict)
    """Name -> how, for example "positions 14x14 -> 8x8"."""

    dropped: dict[str, str] = field(default_factory=dict)
    """Name in the file -> why it is not used."""

    fresh: tuple[str, ...] = ()
    """Names outside the encoder (a decoder, a classifier) that keep their random start."""

    def summary(self) -> str:
        """One line for the log."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        parts += [f"{name} resized ({how})" for name, how in self.resized.items()]
        if self.dropped:
            reasons = sorted(set(self.dropped.values()))
            parts.append(f"{len(self.dropped)} dropped ({'; '.join(reasons)})")
        if self.fresh:
            parts.append(f"{len(self.fresh)} fresh")
        return ", ".join(parts)


@dataclass(frozen=True)
class WeightsFile:
    """A file read and translated, before it meets a network."""

    path: Path
    """Where it was read."""

    sha256: str
    """Hash of the file; of a checkpoint, of its state.json, which holds those of all its files."""

    config: ViTConfig
    """Shape of the encoder in it."""

    input_spec: InputSpec
    """Input that the encoder expects; ImageNet's for foreign files."""

    tensors: dict[str, Tensor]
    """Encoder tensors under timm's names, decoder tensors under MAE's."""

    dropped: dict[str, str]
    """Names in the file that no encoder or decoder has, and why."""


@dataclass(frozen=True)
class LoadedEncoder:
    """A network ready to use."""

    encoder: Encoder
    """On the CPU, in evaluation mode."""

    input_spec: InputSpec
    """What it wants to see."""

    report: LoadReport
    """What became of each tensor."""

    sha256: str
    """Hash of the weights file."""


def save_encoder(
    path: Path, encoder: Encoder, *, input_spec: InputSpec, notes: dict[str, str] | None = None
) -> None:
    """Write an encoder as safetensors with timm's names, a convolutional one with those of its published
    file; shape and input travel in the metadata.

    Args:
        path: file to write.
        encoder: the network.
        input_spec: what it wants to see.
        notes: more metadata, for example the licence or the run.
    """
    about = {
        **encoder_record(encoder),
        "input_spec": input_spec.model_dump(mode="json"),
        "notes": notes or {},
    }
    metadata = {FORMAT: json.dumps(about)}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    write_by(path, lambda temporary: save_file(state, temporary, metadata=metadata))


def load_encoder(path: Path, *, image_px: int | None = None, drop_path: float = 0.0) -> LoadedEncoder:
    """Build the network that a weights file holds, and load it strictly.

    Args:
        path: a run folder, a checkpoint in one, or a .safetensors, .pth, .pt or .bin file.
        image_px: input side wanted; positions are resampled. None keeps the file's.
        drop_path: stochastic depth for training on.

    Raises:
        WeightsError: see `read_weights` and `load_into`.
    """
    file = read_weights(path)
    changes: dict[str, Any] = {"drop_path": drop_path}
    spec = file.input_spec
    if image_px is not None:
        changes["image_px"] = image_px
        spec = spec.model_copy(update={"image_px": image_px})
    config = make_config(ViTConfig, {**file.config.model_dump(), **changes})
    encoder = VisionTransformer(config)
    report = load_into(encoder, file)
    return LoadedEncoder(encoder.eval(), spec, report, file.sha256)


def read_weights(path: Path) -> WeightsFile:
    """Read a weights file and translate its names.

    Args:
        path: a run folder (its `weights.safetensors` is read), a checkpoint of pretraining (see
            `checkpoint_weights`) or a file.

    Raises:
        WeightsError: missing, damaged, not weights, no vision transformer, or one whose blocks have more.
    """
    if checkpoint_named(path) is not None:
        found = read_checkpoint(path)
        if isinstance(found.config, CnnConfig):
            raise _no_vit(path, found.config.name)
        return WeightsFile(path, found.sha256, found.config, found.input_spec, found.tensors, {})
    path = weights_file(path)
    state, metadata = read_state(path)
    about = json.loads(metadata[FORMAT]) if FORMAT in metadata else {}
    if "cnn" in about:
        raise _no_vit(path, about["cnn"]["name"])
    tensors, dropped = to_our_names(state)
    _refuse_other_blocks(path, dropped)
    if about:
        config = make_config(ViTConfig, about["vit"])
        spec = make_config(InputSpec, about["input_spec"])
    else:
        config = infer_vit(tensors, path)
        side = config.image_size_px[0]
        spec = InputSpec(image_px=side)
        if config.channels == 3:
            spec = IMAGENET_INPUT.model_copy(update={"image_px": side})
    return WeightsFile(path, file_sha256(path), config, spec, tensors, dropped)


def weights_file(path: Path) -> Path:
    """The file with the encoder: in a run folder its `weights.safetensors`, else `path` itself.

    Raises:
        WeightsError: there is none.
    """
    if path.is_dir():
        if not (path / WEIGHTS_FILE).exists():
            newest = newest_checkpoint(path)
            raise WeightsError(
                f"{path}: holds no {WEIGHTS_FILE}",
                hint="a run writes it when it ends; finish it with --resume"
                + ("" if newest is None else f", or take its newest checkpoint: {newest}"),
            )
        path = path / WEIGHTS_FILE
    if not path.exists():
        raise WeightsError(f"{path}: no such weights file", hint=unknown_name(path))
    card_of(path)  # refuses a file that is not what its card says
    return path


def _no_vit(path: Path, name: str) -> WeightsError:
    return WeightsError(
        f"{path}: holds {name}, a convolutional network, and no vision transformer",
        hint=f"evaluate knn, linear-probe and finetune take it with --encoder {name}; pretraining goes on "
        "with it by the recipe sparse_cnn_cpu",
    )


def _refuse_other_blocks(path: Path, dropped: dict[str, str]) -> None:
    """A block with layer scale, gates or biases computes something else: it is not ours without them."""
    strange = [name for name in dropped if re.match(r"(decoder\.)?blocks\.\d", name) or "register" in name]
    if strange:
        raise WeightsError(
            f"{path}: {len(strange)} of its tensors are of another transformer (first: {strange[0]})",
            hint="--encoder dinov2, usfm or another name fits such files",
        )


def load_into(
    encoder: VisionTransformer,
    file: WeightsFile,
    *,
    decoder: nn.Module | None = None,
    input_spec: InputSpec | None = None,
) -> LoadReport:
    """Load an encoder (and a decoder, where the file has a fitting one) with every tensor accounted for.

    Positions are resampled to the encoder's grid. A three-channel patch embedding is folded into one
    channel exactly, standardisation included, when the encoder takes grey.

    Args:
        encoder: gets every tensor, or nothing is loaded at all.
        file: from `read_weights`.
        decoder: optional; keeps its random start where the file has none that fits.
        input_spec: the standardisation that the encoder will see; the file's own when None.

    Raises:
        WeightsError: an encoder tensor is missing in the file or of another shape.
    """
    tensors, resized = dict(file.tensors), {}
    if encoder.config.channels == 1 and file.config.channels == 3:
        target = input_spec or InputSpec(image_px=file.input_spec.image_px)
        _fold_grey(tensors, file.input_spec, target)
        resized["patch_embed.proj"] = "3 channels folded into 1"
    if "pos_embed" in tensors and file.config.grid != encoder.config.grid:
        old, new = file.config.grid, encoder.config.grid
        tensors["pos_embed"] = resize_positions(tensors["pos_embed"], old=old, new=new)
        resized["pos_embed"] = f"positions {old[0]}x{old[1]} -> {new[0]}x{new[1]}"
    wanted = encoder.state_dict()
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise WeightsError(
            f"{file.path}: {len(missing)} of {len(wanted)} encoder tensors are missing (first: {missing[0]})",
            hint="is this a full ViT or MAE checkpoint?",
        )
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise WeightsError(
                f"{file.path}: {name} has shape {list(tensors[name].shape)}, the network has "
                f"{list(tensor.shape)}: the file holds a ViT-{file.config.size}/{file.config.patch_px} with "
                f"{file.config.channels} channel(s)",
                hint=f"--set model.encoder.size={file.config.size} fits the file",
            )
    bad = [name for name in wanted if not bool(torch.isfinite(tensors[name]).all())]
    if bad:
        raise WeightsError(
            f"{file.path}: {len(bad)} of {len(wanted)} encoder tensors hold numbers that are not finite "
            f"(first: {bad[0]})",
            hint="were they saved by a run that diverged? Take an earlier file",
        )
    encoder.load_state_dict({name: tensors[name] for name in wanted})
    dropped, loaded = dict(file.dropped), list(wanted)
    fresh: tuple[str, ...] = ()
    decoder_tensors = {name: value for name, value in tensors.items() if name.startswith(MAE_DECODER)}
    extra = [name for name in tensors if name not in wanted and name not in decoder_tensors]
    dropped |= dict.fromkeys(extra, "not in this network")
    if decoder is not None and decoder_tensors:
        ours = {name.removeprefix(MAE_DECODER): value for name, value in decoder_tensors.items()}
        state = decoder.state_dict()
        ours["pos_embed"] = state["pos_embed"]  # fixed sine-cosine, a function of the grid
        if all(name in ours and ours[name].shape == value.shape for name, value in state.items()):
            decoder.load_state_dict(ours)
            loaded += [MAE_DECODER + name for name in state]
        else:
            dropped |= dict.fromkeys(decoder_tensors, "decoder of another shape")
            fresh = tuple(MAE_DECODER + name for name in state)
    elif decoder is not None:
        fresh = tuple(MAE_DECODER + name for name in decoder.state_dict())
    else:
        dropped |= dict.fromkeys(decoder_tensors, "decoder, not used after pretraining")
    return LoadReport(tuple(name for name in loaded if name not in resized), resized, dropped, fresh)


def _fold_grey(tensors: dict[str, Tensor], source: InputSpec, target: InputSpec) -> None:
    """Make a colour patch embedding see grey: same output for a grey picture, standardisation included."""
    weight = tensors["patch_embed.proj.weight"].double()
    mean = torch.tensor(source.mean, dtype=torch.float64).reshape(1, -1, 1, 1)
    std = torch.tensor(source.std, dtype=torch.float64).reshape(1, -1, 1, 1)
    scaled = weight / std
    tensors["patch_embed.proj.weight"] = (scaled * target.std[0]).sum(1, keepdim=True).float()
    shift = (scaled * (target.mean[0] - mean)).sum((1, 2, 3))
    tensors["patch_embed.proj.bias"] = (tensors["patch_embed.proj.bias"].double() + shift).float()


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file under its own names, in fp32 where they are stored in half precision, and the
    metadata of a safetensors file.

    Raises:
        WeightsError: it cannot be read, or holds more than tensors (opening it could run code).
    """
    metadata: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
        content = load_file(path) if path.suffix == ".safetensors" else load_tensors(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds more than tensors and is not opened, since that could run code "
            f"({_first_line(error)})",
            hint="save its state_dict as safetensors where you trust it",
        ) from error
    except Exception as error:  # what torch raises for a text file depends on its first letters
        raise WeightsError(
            f"{path}: cannot be read as weights ({_first_line(error)})",
            hint="download or copy the file again",
        ) from error
    for key in ("model", "state_dict", "teacher", "module"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path}: holds no state dict (a dict of names and tensors)")
    halves = (torch.float16, torch.bfloat16)
    return {name: t.float() if t.dtype in halves else t for name, t in content.items()}, metadata


def _first_line(error: Exception) -> str:
    words = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # torch writes parts of its messages in bold
    return (words.splitlines() or [type(error).__name__])[0][:200]
