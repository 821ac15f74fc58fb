"""Opening the network that teaches: a package of ImageNet weights, or any encoder in a file."""

from pathlib import Path
from typing import cast

from usfmae.base.errors import SettingError, WeightsError
from usfmae.models.cnn.efficientnet_lite import EfficientNetLite0, fold_norms
from usfmae.models.cnn_weights import imagenet_file, load_cnn
from usfmae.models.encoder import ConvolutionalEncoder
from usfmae.models.encoders import CNN_NAMES, CnnName, EncoderName
from usfmae.models.published.patched import PatchedEncoder
from usfmae.models.published_weights import load_published
from usfmae.models.teacher import TeacherConfig
from usfmae.models.weights import LoadedEncoder, load_encoder


def teacher_file(config: TeacherConfig) -> tuple[EncoderName, Path]:
    """Which network a frozen teacher is, and where its weights are.

    Raises:
        WeightsError: there is no such file, or the package with ImageNet weights is not installed.
    """
    if config.kind == "efficientnet-lite0":
        return "efficientnet-lite0", imagenet_file("efficientnet-lite0")
    assert config.weights is not None, "ask only for frozen teachers"
    if not config.weights.exists():
        raise WeightsError(
            f"model.teacher.weights={config.weights}: there is no such file",
            hint="give the file of an encoder or the folder of a run; model.teacher.encoder says which "
            "network is in it",
        )
    return config.encoder, config.weights


def open_teacher(config: TeacherConfig, *, grid: tuple[int, int]) -> LoadedEncoder:
    """Load a frozen teacher; a network of one input size at that where its patches are the student's.

    Args:
        config: kind "efficientnet-lite0" or "file".
        grid: patches of the student (down, across).

    Raises:
        WeightsError: the file is missing or damaged, or is of another network.
        SettingError: its features cannot be brought to the student's patches.
    """
    name, path = teacher_file(config)
    if name in CNN_NAMES:
        loaded = load_cnn(path, cast(CnnName, name))
    elif name == "vit":
        loaded = load_encoder(path)
    else:
        loaded = load_published(path, name)
    if isinstance(loaded.encoder, PatchedEncoder) and loaded.encoder.config.grid != grid:
        if grid[0] != grid[1]:
            raise SettingError(
                f"model.teacher.encoder={name} takes squares, and the student's images have {grid[0]} x "
                f"{grid[1]} patches",
                hint="choose a square model.encoder.image_px, or a convolutional teacher",
            )
        loaded = load_published(path, name, image_px=grid[0] * loaded.encoder.config.patch_px)
    if isinstance(loaded.encoder, EfficientNetLite0):
        fold_norms(loaded.encoder)
    loaded.encoder.requires_grad_(False).eval()
    return loaded


def check_map(
    config: TeacherConfig, encoder: ConvolutionalEncoder, size_px: tuple[int, int], *, name: str
) -> None:
    """Raise a SettingError where a convolutional teacher's map cannot be laid over the student's patches.

    Args:
        config: the stride that is asked for.
        encoder: the teacher.
        size_px: (height, width) of the student's images.
        name: of the teacher, for the message.
    """
    stride = config.stride_px
    if type(encoder).levels is ConvolutionalEncoder.levels and stride != encoder.stride_px:
        raise SettingError(
            f"model.teacher.stride_px={stride}: {name} gives its last map alone, at {encoder.stride_px} px",
            hint=f"--set model.teacher.stride_px={encoder.stride_px}",
        )
    if any(side % stride or side < 2 * stride for side in size_px):
        raise SettingError(
            f"model.teacher.stride_px={stride}: the teacher's map cannot be laid over images of {size_px[0]} "
            f"x {size_px[1]} px, whose sides must be multiples of {stride} px and hold at least two places",
            hint="choose a smaller model.teacher.stride_px, or images of another size",
        )
