"""Where the numbers of an encoder began, followed back through the records of its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usfmae.base.files import read_json
from usfmae.evaluate.known_pools import OF_PHOTOGRAPHS
from usfmae.models.checkpoint_weights import run_of
from usfmae.models.cnn_weights import STARTED_FROM
from usfmae.models.encoders import PUBLISHED_NAMES
from usfmae.models.file_licences import is_imagenet, published_behind
from usfmae.models.half_file import notes_of
from usfmae.models.licences import LICENCES, MAE, MAE_FILES, Licence, licence_of_vit
from usfmae.models.shipped import card_of
from usfmae.models.weights import WEIGHTS_FILE

RUN_FILE = "run.json"

RANDOM = "ultrasound only, from a random start"
NOT_KNOWN = Licence("not known", None, "no record at hand")


@dataclass(frozen=True)
class _Origin:
    """What is known of a start or a teacher."""

    words: str
    """For people."""

    ultrasound_only: bool | None
    """Whether it knew nothing else; None where no record tells."""

    foreign: tuple[dict[str, Any], ...] = ()
    """Networks from elsewhere that have a part in it, as `where_it_began` lists them."""


def where_it_began(record: Mapping[str, Any], run: Path, *, notes: Mapping[str, str]) -> dict[str, Any]:
    """At random or from which weights, with which teacher, and whether all of them knew only ultrasound.

    Args:
        record: the content of the run's run.json.
        run: its folder; a run that it went on from is looked for where it was, and beside it.
        notes: of its weights file; `started_from` names published weights that it or a run before began with.

    Returns:
        kind ("random" or "weights"), words, ultrasound_only (None where no record tells), foreign (every
        network from elsewhere that has a part in it: name, licence, commercial, which is None where nobody
        has said, and photographs_only, whether it is known to have seen nothing else), weights_sha256 and
        teacher (its facts, or None).
    """
    taken, started_from = record.get("weights"), notes.get(STARTED_FROM)
    kind, sha256, origin = "random", None, _Origin(RANDOM, True)
    if taken is not None:
        kind, sha256 = "weights", record["made_by"]["inputs"].get("weights")
        origin = _earlier(str(taken["file"]), run)
    if started_from and not _names(origin, published_behind(started_from)):
        origin = _noted(started_from)
    teacher, taught = record.get("teacher"), _Origin("", True)
    words, only = origin.words, origin.ultrasound_only
    if teacher:
        taught = _taught(teacher, run)
        only = None if only and taught.ultrasound_only is None else only and taught.ultrasound_only
        words = (words if only else words.removeprefix("ultrasound only, ")) + f"; {taught.words}"
    foreign = {(one["name"], one["licence"]): one for one in (*origin.foreign, *taught.foreign)}
    return {
        "kind": kind,
        "words": words,
        "ultrasound_only": only,
        "foreign": list(foreign.values()),
        "weights_sha256": sha256,
        "teacher": without_places(teacher) or None,
    }


def _names(origin: _Origin, network: str) -> bool:
    return any(one["name"] == network for one in origin.foreign)


def _foreign(name: str, licence: Licence, *, photographs_only: bool) -> dict[str, Any]:
    return {
        "name": name,
        "licence": licence.words,
        "commercial": licence.commercial,
        "photographs_only": photographs_only,
    }


def _unknown(name: str) -> dict[str, Any]:
    return _foreign(name, NOT_KNOWN, photographs_only=False)


def _published(name: str, *, photographs_only: bool) -> dict[str, Any]:
    return _foreign(name, LICENCES[name], photographs_only=photographs_only)


def _noted(started_from: str) -> _Origin:
    """What a note says of the weights at the very beginning, whose record may be gone."""
    network = published_behind(started_from)
    if not network:
        return _Origin(f"went on from {started_from}", None, (_unknown(started_from.split(",")[0]),))
    foreign = _published(network, photographs_only=True)
    return _Origin(f"began from ImageNet: {started_from}", False, (foreign,))


def _earlier(file: str, run: Path) -> _Origin:
    """What is known of the weights that a run went on from."""
    path = Path(file)
    for place in (path, run.parent / path.name):
        card = card_of(place)
        if card is not None:
            return _of_card(card.name, card.content["start"])
        before = run_of(place)
        if (before / RUN_FILE).is_file():
            file_there = before / WEIGHTS_FILE
            notes = notes_of(file_there) if file_there.is_file() else {}
            began = where_it_began(read_json(before / RUN_FILE), before, notes=notes)
            words = f"went on from the run {before.name} ({began['words']})"
            return _Origin(words, began["ultrasound_only"], tuple(began["foreign"]))
        if licence_of_vit(place) is MAE or MAE_FILES.fullmatch(place.name):
            words = f"began from ImageNet: {path.name} (MAE, {MAE.words})"
            return _Origin(words, False, (_foreign(path.name, MAE, photographs_only=True),))
    words = f"went on from {path.name}, whose images no record at hand tells"
    return _Origin(words, None, (_unknown(path.name),))


def _of_card(name: str, start: Mapping[str, Any]) -> _Origin:
    """A card's own start; one from before cards named networks from elsewhere says nothing of them."""
    unknown = [] if start["ultrasound_only"] else [_unknown(name)]
    foreign = tuple(start.get("foreign", unknown))
    return _Origin(f"went on from {name} ({start['words']})", start["ultrasound_only"], foreign)


def _taught(teacher: Mapping[str, Any], run: Path) -> _Origin:
    """What is known of a teacher; only its hash can say that a file is ImageNet's."""
    if teacher.get("kind") == "self":
        return _Origin("taught by its own average", True)
    name = str(teacher.get("encoder") or teacher.get("name") or "a network")
    if is_imagenet(name, str(teacher.get("sha256", ""))):
        foreign = _published(name, photographs_only=True)
        return _Origin(f"taught by {name}, trained on ImageNet", False, (foreign,))
    if name in PUBLISHED_NAMES:
        foreign = _published(name, photographs_only=name in OF_PHOTOGRAPHS)
        return _Origin(f"taught by {name}", False, (foreign,))
    if teacher.get("file"):
        earlier = _earlier(str(teacher["file"]), run)
        return _Origin(f"taught by {name} that {earlier.words}", earlier.ultrasound_only, earlier.foreign)
    return _Origin(f"taught by {name}", None, (_unknown(name),))


def shortened(command: Sequence[str]) -> list[str]:
    """The words of a command without the folders of the machine it ran on."""
    said = []
    for word in command:
        name, sign, value = word.rpartition("=")
        said.append(f"{name}{sign}{Path(value).name}" if value.startswith(("/", "~")) else word)
    return said


def without_places(node: Any) -> Any:
    """A record with every path of the machine cut to its name."""
    if isinstance(node, Mapping):
        return {name: without_places(value) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [without_places(value) for value in node]
    return Path(node).name if isinstance(node, str) and node.startswith(("/", "~")) else node
