"""Whether the encoder has seen the test images while it was pretrained."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from usfmae.base.input_spec import Fit
from usfmae.base.logs import get_logger
from usfmae.datasets.duplicates import NEAR_DUPLICATE_LIKENESS, near_duplicate_matches
from usfmae.datasets.record import Item
from usfmae.evaluate.prepared import read_images
from usfmae.evaluate.protocol import Task
from usfmae.evaluate.seen_images import read_seen
from usfmae.evaluate.start import Init
from usfmae.images.fingerprint import content_hash, fingerprint
from usfmae.images.read import read_frame
from usfmae.models.shipped import WeightsCard

log = get_logger(__name__)

NO_POOL = "no corpus was given to compare with"
SCRATCH = "a random start has seen no images"
IMAGENET = "ImageNet weights have seen photographs"
OWN_IMAGES = "folder"
"""Name of a task of a user's own images: of a card's "folder" somebody else's."""

CARD_ONLY = "the corpus is not at hand; what is known is what the card of the weights says"


@dataclass(frozen=True, eq=False)
class PretrainingPool:
    """What is known of the images an encoder was pretrained on."""

    content_hashes: frozenset[str]
    """Of prepared pixels."""

    fingerprints: UInt8[np.ndarray, "n 22 22"]
    """What they look like."""

    sha256: str = ""
    """Hash of the corpus, for the record; of several, joined by " + "."""

    missing: tuple[str, ...] = ()
    """Further pools that the encoder has seen, which are not at hand."""

    ways: tuple[tuple[int, Fit], ...] = ()
    """Sides in pixels and fits at which the hashed pixels were prepared; empty for those of the task."""


def joint_pool(pools: Sequence[PretrainingPool], *, missing: Sequence[str] = ()) -> PretrainingPool:
    """Several pools as one, for an encoder that went on from one to the next.

    Args:
        pools: at least one; all with their `ways`, or none.
        missing: names of those that cannot be compared with.
    """
    assert len({bool(pool.ways) for pool in pools}) == 1
    return PretrainingPool(
        frozenset().union(*(pool.content_hashes for pool in pools)),
        np.concatenate([pool.fingerprints for pool in pools]),
        " + ".join(pool.sha256 for pool in pools),
        tuple(missing),
        tuple(dict.fromkeys(way for pool in pools for way in pool.ways)),
    )


def check_contamination(
    task: Task, init: Init, pool: PretrainingPool | None, *, card: WeightsCard | None = None
) -> dict[str, Any]:
    """Count the test images that are in the pretraining pool, by equal pixels and by look.

    Args:
        task: of any size and fit; its test images are prepared as those of the pool were.
        init: where the encoder comes from; a random one has seen nothing.
        pool: what it was pretrained on; None if that is not known.
        card: what is said of the weights where they travel without their corpus; a set of the task's name
            among those they were trained on is warned of.

    Returns:
        For `result.json`: checked, test_images_in_pool (equal pixels), near_duplicates_in_pool (test images
        that only look like one there, at least as much as least_likeness says), of, corpus_sha256, and
        first and first_near (names) where there is a match, and pools_missing where there are any; or
        checked and why. With a card, `card` besides: its name, trained_on, held_out (names), and whether the
        task is among either. Where its pools are not all at hand and hashes of their images travel with the
        card, those are looked in, and near_duplicates_in_pool is None: hashes cannot tell what looks alike.
    """
    if card is not None:
        return _with_card(task, pool, card)
    if init != "pretrained":
        return {"checked": False, "why": SCRATCH if init == "scratch" else IMAGENET}
    if pool is None:
        return {"checked": False, "why": NO_POOL}
    tested = _tested(task)
    ways = pool.ways or ((task.config.size_px, task.config.fit),)
    seen = _equal_pixels(task, tested, ways, pool.content_hashes.__contains__)
    others = sorted(set(tested) - set(seen))
    with ThreadPoolExecutor() as threads:
        thumbs = list(threads.map(_fingerprint, [task.items[index] for index in others]))
    near: list[int] = []
    if thumbs:
        pairs = near_duplicate_matches(np.array(thumbs), pool.fingerprints)
        near = [others[place] for place in np.unique(pairs.left).tolist()]
    found: dict[str, Any] = {
        "checked": True,
        "test_images_in_pool": len(seen),
        "near_duplicates_in_pool": len(near),
        "of": len(tested),
        "least_likeness": NEAR_DUPLICATE_LIKENESS,
        "corpus_sha256": pool.sha256,
    }
    if pool.missing:
        found["pools_missing"] = list(pool.missing)
    if seen:
        found["first"] = task.items[seen[0]].name
    if near:
        found["first_near"] = task.items[near[0]].name
    return found


