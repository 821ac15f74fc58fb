"""Under which licence the numbers in a file are, as far as its card, its bytes or its notes tell."""

import re
from pathlib import Path
from typing import cast

from usfmae.models.cnn_weights import IMAGENET_FILES, read_cnn, stated_encoder
from usfmae.models.encoders import CNN_NAMES, PUBLISHED_NAMES, CnnName
from usfmae.models.licences import LICENCES, UNKNOWN_CNN, Licence, licence_of_vit
from usfmae.models.shipped import card_of


def licence_of_file(path: Path, encoder: str) -> Licence | None:
    """The licence of weights in a file, a run folder or a checkpoint.

    Args:
        path: where they are.
        encoder: which network, as `--encoder` names it.

    Returns:
        That of the card beside it, of the publisher of such networks, or of the published file that it is;
        `UNKNOWN_CNN` for a convolutional network's file of others that is none of those; None for files of
        ViTs that are not known and for runs of pretraining, whose terms are those of their images.

    Raises:
        WeightsError: it has to be read and is missing or damaged, or is not what its card says.
    """
    card = card_of(path)
    if card is not None:
        return Licence(**card.content["licence"])
    if encoder in PUBLISHED_NAMES:
        return LICENCES[encoder]
    if encoder not in CNN_NAMES:
        return licence_of_vit(path)
    if stated_encoder(path) == encoder:
        return None
    file = read_cnn(path, cast(CnnName, encoder))
    return LICENCES[encoder] if file.is_imagenet else UNKNOWN_CNN


def is_imagenet(encoder: str, sha256: str) -> bool:
    """Whether a hash is that of one of the published ImageNet files of a convolutional network."""
    return bool(sha256) and sha256.startswith(IMAGENET_FILES.get(encoder, ("-",)))


def published_behind(started_from: str) -> str:
    """The network whose published ImageNet weights a note names, as `CnnFile.started_from` writes it.

    Args:
        started_from: the note `started_from` of a weights file.

    Returns:
        Its name, as `--encoder` has it; empty where the note names a file of unknown pretraining.
    """
    found = re.search(r", published weights of ([a-z0-9-]+) \(", started_from)
    return found[1] if found and found[1] in CNN_NAMES else ""
