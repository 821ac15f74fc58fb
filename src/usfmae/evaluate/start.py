"""What an evaluation starts from: pretrained weights, ImageNet weights, or a network at its random start."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch

from usfmae.base.config import make_config
from usfmae.base.errors import SettingError
from usfmae.base.input_spec import Crop, Fit, InputSpec
from usfmae.base.logs import get_logger
from usfmae.base.seeds import seed_for
from usfmae.models.cnn_weights import imagenet_file, loaded_cnn, read_cnn, stated_encoder
from usfmae.models.encoder import Encoder
from usfmae.models.encoders import (
    CNN_NAMES,
    PUBLISHED_NAMES,
    CnnConfig,
    CnnName,
    EncoderName,
    build_cnn,
    start_cnn,
)
from usfmae.models.file_licences import licence_of_file
from usfmae.models.licences import LICENCES, UNKNOWN_CNN, Licence, licence_of_vit
from usfmae.models.published_weights import load_published
from usfmae.models.shipped import WeightsCard, card_of
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights
from usfmae.models.weights import load_encoder, read_weights

log = get_logger(__name__)

Weights = Path | Literal["scratch", "imagenet"]
"""A weights file, a run folder, a random start, or ImageNet weights that are on this machine."""

Init = Literal["pretrained", "imagenet", "scratch"]
"""Where a network's numbers come from."""

Use = Literal["research", "commercial"]
"""What the result is for; weights whose licence does not allow it are refused."""


@dataclass(frozen=True)
class Start:
    """An encoder before evaluation."""

    encoder: Encoder
    """On the CPU, in evaluation mode."""

    input_spec: InputSpec
    """What it wants to see."""

    init: Init
    """Where its numbers come from."""

    sha256: str | None
    """Hash of the weights file; None for a random start."""

    licence: Licence | None = None
    """Of the weights; None for a random start, and without a card for files of ViTs, which can be from
    anywhere (MAE's of ImageNet are known), and for runs of pretraining."""

    card: WeightsCard | None = None
    """What the card beside the weights file says of it; None where there is none."""

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of a result: where the numbers come from, and under which licence."""
        words = None if self.licence is None else self.licence.words
        return {"init": self.init, "licence": words}


def encoder_of(weights: Weights, asked: EncoderName | None) -> EncoderName:
    """The network that weights are of: the one asked for, else what a run or file of ours says, else vit."""
    if asked is not None:
        return asked
    stated = stated_encoder(weights) if isinstance(weights, Path) else None
    return cast(EncoderName, stated or "vit")


def was_pretrained_here(weights: Weights, *, encoder: EncoderName) -> bool:
    """Whether the images that weights have learnt from may be known: of a ViT's file or one of our runs."""
    if not isinstance(weights, Path):
        return False
    return encoder == "vit" or (encoder in CNN_NAMES and stated_encoder(weights) == encoder)


def shown_to(weights: Weights, *, like: Path | None = None, encoder: EncoderName = "vit") -> tuple[Fit, Crop]:
    """How a task's pictures should be made square, and what of them shown: as the weights (or `like`) have
    learnt to see them.

    Args:
        weights: a file, a run folder, "scratch" or "imagenet".
        like: with "scratch", weights whose input is taken; without it a random start sees the whole
            picture, padded, as do networks from elsewhere.
        encoder: which network; only files of ViTs and of our own runs say how pictures are to be shown.

    Raises:
        WeightsError: a file is missing or damaged.
    """
    file = weights if isinstance(weights, Path) else like
    if file is None or not was_pretrained_here(file, encoder=encoder):
        return "pad", "none"
    spec = (read_weights(file) if encoder == "vit" else read_cnn(file, cast(CnnName, encoder))).input_spec
    return spec.fit, spec.crop


def warn_of_other_showing(start: Start, *, fit: Fit, crop: Crop) -> None:
    """Say so where pictures are shown in another way than the weights have learnt to see them."""
    learnt = start.input_spec
    if start.init == "pretrained" and (learnt.fit, learnt.crop) != (fit, crop):
        log.warning(
            "the weights have learnt on pictures with fit=%s and crop=%s, the task shows fit=%s and crop=%s; "
            "--set task.fit=%s --set task.crop=%s",
            learnt.fit, learnt.crop, fit, crop, learnt.fit, learnt.crop,
        )  # fmt: skip


