"""Where the numbers of an encoder began, followed back through the records of its runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from usfmae.base.files import read_json
from usfmae.models.checkpoint_weights import run_of
from usfmae.models.half_file import notes_of
from usfmae.models.shipped import card_of
from usfmae.models.weights import WEIGHTS_FILE

RUN_FILE = "run.json"

RANDOM = "ultrasound only, from a random start"


def where_it_began(record: Mapping[str, Any], run: Path, *, notes: Mapping[str, str]) -> dict[str, Any]:
    """At random or from which weights, with which teacher, and whether all of them knew only ultrasound.

    Args:
        record: the content of the run's run.json.
        run: its folder; a run that it went on from is looked for where it was, and beside it.
        notes: of its weights file; `started_from` names published weights that it or a run before began with.

    Returns:
        kind ("random" or "weights"), words, ultrasound_only (None where no record tells), weights_sha256 and
        teacher (its facts, or None).
    """
    taken, started_from = record.get("weights"), notes.get("started_from")
    only: bool | None = True
    if taken is None:
        kind, sha256, words = "random", None, RANDOM
    else:
        kind, sha256 = "weights", record["made_by"]["inputs"].get("weights")
        words, only = _earlier(str(taken["file"]), run)
    if started_from:
        words, only = f"went on from {started_from}", False
    teacher = record.get("teacher")
    if teacher:
        said, teacher_only = _taught(teacher, run)
        only = None if only and teacher_only is None else only and teacher_only
        words = (words if only else words.removeprefix("ultrasound only, ")) + f"; {said}"
    return {
        "kind": kind,
        "words": words,
        "ultrasound_only": only,
        "weights_sha256": sha256,
        "teacher": without_places(teacher) or None,
    }


def _earlier(file: str, run: Path) -> tuple[str, bool | None]:
    """What is known of the weights that a run went on from."""
    path = Path(file)
    for place in (path, run.parent / path.name):
        card = card_of(place)
        if card is not None:
            start = card.content["start"]
            return f"went on from {card.name} ({start['words']})", start["ultrasound_only"]
        before = run_of(place)
        if (before / RUN_FILE).is_file():
            file_there = before / WEIGHTS_FILE
            notes = notes_of(file_there) if file_there.is_file() else {}
            began = where_it_began(read_json(before / RUN_FILE), before, notes=notes)
            return f"went on from the run {before.name} ({began['words']})", began["ultrasound_only"]
    return f"went on from {path.name}, whose images no record at hand tells", None


def _taught(teacher: Mapping[str, Any], run: Path) -> tuple[str, bool | None]:
    """The teacher in words, and whether it knew only ultrasound."""
    if teacher.get("kind") == "self":
        return "taught by its own average", True
    name, learnt_on = teacher.get("encoder") or teacher.get("name") or "a network", teacher.get("trained_on")
    words = f"taught by {name}" + (f", trained on {learnt_on}" if learnt_on else "")
    if name == "vit" and teacher.get("file"):
        earlier, only = _earlier(str(teacher["file"]), run)
        return f"{words} that {earlier}", only
    return words, False


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
