"""Weights that come with the package, by name, and the cards that say what they are.

    pretrained/usfmae_s16.safetensors   the encoder, in half precision
    pretrained/usfmae_s16.json          its card, which holds the SHA-256 of the file beside it
    pretrained/usfmae_s16.md, .html     the card for people
    pretrained/usfmae_s16.seen.npy      hashes of the images it has learnt from, see `evaluate.seen_images`

`usfmae card` makes them all. $USFMAE_PRETRAINED names another folder of such files, for a group that gives
names to encoders of its own. Nothing here needs torch, so a command can tell names before it loads anything.
"""

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

from usfmae.base.config import nearest
from usfmae.base.errors import WeightsError
from usfmae.base.files import file_sha256

FOLDER_VARIABLE = "USFMAE_PRETRAINED"
"""Environment variable that names a folder to be read in place of the package's."""

DEFAULT_NAME = "usfmae_s16"
"""What is meant where no weights are named."""

CARD_FORMAT = "usfmae model card 1"
"""The entry `format` of a card's JSON."""

MAX_SHIPPED_BYTES = 60_000_000
"""Of all weights in the package together."""


@dataclass(frozen=True)
class WeightsCard:
    """What the card beside a weights file says of it."""

    content: dict[str, Any]
    """The whole JSON; see `evaluate.model_card`."""

    folder: Path
    """Where it lies."""

    @property
    def name(self) -> str:
        """How the weights are called."""
        return str(self.content["name"])

    @property
    def sha256(self) -> str:
        """Of the weights file."""
        return str(self.content["file"]["sha256"])

    @property
    def encoder(self) -> str:
        """Which network, as `--encoder` names it."""
        return str(self.content["encoder"])

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of the datasets and folders whose images it has seen."""
        return tuple(self.content["trained_on"])

    @property
    def held_out(self) -> tuple[str, ...]:
        """Names of the datasets whose images were kept out of its training by content."""
        return tuple(self.content["held_out"])

    @property
    def pools(self) -> tuple[dict[str, str], ...]:
        """What it was trained on, as `pools_seen` of a run has it: folder and sha256."""
        return tuple({"folder": p["folder"], "sha256": p["sha256"]} for p in self.content["data"]["pools"])

    @property
    def of_unknown_images(self) -> tuple[str, ...]:
        """Networks that it began from or was taught by, and of whose images nobody here can tell."""
        foreign = self.content["start"].get("foreign", ())
        return tuple(str(one["name"]) for one in foreign if not one["photographs_only"])


def shipped_folder() -> Path:
    """Where weights are looked for by name."""
    named = os.environ.get(FOLDER_VARIABLE, "")
    return Path(named) if named else Path(str(files("usfmae"))) / "pretrained"


def shipped_names() -> list[str]:
    """All names, in alphabetical order; empty where this build ships none."""
    return sorted(path.stem for path in shipped_folder().glob("*.safetensors"))


def shipped_file(name: str) -> Path:
    """The file of a name, with the bytes that its card tells.

    Raises:
        WeightsError: there is no such name (the nearest is named), no card, or the file is another one.
    """
    if name not in shipped_names():
        raise WeightsError(f"{name}: no weights of this name are shipped", hint=_known(name))
    path = shipped_folder() / f"{name}.safetensors"
    if card_of(path) is None:
        raise WeightsError(
            f"{path}: has no card beside it that can be read ({name}.json)",
            hint="install the package again; `usfmae card` makes a file with its card",
        )
    return path


def default_name() -> str | None:
    """What is meant where no weights are named: `usfmae_s16`, or the only ones there are; else None.

    The package ships `usfmae_s16` and perhaps a convolutional network beside it, which has to be named.
    """
    names = shipped_names()
    if DEFAULT_NAME in names:
        return DEFAULT_NAME
    return names[0] if len(names) == 1 else None


def default_file() -> Path:
    """The file of `default_name`.

    Raises:
        WeightsError: none are shipped, or several and none of them is `usfmae_s16`.
    """
    names, default = shipped_names(), default_name()
    if default is None:
        raise WeightsError(
            "no weights are named, and " + ("this build ships none" if not names else "several are shipped"),
            hint="give a file, a run folder or `scratch` with --weights"
            + (f", or one of {', '.join(names)}" if names else ""),
        )
    return shipped_file(default)


def weights_named(words: str) -> Path | Literal["scratch", "imagenet"]:
    """What `--weights` says: a name that is shipped, a path, or one of two words.

    A word that is a shipped name means that, whatever folders there are; `./usfmae_s16` means the folder.

    Raises:
        WeightsError: the file of that name is not what its card says.
    """
    if words in ("scratch", "imagenet"):
        return cast(Literal["scratch", "imagenet"], words)
    return shipped_file(words) if words in shipped_names() else Path(words)


def file_named(words: str | Path | None) -> Path | None:
    """As `weights_named`, where only a file or a folder will do; None stays None."""
    if words is None:
        return None
    return shipped_file(str(words)) if str(words) in shipped_names() else Path(words)


def unknown_name(path: Path) -> str:
    """A hint for a path that is not there and may be a mistyped name; empty where it cannot be one."""
    return _known(path.name) if len(path.parts) == 1 and not path.suffix else ""


def card_of(weights: Path) -> WeightsCard | None:
    """The card beside a weights file; None where there is none, as beside the weights of a run.

    Raises:
        WeightsError: the file is not the one that its card describes.
    """
    beside = weights.with_suffix(".json")
    if weights.suffix != ".safetensors" or not weights.is_file() or not beside.is_file():
        return None
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("format") != CARD_FORMAT:
        return None
    card = WeightsCard(content, weights.parent)
    status = weights.stat()
    found = _sha256(weights.resolve(), status.st_mtime_ns, status.st_size)
    if found != card.sha256:
        raise WeightsError(
            f"{weights}: is damaged or another file than its card describes (SHA-256 {found[:12]}..., "
            f"on the card {card.sha256[:12]}...)",
            hint="install the package again, or make file and card anew with `usfmae card`",
        )
    return card


def _known(name: str) -> str:
    known = shipped_names()
    return nearest(name, known) if known else "this build ships no weights; give a file or a run folder"


@lru_cache(maxsize=16)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    """Read once for each state of a file, however often its weights are named."""
    return file_sha256(path)
