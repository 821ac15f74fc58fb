"""The only way from a file that others have published to their encoder, and it is strict.

An adapter knows the names under which a network's tensors were published, what of a file is no encoder and
is dropped with a reason, and what the network wants to see. The shape is read off the tensors; anything
missing, left over or misshapen is an error, so nothing keeps its random start unseen.
"""

from pathlib import Path

from usfmae.base.errors import WeightsError
from usfmae.models.encoders import EncoderName
from usfmae.models.weights import LoadedEncoder, load_encoder


def load_published(
    path: Path, name: EncoderName, *, image_px: int | None = None, drop_path: float = 0.0
) -> LoadedEncoder:
    """Build a published encoder and load it strictly.

    Args:
        path: a .pth, .pt, .bin or .safetensors file with published names.
        name: which encoder.
        image_px: input side wanted; positions are resampled. None for that of the weights.
        drop_path: stochastic depth for training on.

    Raises:
        WeightsError: the file is missing or damaged, or is not of this encoder.
        SettingError: the patch does not divide `image_px`.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    assert name == "usf-mae"
    return load_encoder(path, image_px=image_px, drop_path=drop_path)
