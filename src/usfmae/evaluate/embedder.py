"""An encoder ready to use: pictures in, one vector each out, prepared as everywhere else here.

What `usfmae.load` gives. Pictures go through `images.read` and `images.prepare`, are resized as evaluation
resizes them, and their tokens are pooled as nearest neighbours see them, so an embedding made here is the
feature that `usfmae evaluate knn` compares.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, UInt8

from usfmae.base.config import nearest
from usfmae.base.errors import FolderError, SettingError
from usfmae.base.files import read_json
from usfmae.base.input_spec import InputSpec
from usfmae.engine.devices import DeviceName, PrecisionName, pick_device
from usfmae.evaluate.features import encode_images
from usfmae.evaluate.start import Start, encoder_of, open_start
from usfmae.images.frame import Frame, FrameSource
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frame
from usfmae.models.checkpoint_weights import run_of
from usfmae.models.classifier import PoolName
from usfmae.models.encoder import Encoder
from usfmae.models.encoders import ENCODER_NAMES, EncoderName
from usfmae.models.shipped import default_file, weights_named
from usfmae.models.vit import VisionTransformer, ViTConfig

PREPARED_PX = 256
"""Side of prepared pictures before they are resized to the network's input; that of corpora and tasks."""

AT_ONCE = 512
"""Pictures prepared before they are encoded, so that any number fits into memory (33 MB of prepared ones)."""

Picture = str | Path | Frame | np.ndarray[Any, np.dtype[Any]]
"""A file (of a clip or volume its first frame), a frame of `images.read`, or bytes: uint8, height x width, or
height x width x 3 for red, green and blue. Arrays come from a user's own code, so they are looked at here."""


@dataclass(frozen=True, eq=False, repr=False)
class Embedder:
    """An encoder with what is known of it; `print` shows that."""

    name: str
    """Under which the weights ship, or of their folder or file."""

    encoder: Encoder
    """The network, in evaluation mode: standardised images to tokens, the class token (or the mean) first."""

    input_spec: InputSpec
    """What the encoder wants to see; `engine.devices.to_input` standardises grey bytes by it."""

    sha256: str
    """Of the weights file; "scratch" for a random start."""

    network: EncoderName
    """Which network, as `--encoder` names it."""

    licence: str
    """Of the weights, in words; empty where nothing is known."""

    learnt_on: str
    """What the encoder was trained on, in words; empty where nothing is known."""

    card: dict[str, Any] | None = None
    """The model card beside the weights file, whole; see docs/weights.md."""

    @property
    def width(self) -> int:
        """Numbers in an embedding."""
        return self.encoder.embed_dim

    def to(self, device: DeviceName) -> "Embedder":
        """Move the network; returns the same object.

        Raises:
            SettingError: CUDA was asked for and is not there.
        """
        self.encoder.to(pick_device(device))
        return self

    def embed(
        self,
        pictures: Picture | Sequence[Picture],
        *,
        batch: int = 128,
        pool: PoolName = "mean",
        precision: PrecisionName = "fp32",
    ) -> Float32[np.ndarray, "n d"]:
        """One vector per picture, in order.

        Args:
            pictures: one, or a list of them; a stack of bytes "n height width" is a list of pictures. Of a
                clip the first frame is taken; give the frames of `images.read.read_frames` for all.
            batch: pictures in the network at a time.
            pool: how tokens become one vector: the mean of the places, the class token ("cls"), or both.
            precision: fp32 by default, so that the numbers do not depend on the machine.

        Raises:
            ImageError: a file cannot be read.
            ValueError: an array is no picture of bytes.
        """
        many = _is_many(pictures)
        listed = list(cast(Sequence[Picture], pictures)) if many else [cast(Picture, pictures)]
        rows = [
            self.encode(
                self.prepare(listed[start : start + AT_ONCE]), batch=batch, pool=pool, precision=precision
            )
            for start in range(0, len(listed), AT_ONCE)
        ]
        width = self.width * (2 if pool == "mean+cls" else 1)
        return np.concatenate(rows) if rows else np.zeros((0, width), dtype=np.float32)

    def prepare(self, pictures: Sequence[Picture]) -> UInt8[np.ndarray, "n side side"]:
        """Pictures as grey squares, shown as the encoder has learnt to see them; read in several threads."""
        with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as threads:
            return np.stack(list(threads.map(self.prepare_one, pictures)))

    def prepare_one(self, picture: Picture) -> UInt8[np.ndarray, "side side"]:
        """One picture as a grey square; see `prepare`."""
        spec = self.input_spec
        return prepare(_frame(picture), size_px=PREPARED_PX, fit=spec.fit, crop=spec.crop)

    def encode(
        self,
        prepared: UInt8[np.ndarray, "n side side"],
        *,
        batch: int = 128,
        pool: PoolName = "mean",
        precision: PrecisionName = "fp32",
    ) -> Float32[np.ndarray, "n d"]:
        """One vector per prepared square; arguments as in `embed`."""
        made = encode_images(
            self.encoder, prepared, input_spec=self.input_spec, pool=pool, batch=batch, precision=precision
        )
        return made.astype(np.float32, copy=False)

    def __repr__(self) -> str:
        spec = self.input_spec
        height, width = spec.size_px
        shown = "aspect kept on black" if spec.fit == "pad" else "stretched to the square"
        shown += ", the whole picture" if spec.crop == "none" else ", cropped to the echo"
        colours = "grey" if spec.channels == 1 else f"grey in {spec.channels} channels"
        parameters = sum(parameter.numel() for parameter in self.encoder.parameters())
        held = [] if self.card is None else self.card["held_out"]
        facts = {
            "network": f"{network_words(self.encoder, self.network)}, {parameters / 1e6:.1f} M parameters, "
            f"embeddings of {self.width}",
            "input": f"{height} x {width} px, {colours}, {shown}",
            "learnt on": self.learnt_on or "not known",
            "held out": ", ".join(held) if held else "",
            "licence": self.licence or "not known",
            "sha256": self.sha256,
        }
        return "\n".join([self.name, *(f"  {key:10} {value}" for key, value in facts.items() if value)])


