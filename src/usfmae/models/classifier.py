"""An encoder with a linear classifier on top, and the file in which the two travel."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from usfmae.base.config import make_config
from usfmae.base.errors import SettingError, WeightsError
from usfmae.base.files import file_sha256, write_by
from usfmae.base.input_spec import InputSpec
from usfmae.models.encoder import Encoder
from usfmae.models.encoders import build_encoder, encoder_record

PoolName = Literal["mean", "cls", "mean+cls"]
"""How tokens become one vector: mean of the patch tokens, the class token, or both side by side."""

HeadNorm = Literal["none", "batch"]
"""What the pooled vector passes before the linear map: nothing, or a batch norm without parameters."""

_FORMAT = "usfmae classifier 1"
"""The one name in the file's metadata: safetensors writes several in random order, and equal networks are to
give equal files."""


def pool_tokens(tokens: Float[Tensor, "b tokens d"], pool: PoolName) -> Float[Tensor, "b width"]:
    """One vector per image; twice as wide as a token for "mean+cls"."""
    if pool == "cls":
        return tokens[:, 0]
    mean = tokens[:, 1:].mean(dim=1)
    return mean if pool == "mean" else torch.cat([mean, tokens[:, 0]], dim=1)


class Classifier(nn.Module):
    """Encoder, pooling, batch norm, one linear map.

    The linear map starts near zero (He et al. 2022, reference code: normal of 2e-5), so every class begins
    equally likely and the first steps do not shake the encoder.

    A batch norm without parameters stands before it, as in MAE's linear probe (He et al. 2022, appendix A.1).
    Pooled vectors of a ViT after little pretraining point nearly the same way (a mean cosine of .90 to .93 on
    BUS-BRA), and what tells images apart is a small part of them: without the norm the map has to learn that
    part's size first, while a high rate bends the encoder.

    Args:
        encoder: pretrained or at its random start.
        num_classes: width of the output.
        pool: how tokens become one vector.
        norm: what that vector passes; batch norm needs two images at once in training.
        generator: source of the random start.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        pool: PoolName,
        norm: HeadNorm = "none",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pool: PoolName = pool
        width = encoder.embed_dim * (2 if pool == "mean+cls" else 1)
        self.norm_name: HeadNorm = norm
        self.norm = nn.BatchNorm1d(width, affine=False) if norm == "batch" else nn.Identity()
        self.classifier = nn.Linear(width, num_classes)
        nn.init.normal_(self.classifier.weight, std=2e-5, generator=generator)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b class"]:
        """Logits, in the number type of the surrounding autocast."""
        logits: Tensor = self.classifier(self.norm(pool_tokens(self.encoder(images), self.pool)))
        return logits


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier ready to use."""

    network: Classifier
    """On the CPU, in evaluation mode."""

    classes: tuple[str, ...]
    """Names of its outputs."""

    input_spec: InputSpec
    """What it wants to see."""

    sha256: str
    """Hash of the file."""


def save_classifier(
    path: Path, network: Classifier, *, classes: tuple[str, ...], input_spec: InputSpec
) -> None:
    """Write a classifier as safetensors; shape, pooling, classes and input travel in the metadata."""
    about = {
        **encoder_record(network.encoder),
        "input_spec": input_spec.model_dump(mode="json"),
        "pool": network.pool,
        "norm": network.norm_name,
        "classes": classes,
    }
    metadata = {_FORMAT: json.dumps(about)}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_by(path, lambda temporary: save_file(state, temporary, metadata=metadata))


def load_classifier(path: Path) -> LoadedClassifier:
    """Read what `save_classifier` wrote, every tensor of it.

    Raises:
        WeightsError: missing, damaged, or no classifier of ours.
    """
    if not path.exists():
        raise WeightsError(f"{path}: no such classifier file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if _FORMAT not in metadata:
            raise WeightsError(f"{path}: is no classifier of usfmae", hint="evaluate finetune writes one")
        about = json.loads(metadata[_FORMAT])
        classes = tuple(about["classes"])
        encoder = build_encoder(about)
        norm = about.get("norm", "none")  # files from before there was one
        network = Classifier(
            encoder, len(classes), pool=about["pool"], norm=norm, generator=torch.Generator()
        )
        network.load_state_dict(load_file(path))
        spec = make_config(InputSpec, about["input_spec"])
    except (SafetensorError, SettingError, RuntimeError, KeyError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as a classifier ({error})") from error
    return LoadedClassifier(network.eval(), classes, spec, file_sha256(path))