def heed_licence(start: Start, *, encoder: str, use: Use) -> None:
    """Say under which licence the weights are, and refuse a use that it forbids or leaves open.

    Args:
        start: as opened.
        encoder: its name, for the message.
        use: what the result is for.

    Raises:
        SettingError: the use is commercial and the licence does not allow that.
    """
    if start.init == "scratch":
        return
    licence = start.licence
    if licence is None:
        if use == "commercial":
            log.warning(
                "the licence of these weights is not known here; look whether it allows commercial use"
            )
        return
    _refuse_use(licence, encoder=encoder, use=use)
    limit = "" if licence.commercial else "; not for commercial use"
    log.info("%s: weights under %s (%s)%s", encoder, licence.words, licence.source, limit)


def _refuse_use(licence: Licence, *, encoder: str, use: Use) -> None:
    if use == "commercial" and not licence.commercial:
        verb = "forbids" if licence.commercial is False else "does not state"
        raise SettingError(
            f"{encoder}: the licence of its weights {verb} commercial use "
            f"({licence.words}; {licence.source})",
            hint="ask the publisher, take other weights, or --set use=research",
        )


def refuse_start(
    weights: Weights,
    *,
    network: ViTConfig,
    encoder: EncoderName = "vit",
    like: Path | None = None,
    image_px: int | None = None,
    use: Use = "research",
) -> None:
    """What `open_start` and `heed_licence` would refuse of names, shapes and use, without a network made.

    Args:
        weights, network, encoder, like, image_px: as of `open_start`.
        use: as of `heed_licence`.

    Raises:
        SettingError: as `open_start` and `heed_licence` raise it.
        WeightsError: a file is missing or damaged, where it has to be read for this.
    """
    _refuse_names(weights, encoder=encoder, like=like)
    if encoder == "vit" and image_px is not None:
        file = weights if isinstance(weights, Path) else like
        shape = network if file is None else read_weights(file).config
        make_config(ViTConfig, {**shape.model_dump(), "image_px": image_px})
    elif encoder in PUBLISHED_NAMES and image_px is not None:
        assert isinstance(weights, Path)
        load_published(weights, encoder, image_px=image_px)  # only its tensors tell its patch
    if use == "commercial" and (licence := _licence_of(weights, encoder)) is not None:
        _refuse_use(licence, encoder=encoder, use=use)


def _licence_of(weights: Weights, encoder: EncoderName) -> Licence | None:
    """The licence that `open_start` would find."""
    if weights == "imagenet":
        return LICENCES[encoder]
    return licence_of_file(weights, encoder) if isinstance(weights, Path) else None


def _refuse_names(weights: Weights, *, encoder: EncoderName, like: Path | None) -> None:
    if encoder != "vit" and like is not None:
        raise SettingError(
            f"--like gives the shape of a ViT; {encoder} has its own",
            hint="--set image_px=128 sets the input side",
        )
    if encoder in PUBLISHED_NAMES and not isinstance(weights, Path):
        raise SettingError(
            f"{encoder} comes from its published file, not from {weights!r}",
            hint="--weights FILE; --encoder vit has a random start",
        )
    if encoder == "vit" and weights == "imagenet":
        raise SettingError(
            "no ImageNet weights of a ViT are on this machine",
            hint="give a file (MAE, timm or Hugging Face) with --weights FILE, or --encoder "
            "efficientnet-lite0 --weights imagenet",
        )


def open_start(
    weights: Weights,
    *,
    network: ViTConfig,
    encoder: EncoderName = "vit",
    like: Path | None = None,
    image_px: int | None = None,
    drop_path: float = 0.0,
    fit: Fit = "pad",
    crop: Crop = "none",
    seed: int = 0,
) -> Start:
    """Load an encoder, or draw one.

    Args:
        weights: a file, a run folder, "scratch", or "imagenet".
        network: the shape of a random ViT; weights bring their own. Of a random convolutional network its
            input side and channels are taken.
        encoder: which network.
        like: with "scratch" and a ViT, weights whose shape and input are taken instead of `network`.
        image_px: input side; None for that of the weights or of `network`.
        drop_path: chance to skip a block while training, in networks that have it.
        fit: how a random start sees pictures made square; weights and `like` bring their own.
        crop: what of them it sees; likewise.
        seed: of the random start.

    Raises:
        WeightsError: a file is missing, damaged, leaves a tensor at random, or says that it holds another
            network.
        SettingError: the patch does not divide `image_px`, `like` with another network than a ViT, or a
            published encoder without its file.
    """
    start = _opened(_Asked(weights, network, encoder, like, image_px, drop_path, fit, crop, seed))
    card = card_of(weights) if isinstance(weights, Path) else None
    if card is None:
        return start
    return replace(start, card=card, licence=Licence(**card.content["licence"]))


