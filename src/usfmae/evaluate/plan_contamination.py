"""Whether the encoders of a plan have seen its test images while they were pretrained.

Looked for before anything is trained. A test image that is in a pool stops the plan, and so does an encoder
of which nobody can say: the plan has to allow either by name, and the page says what was found or not looked
for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from usfmae.base.errors import LeakError, SettingError, WeightsError
from usfmae.evaluate.contamination import PretrainingPool, check_contamination
from usfmae.evaluate.known_pools import known_of
from usfmae.evaluate.plan import Cell, Plan
from usfmae.evaluate.protocol import Task
from usfmae.evaluate.start import Weights, encoder_of, was_pretrained_here
from usfmae.models.cnn_weights import read_cnn
from usfmae.models.encoders import PUBLISHED_NAMES, CnnName
from usfmae.models.shipped import card_of, weights_named

NO_ULTRASOUND = "not pretrained on ultrasound here"
BY_HASH = "by the hashes of its card; near-duplicates were not looked for"
HELD_OUT = "held out, says the card of its weights"
PARTLY = "its card names this set among both, what it was trained on and what was held out"
NOT_AT_HAND = "what it was pretrained on is not at hand"

NO_IMAGENET = "it is none of the published ImageNet files, and what it was pretrained on is not known"
ALLOW = "allow_unchecked: true in the plan goes on and says so on the page"


@dataclass(frozen=True)
class Seen:
    """What is known of one encoder and the test images of one split."""

    cell: Cell
    """One of those with this encoder, split and weights."""

    kind: Literal["no ultrasound", "held out", "looked for", "known", "unchecked"]
    """Looked for: the whole pool was compared with. Known: its publisher or its card names the set."""

    why: str = ""
    """Of "known" and "unchecked"."""

    num_exact: int = 0
    """Test images whose pixels are in what is at hand of the pool."""

    num_near: int = 0
    """Those that only look like one there."""

    num_images: int = 0
    """Test images that were looked for."""

    first: str = ""
    """A test image whose pixels are there."""

    own_card: bool = field(default=False, kw_only=True)
    """Whether it is the card beside the weights that names the set."""

    by_hash: bool = field(default=False, kw_only=True)
    """Whether it was looked for by the hashes that travel with the card, which tell equal pixels alone."""


def look_for_test_images(
    cells: Sequence[Cell],
    *,
    task_of: Callable[[Cell], Task],
    pool_of: Callable[[Cell], PretrainingPool | None],
) -> list[Seen]:
    """What each encoder has seen of each split, once for each of its weights.

    Args:
        cells: of a plan.
        task_of: a cell's images.
        pool_of: what a cell's weights were pretrained on; None where that is not at hand.
    """
    found: dict[tuple[str, ...], Seen] = {}
    for cell in cells:
        key = (cell.task.name, cell.split, cell.encoder.name, cell.weights)
        if key not in found:
            found[key] = _seen(cell, task_of, pool_of)
    return list(found.values())


def _seen(
    cell: Cell, task_of: Callable[[Cell], Task], pool_of: Callable[[Cell], PretrainingPool | None]
) -> Seen:
    weights: Weights = weights_named(cell.weights)
    if not isinstance(weights, Path):
        return Seen(cell, "no ultrasound")
    encoder = encoder_of(weights, cell.encoder.encoder)
    if encoder in PUBLISHED_NAMES:
        known = known_of(encoder, cell.task.name)
        kinds: dict[str, Any] = {"learnt": "known", "photographs": "no ultrasound", "unknown": "unchecked"}
        return Seen(cell, kinds[known.kind], known.why)
    if not was_pretrained_here(weights, encoder=encoder):
        try:
            is_imagenet = read_cnn(weights, cast(CnnName, encoder)).is_imagenet
        except WeightsError as error:
            return Seen(cell, "unchecked", error.message)
        return Seen(cell, "no ultrasound") if is_imagenet else Seen(cell, "unchecked", NO_IMAGENET)
    pool, card = pool_of(cell), card_of(weights)
    if pool is None and card is None:
        return Seen(cell, "unchecked", NOT_AT_HAND)
    record = check_contamination(task_of(cell), "pretrained", pool, card=card)
    if not record["checked"]:
        said = record["card"]
        if said["task_held_out"] and said["task_trained_on"]:
            return Seen(cell, "unchecked", PARTLY)
        if said["task_held_out"]:
            return Seen(cell, "held out")
        if said["task_trained_on"]:
            return Seen(cell, "known", "the card of its weights", own_card=True)
        return Seen(cell, "unchecked", NOT_AT_HAND)
    missing = record.get("pools_missing", ())
    return Seen(
        cell,
        "unchecked" if missing else "looked for",
        f"part of its pool is not at hand ({', '.join(missing)})" if missing else "",
        num_exact=record["test_images_in_pool"],
        num_near=record["near_duplicates_in_pool"] or 0,
        by_hash=record["near_duplicates_in_pool"] is None,
        num_images=record["of"],
        first=record.get("first", ""),
    )


def refuse_contamination(plan: Plan, seen: Iterable[Seen], *, unfinished: Iterable[Cell]) -> None:
    """Stop a plan whose numbers would be no evidence, unless it allows that.

    Args:
        plan: says what it allows.
        seen: from `look_for_test_images`.
        unfinished: cells that are still to be made; an encoder all of whose cells are there is not refused
            for what nobody has looked for.

    Raises:
        LeakError: a test image is in the pool of an encoder.
        SettingError: of some encoder nobody can say.
    """
    waiting = {(cell.task.name, cell.split, cell.encoder.name, cell.weights) for cell in unfinished}
    open_ones = []
    for one in seen:
        cell = one.cell
        if one.num_exact and not plan.allow_contamination:
            raise LeakError(
                f"{cell.encoder.name} has seen {one.num_exact:,} of {one.num_images:,} test images of "
                f"{cell.task.name} {cell.split} while it was pretrained (first: {one.first})",
                hint="pretrain without them: usfmae corpus build --hold-out NAME=DIR; "
                "allow_contamination: true goes on and says so on the page",
            )
        is_open = one.kind == "unchecked" or (one.kind == "known" and not plan.allow_contamination)
        key = (cell.task.name, cell.split, cell.encoder.name, cell.weights)
        if is_open and not plan.allow_unchecked and key in waiting:
            open_ones.append(one)
    if open_ones:
        names = list(dict.fromkeys(one.cell.encoder.name for one in open_ones))
        first = open_ones[0]
        raise SettingError(
            f"nobody can say whether {', '.join(names)} has seen test images while it was pretrained (first: "
            f"{first.cell.encoder.name}, {first.cell.task.name} {first.cell.split}: {_words([first])})",
            hint=f"name its pool with --corpus DIR, or {ALLOW}"
            if any(map(_may_be_named, open_ones))
            else ALLOW,
        )


def _may_be_named(one: Seen) -> bool:
    """Whether it lacks a pool that `--corpus` can name: a published encoder is not vouched for by ours."""
    return one.why in (NOT_AT_HAND, PARTLY) or one.num_images > 0


def seen_words(seen: Sequence[Seen]) -> dict[str, dict[str, str]]:
    """By encoder and task: "clean", "2 exact, 3 near-duplicates of 300 test images", "unchecked: why", ..."""
    by_task: dict[str, dict[str, list[Seen]]] = {}
    for one in seen:
        tasks = by_task.setdefault(one.cell.encoder.name, {})
        tasks.setdefault(one.cell.task.name, []).append(one)
    return {
        encoder: {task: _words(ones) for task, ones in tasks.items()} for encoder, tasks in by_task.items()
    }


def words_of_encoder(by_task: dict[str, str]) -> str:
    """The words of all tasks as one, with their names where they differ."""
    if len(set(by_task.values())) == 1:
        return next(iter(by_task.values()))
    return "; ".join(f"{task}: {words}" for task, words in by_task.items())


def seen_sentences(seen: Sequence[Seen]) -> list[str]:
    """What stands on top of the page: what nobody has looked for, what is known, and what looks alike.

    Test images that are in a pool, and sets that the card of weights names, are said there from the results.
    """
    said: list[str] = []
    for encoder, task in dict.fromkeys((one.cell.encoder.name, one.cell.task.name) for one in seen):
        mine = [one for one in seen if (one.cell.encoder.name, one.cell.task.name) == (encoder, task)]
        unchecked = dict.fromkeys(one.why for one in mine if one.kind == "unchecked")
        known = dict.fromkeys(one.why for one in mine if one.kind == "known" and not one.own_card)
        _, near, images = _counts(mine)
        said += [
            f"whether {encoder} has seen test images of {task} in pretraining is unchecked: {why}"
            for why in unchecked
        ]
        said += [
            f"{encoder} is known to have learnt from {task} ({why}): its numbers there are no evidence"
            for why in known
        ]
        if near:
            like = f"what looks like {near:,} of {images:,} test images of {task}"
            said.append(f"{encoder} has seen {like} in pretraining")
    return said


def _words(ones: Sequence[Seen]) -> str:
    exact, near, images = _counts(ones)
    said: list[str] = []
    if any(one.by_hash and one.kind == "looked for" for one in ones):
        said.append(f"{exact:,} exact of {images:,} test images, {BY_HASH}")
    elif exact or near:
        said.append(f"{exact:,} exact, {near:,} near-duplicates of {images:,} test images")
    elif any(one.kind == "looked for" for one in ones):
        said.append("clean")
    for one in ones:
        if one.kind == "no ultrasound":
            said.append(NO_ULTRASOUND)
        elif one.kind == "held out":
            said.append(HELD_OUT)
        elif one.kind == "known":
            said.append(f"known to have learnt from this set ({one.why})")
        elif one.kind == "unchecked":
            said.append(f"unchecked: {one.why}")
    return "; ".join(dict.fromkeys(said))


def _counts(ones: Iterable[Seen]) -> tuple[int, int, int]:
    """Summed over splits; of several weights of a split, the most."""
    most: dict[str, tuple[int, int, int]] = {}
    for one in ones:
        before = most.get(one.cell.split, (0, 0, 0))
        mine = (one.num_exact, one.num_near, one.num_images)
        exact, near, images = (max(pair) for pair in zip(before, mine, strict=True))
        most[one.cell.split] = (exact, near, images)
    exact, near, images = (sum(column) for column in zip(*most.values(), strict=True))
    return exact, near, images