def _with_card(task: Task, pool: PretrainingPool | None, card: WeightsCard) -> dict[str, Any]:
    """As `check_contamination`, of weights with a card: by the pools at hand if they are all that it names,
    else by the hashes that travel with it."""
    given = () if pool is None else pool.sha256.split(" + ")
    missing = [one["folder"] for one in card.pools if one["sha256"] not in given]
    unknown = list(card.of_unknown_images)
    images = read_seen(card) if missing else None
    found: dict[str, Any] = {"checked": False, "why": CARD_ONLY}
    if images is not None:
        tested = _tested(task)
        seen = _equal_pixels(task, tested, images.ways, images.holds)
        found = {
            "checked": True,
            "test_images_in_pool": len(seen),
            "near_duplicates_in_pool": None,
            "of": len(tested),
            "corpus_sha256": " + ".join(one["sha256"] for one in card.pools),
            **({"pools_missing": unknown} if unknown else {}),
            **({"first": task.items[seen[0]].name} if seen else {}),
        }
    elif pool is not None:
        found = check_contamination(
            task, "pretrained", replace(pool, missing=(*pool.missing, *missing, *unknown))
        )
    clean = found["checked"] and not found["test_images_in_pool"] and "pools_missing" not in found
    return {**found, "card": _said_by_card(task.name, card, warn=not clean)}


def _tested(task: Task) -> list[int]:
    tested: list[int] = np.unique(np.concatenate([split.test for split in task.splits])).tolist()
    return tested


def _said_by_card(task: str, card: WeightsCard, *, warn: bool) -> dict[str, Any]:
    named = task != OWN_IMAGES
    trained_on, held_out = named and task in card.trained_on, named and task in card.held_out
    if trained_on and warn:
        log.warning(
            "%s was trained on images of %s, says its card%s",
            card.name,
            task,
            "; those that were held out are told apart only with --corpus"
            if held_out
            else ": numbers there do not show what it does on images it has never seen",
        )
    return {
        "name": card.name,
        "trained_on": list(card.trained_on),
        "held_out": list(card.held_out),
        "task_trained_on": trained_on,
        "task_held_out": held_out,
    }


def _equal_pixels(
    task: Task, tested: list[int], ways: Iterable[tuple[int, Fit]], holds: Callable[[str], bool]
) -> list[int]:
    """The test images whose hashes are in the pool, ascending."""
    seen: set[int] = set()
    for size_px, fit in ways:
        whole = _whole_images(task, tested, size_px=size_px, fit=fit)
        seen |= {index for index in tested if holds(content_hash(whole[index]))}
    return sorted(seen)


def _whole_images(
    task: Task, tested: list[int], *, size_px: int, fit: Fit
) -> Mapping[int, UInt8[np.ndarray, "size size"]]:
    """The test images as a pool hashes them: whole, whatever the task shows of them."""
    if (size_px, fit, "none") == (task.config.size_px, task.config.fit, task.config.crop):
        return {index: task.images[index] for index in tested}
    items = [task.items[index] for index in tested]
    images, _ = read_images(items, size_px=size_px, fit=fit)
    return dict(zip(tested, images, strict=True))


def _fingerprint(item: Item) -> UInt8[np.ndarray, "22 22"]:
    return fingerprint(read_frame(item.path, item.frame or 0, key=item.array).pixels)
