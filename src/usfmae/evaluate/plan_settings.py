"""Under which settings the contenders of a plan were used, as their cells record them.

A method's defaults are not the same for all: fine-tuning has others for convolutional networks and for random
starts. So what is told is read off `made_by.settings` of every cell, where nothing is left open.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from usfmae.base.config import flat
from usfmae.base.errors import SettingError, WeightsError
from usfmae.evaluate.plan import Plan, PlanEncoder
from usfmae.evaluate.plan_scores import Entry
from usfmae.evaluate.result import HARMLESS
from usfmae.models.shipped import file_named
from usfmae.models.weights import read_weights

OF_THE_CELL = frozenset({"encoder", "seed", "task.folds", "task.label_seed"})
"""What makes a cell this one: said in other places of the page."""

SIDE = "image_px"
ITS_OWN = "that of its weights"
"""An image side that no record and no file at hand gives."""

NOT_USED = "not used"


@dataclass(frozen=True)
class WaySettings:
    """The settings of one way on one or more tasks."""

    way: str
    tasks: tuple[str, ...]
    """Where they are these."""

    contenders: tuple[str, ...]
    same: dict[str, str]
    """Settings that all contenders have alike."""

    differing: dict[str, dict[str, str]]
    """Setting, then contender: those in which they differ."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "way": self.way,
            "tasks": list(self.tasks),
            "same_for_all": self.same,
            "differing": self.differing,
        }


def settings_by_way(plan: Plan, entries: Sequence[Entry]) -> list[WaySettings]:
    """What contenders have alike and in what they differ, tasks with equal settings together."""
    found: list[WaySettings] = []
    for way in plan.ways:
        for task in plan.tasks:
            mine = [e for e in entries if (e.task, e.way) == (task.name, way.name)]
            if not mine:
                continue
            one = _compared(way.name, task.name, {e.encoder: _values(plan, e) for e in mine})
            alike = [
                place
                for place, other in enumerate(found)
                if (other.way, other.contenders, other.same, other.differing)
                == (one.way, one.contenders, one.same, one.differing)
            ]
            if alike:
                before = found[alike[0]]
                tasks = (*before.tasks, task.name)
                found[alike[0]] = WaySettings(before.way, tasks, one.contenders, one.same, one.differing)
            else:
                found.append(one)
    return found


def changing_settings(plan: Plan, entries: Sequence[Entry]) -> list[str]:
    """Settings that are not the same in all cells of a contender in one way on one task, as sentences."""
    return [
        f"{entry.encoder}, {entry.way} on {entry.task}: {name} is not the same in all of its cells "
        f"({' / '.join(values)}), so its number is a mean of unlike things"
        for entry in entries
        for name, values in _values(plan, entry).items()
        if len(values) > 1
    ]


def commits_of(entries: Sequence[Entry]) -> dict[str, int]:
    """How many cells were made by each commit of the code."""
    counted = Counter(
        str(result["made_by"].get("commit") or "not recorded")
        for entry in entries
        for result in entry.results
    )
    return dict(sorted(counted.items(), key=lambda one: (-one[1], one[0])))


def image_sides(plan: Plan, entry: Entry) -> list[str]:
    """The side of what the network sees in px, as it is in the cells; one unless cells differ."""
    contender = next(one for one in plan.encoders if one.name == entry.encoder)
    return list(dict.fromkeys(_side(contender, result) for result in entry.results))


def _compared(way: str, task: str, values: dict[str, dict[str, list[str]]]) -> WaySettings:
    same: dict[str, str] = {}
    differing: dict[str, dict[str, str]] = {}
    for name in sorted({name for mine in values.values() for name in mine}):
        by_contender = {encoder: " / ".join(mine.get(name, [])) for encoder, mine in values.items()}
        known = {words for words in by_contender.values() if words}
        if len(known) == 1:
            same[name] = known.pop()
        else:
            differing[name] = by_contender
    for name in [name for name, words in same.items() if words == NOT_USED]:
        del same[name]
    return WaySettings(way, (task,), tuple(values), same, differing)


def _values(plan: Plan, entry: Entry) -> dict[str, list[str]]:
    """Every setting of an entry in words, with all values that its cells have."""
    contender = next(one for one in plan.encoders if one.name == entry.encoder)
    found: dict[str, dict[str, None]] = {}
    for result in entry.results:
        shape_is_used = _is_plain_scratch(contender, result)
        for name, value in flat(result["made_by"]["settings"]).items():
            if name in HARMLESS or name in OF_THE_CELL:
                continue
            words = _words(value)
            if name == SIDE:
                words = _side(contender, result)
            elif name.startswith("network.") and not shape_is_used:
                words = NOT_USED
            found.setdefault(name, {})[words] = None
    return {name: list(values) for name, values in found.items()}


def _is_plain_scratch(contender: PlanEncoder, result: dict[str, Any]) -> bool:
    """Whether the shape in the settings is that of the network: of a ViT that takes it from no file."""
    return (result["encoder"], result["init"], contender.like) == ("vit", "scratch", None)


def _side(contender: PlanEncoder, result: dict[str, Any]) -> str:
    settings = result["made_by"]["settings"]
    known = result.get(SIDE) or settings.get(SIDE)
    if known is None and _is_plain_scratch(contender, result):
        known = settings["network"][SIDE]
    if known is None and result["encoder"] == "vit":
        known = _side_of_file(contender, result)
    return ITS_OWN if known is None else _words(known)


def _side_of_file(contender: PlanEncoder, result: dict[str, Any]) -> Any:
    """The side that the contender's file says, as long as it is at hand and the one that was used."""
    scratch = result["init"] == "scratch"
    pattern = contender.like if scratch else contender.weights
    split = result["made_by"]["settings"]["task"]["folds"][0]
    try:
        words = contender.filled(pattern or "", task=result["task"], split=str(split), seed=result["seed"])
        file = file_named(words)
        if file is None or not file.exists():
            return None
        sha256, side = _spec_of(file, file.stat().st_mtime_ns)
    except (SettingError, WeightsError):
        return None
    return side if scratch or sha256 == result.get("weights_sha256") else None


@lru_cache(maxsize=64)
def _spec_of(file: Path, _changed_ns: int) -> tuple[str, Any]:
    """Hash and image side of a weights file; read once for all cells."""
    found = read_weights(file)
    return found.sha256, found.input_spec.image_px


def _words(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return f"[{', '.join(map(_words, value))}]"
    return str(value)
