"""Masked autoencoders by kind: of a vision transformer, or of a convolutional network."""

from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag
from torch import Generator

from usfmae.models.encoders import start_cnn
from usfmae.models.mae import MaeConfig, MaskedAutoencoder
from usfmae.models.sparse_cnn import SparseAutoencoder, SparseCnnConfig
from usfmae.models.sparse_decoder import start_decoder
from usfmae.models.vit import start_weights

MaskedConfig: TypeAlias = MaeConfig | SparseCnnConfig
"""Settings of either."""

MaskedNetwork: TypeAlias = MaskedAutoencoder | SparseAutoencoder
"""Either, with `config`, `encoder`, `decoder` and `reconstruct`."""


def kind_of(settings: Any) -> str:
    """Which kind settings are of: what `kind` says, else a masked autoencoder of a ViT, as runs are that were
    made before there were others. In brackets, which `base.config` leaves out of messages."""
    kind = settings.get("kind", "mae") if isinstance(settings, dict) else getattr(settings, "kind", "mae")
    return f"<{kind}>"


AnyMaskedConfig = Annotated[
    Annotated[MaeConfig, Tag("<mae>")] | Annotated[SparseCnnConfig, Tag("<sparse-cnn>")],
    Discriminator(
        kind_of,
        custom_error_type="kind",
        custom_error_message="kind is mae (a ViT) or sparse-cnn (a convolutional network)",
    ),
]
"""For a field of a config that may hold either."""


def build_masked(config: MaskedConfig) -> MaskedNetwork:
    """The network of that kind, with torch's own random start."""
    return MaskedAutoencoder(config) if isinstance(config, MaeConfig) else SparseAutoencoder(config)


def start_masked(module: MaskedNetwork, generator: Generator) -> None:
    """A random start of that kind, drawn from `generator`."""
    if isinstance(module, MaskedAutoencoder):
        start_weights(module, generator)
    else:
        start_cnn(module.encoder, generator)
        start_decoder(module.decoder, generator)
        if module.projector is not None:
            start_weights(module.projector, generator)