@dataclass(frozen=True)
class _Asked:
    """The arguments of `open_start`."""

    weights: Weights
    network: ViTConfig
    encoder: EncoderName
    like: Path | None
    image_px: int | None
    drop_path: float
    fit: Fit
    crop: Crop
    seed: int


def _opened(asked: _Asked) -> Start:
    encoder, weights = asked.encoder, asked.weights
    _refuse_names(weights, encoder=encoder, like=asked.like)
    if encoder == "vit":
        return _vit_start(asked)
    if encoder in PUBLISHED_NAMES:
        return _published_start(asked)
    name = cast(CnnName, encoder)
    if weights == "scratch":
        side, channels = asked.image_px or asked.network.image_px, asked.network.channels
        cnn = build_cnn(CnnConfig(name=name, channels=channels, drop_path=asked.drop_path))
        start_cnn(cnn, torch.Generator().manual_seed(seed_for(asked.seed, "start")))
        spec = InputSpec(image_px=side, channels=channels, fit=asked.fit, crop=asked.crop)
        return Start(cnn.eval(), spec, "scratch", None)
    file = read_cnn(imagenet_file(name) if weights == "imagenet" else weights, name)
    loaded = loaded_cnn(file, image_px=asked.image_px, drop_path=asked.drop_path)
    log.info("%s: %s", file.path, loaded.report.summary())
    if file.is_ours:
        return Start(loaded.encoder, loaded.input_spec, "pretrained", loaded.sha256)
    spec = loaded.input_spec.model_copy(update={"fit": asked.fit, "crop": asked.crop})
    if weights == "imagenet" or file.is_imagenet:
        return Start(loaded.encoder, spec, "imagenet", loaded.sha256, LICENCES[encoder])
    log.warning(
        "%s: is none of the published ImageNet files of %s; what it was pretrained on is not known",
        file.path, encoder,
    )  # fmt: skip
    return Start(loaded.encoder, spec, "pretrained", loaded.sha256, UNKNOWN_CNN)


def _published_start(asked: _Asked) -> Start:
    encoder, weights = asked.encoder, asked.weights
    assert isinstance(weights, Path)
    loaded = load_published(weights, encoder, image_px=asked.image_px, drop_path=asked.drop_path)
    log.info("%s: %s", weights, loaded.report.summary())
    spec = loaded.input_spec.model_copy(update={"fit": asked.fit, "crop": asked.crop})
    return Start(loaded.encoder, spec, "pretrained", loaded.sha256, LICENCES[encoder])


def _vit_start(asked: _Asked) -> Start:
    weights, network = asked.weights, asked.network
    if isinstance(weights, Path):
        loaded = load_encoder(weights, image_px=asked.image_px, drop_path=asked.drop_path)
        log.info("%s: %s", weights, loaded.report.summary())
        licence = licence_of_vit(weights)
        return Start(loaded.encoder, loaded.input_spec, "pretrained", loaded.sha256, licence)
    spec = InputSpec(image_px=network.image_px, channels=network.channels, fit=asked.fit, crop=asked.crop)
    if asked.like is not None:
        file = read_weights(asked.like)
        network, spec = file.config, file.input_spec
    side = asked.image_px or network.image_px
    changes: dict[str, Any] = {"image_px": side, "drop_path": asked.drop_path}
    vit = VisionTransformer(make_config(ViTConfig, network.model_dump() | changes))
    start_weights(vit, torch.Generator().manual_seed(seed_for(asked.seed, "start")))
    return Start(vit.eval(), spec.model_copy(update={"image_px": side}), "scratch", None)
