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

KEPT_BYTES = 2**30
"""Of features of earlier evaluations, while others are made: hundreds of encoders' vectors, or few ones'
tokens."""


class FeatureStore:
    """Features that were made already, for evaluations of one encoder on many splits of one set.

    Those that were not asked for longest go first: features of 1,875 images are 6 MB as vectors of 768, but
    740 MB as 257 tokens in half precision, and a plan has many encoders.

    Args:
        limit_bytes: kept while others are made; what is made is kept whatever its size, until then.
    """

    def __init__(self, *, limit_bytes: int = KEPT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._kept: dict[tuple[Hashable, int], tuple[object, Float[np.ndarray, "n ..."]]] = {}

    def get(
        self,
        encoder: Hashable,
        images: UInt8[np.ndarray, "n s s"],
        make: Callable[[], Float[np.ndarray, "n ..."]],
    ) -> Float[np.ndarray, "n ..."]:
        """The features of these images (this array, not an equal one), made where they are not kept.

        Args:
            encoder: all that decides the features: hash of the weights, pooling, input and so on.
            images: prepared.
            make: encodes them.
        """
        key = (encoder, id(images))
        if key not in self._kept:
            while self._kept and self.num_bytes > self.limit_bytes:
                del self._kept[next(iter(self._kept))]
            features = make()
        else:
            features = self._kept.pop(key)[1]
        self._kept[key] = (images, features)  # last; the array is kept so that its id stays its own
        return features

    @property
    def num_bytes(self) -> int:
        """Of all features that are kept."""
        return sum(features.nbytes for _, features in self._kept.values())


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