def load(name_or_path: str | Path, *, image_px: int | None = None, encoder: str | None = None) -> Embedder:
    """An encoder ready to use, on the CPU; `usfmae.load` is this.

    Args:
        name_or_path: a name that ships with the package (`usfmae_s16`), a run folder, a checkpoint in one, or
            a file; "default" for what ships.
        image_px: input side in pixels; None for that of the weights. Positions are resampled.
        encoder: which network a file holds that does not say so itself.

    Raises:
        WeightsError: no such weights (the nearest name is named), damaged, or not what their card says.
        SettingError: `encoder` is no network, or the patch does not divide `image_px`.
    """
    if encoder is not None and encoder not in ENCODER_NAMES:
        raise SettingError(f"{encoder}: no such network", hint=nearest(encoder, ENCODER_NAMES))
    words = str(name_or_path)
    weights = default_file() if words == "default" else weights_named(words)
    network = encoder_of(weights, cast(EncoderName | None, encoder))
    start = open_start(weights, network=ViTConfig(), encoder=network, image_px=image_px)
    return _embedder(weights, network, start)


def network_words(encoder: Encoder, name: str) -> str:
    """A network as papers call it: ViT-S/16, or its own name."""
    if isinstance(encoder, VisionTransformer):
        size = encoder.config.size
        return f"ViT-{size.capitalize()}/{encoder.config.patch_px}"
    return name


def _embedder(weights: Path | str, network: EncoderName, start: Start) -> Embedder:
    card = None if start.card is None else start.card.content
    if card is not None:
        name, learnt_on = card["name"], _said_by_card(card)
    else:
        name = str(weights)
        learnt_on = _said_by_run(weights) if isinstance(weights, Path) else "nothing: a random start"
    return Embedder(
        name=name,
        encoder=start.encoder,
        input_spec=start.input_spec,
        sha256=start.sha256 or "scratch",
        network=network,
        licence="" if start.licence is None else start.licence.words,
        learnt_on=learnt_on,
        card=card,
    )


def _said_by_card(card: dict[str, Any]) -> str:
    names = ", ".join(card["trained_on"])
    return f"{card['data']['num_images']:,} images ({names}); {card['start']['words']}"


def _said_by_run(weights: Path) -> str:
    run = run_of(weights) / "run.json"
    if not run.is_file():
        return ""
    try:
        pool = read_json(run).get("corpus") or {}
    except FolderError:
        return ""
    if "num_images" not in pool:
        return ""
    return f"{pool['num_images']:,} images of the corpus {pool['sha256'][:12]}"


def _is_many(pictures: object) -> bool:
    if isinstance(pictures, np.ndarray):
        return pictures.ndim == 4 or (pictures.ndim == 3 and pictures.shape[2] != 3)
    return not isinstance(pictures, str | Path | Frame)


def _frame(picture: Picture) -> Frame:
    if isinstance(picture, Frame):
        return picture
    if isinstance(picture, str | Path):
        return read_frame(Path(picture))
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"a picture is bytes (uint8, 0 black to 255 white), height x width or height x width x 3, not "
            f"{pixels.dtype} {' x '.join(map(str, pixels.shape))}"
        )
    if not pixels.size:
        raise ValueError("a picture has at least one pixel")
    return Frame(pixels, spacing_mm=None, source=FrameSource("array", 0, 1))
