"""One vector per image from a frozen encoder."""

from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8

from usfmae.base.input_spec import InputSpec
from usfmae.base.logs import progress_bar
from usfmae.engine.augment import whole_batch
from usfmae.engine.devices import PrecisionName, autocast, pick_precision, to_input
from usfmae.models.classifier import PoolName, pool_tokens
from usfmae.models.encoder import Encoder


class FeatureStore:
    """Features that were made already, for evaluations of one encoder on many splits of one set."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Hashable, int], tuple[object, Float[np.ndarray, "n ..."]]] = {}

    def get(
        self,
        encoder: Hashable,
        images: UInt8[np.ndarray, "n s s"],
        make: Callable[[], Float[np.ndarray, "n ..."]],
    ) -> Float[np.ndarray, "n ..."]:
        """The features of these images (this array, not an equal one), made at the first call.

        Args:
            encoder: all that decides the features: hash of the weights, pooling, input and so on.
            images: prepared.
            make: encodes them.
        """
        key = (encoder, id(images))
        if key not in self._kept:
            self._kept[key] = (images, make())  # the array is kept so that its id stays its own
        return self._kept[key][1]


def encode_images(
    encoder: Encoder,
    images: UInt8[np.ndarray, "n s s"],
    *,
    input_spec: InputSpec,
    pool: PoolName | Literal["tokens"] = "mean",
    batch: int = 128,
    precision: PrecisionName = "fp32",
    title: str | None = None,
) -> Float[np.ndarray, "n ..."]:
    """Features of prepared images, each seen whole.

    The encoder is left as it was found, training or not, and no random number is drawn, so this may be
    called in the middle of a run.

    Args:
        encoder: on any device.
        images: prepared grey squares of any side; resized to the encoder's input.
        input_spec: how the encoder wants its input standardised.
        pool: how tokens become one vector; "tokens" keeps them all.
        batch: images at a time.
        precision: fp32 by default, so that features do not depend on the machine.
        title: text left of a progress bar; None for no bar, inside a run that has one.

    Returns:
        One row per image, in order: "n width", or "n tokens width" in half precision.
    """
    device = next(encoder.parameters()).device
    number_type = pick_precision(precision, device)
    was_training = encoder.training
    encoder.eval()
    rows = []
    try:
        shown = progress_bar(title, total=len(images)) if title else nullcontext()
        with torch.inference_mode(), shown as bar:
            for start in range(0, len(images), batch):
                part = whole_batch(images[start : start + batch], image_px=input_spec.image_px)
                with autocast(number_type, device):
                    tokens = encoder(to_input(torch.from_numpy(part), input_spec, device))
                kept = tokens.half() if pool == "tokens" else pool_tokens(tokens, pool).float()
                rows.append(kept.cpu().numpy())
                if bar:
                    bar.advance(len(part))
    finally:
        encoder.train(was_training)
    return np.concatenate(rows)
