"""Dealing groups out to sides: one function of (seed, groups, labels), whatever the order of the files."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import ceil

import numpy as np
from jaxtyping import Int64

from usfmae.base.seeds import seed_for


def deal_groups(
    groups: Sequence[str],
    labels: Int64[np.ndarray, " n"],
    shares: Sequence[float],
    *,
    seed: int,
    purpose: str,
) -> Int64[np.ndarray, " n"]:
    """Deal whole groups to sides so that each side gets its share of the images of every class.

    Class by class, groups are taken in the order of their hash and each goes to the side that is furthest
    behind its share and still has room for it (Adams' method of apportionment). No side stays without a
    class that has as many groups as there are sides. A group of several classes counts as the rarest of them.
    Shares are met to about one group per class and side.

    Args:
        groups: the group of each image.
        labels: the class of each image; -1 counts as a class of its own.
        shares: fraction of images per side; positive, summing to 1.
        seed: another seed deals otherwise.
        purpose: what the sides are for, so that two deals with one seed are independent.

    Returns:
        The side of each image, an index into `shares`.
    """
    if len(groups) != len(labels):
        raise ValueError(f"{len(groups)} groups for {len(labels)} labels")
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares must be positive and sum to 1, not {list(shares)}")
    sizes = Counter(groups)
    side_of: dict[str, int] = {}
    for members in groups_by_class(groups, labels, seed=seed, purpose=purpose).values():
        targets = [share * sum(sizes[group] for group in members) for share in shares]
        filled = [0] * len(shares)
        smallest = ceil(min(targets))
        ordered = sorted(
            members, key=lambda group: sizes[group] <= smallest
        )  # large ones first, else as hashed
        for position, group in enumerate(ordered):
            side = _side_for(sizes[group], filled, targets, num_left=len(ordered) - position)
            filled[side] += sizes[group]
            side_of[group] = side
    return np.array([side_of[group] for group in groups], dtype=np.int64)


def groups_by_class(
    groups: Sequence[str], labels: Int64[np.ndarray, " n"], *, seed: int, purpose: str
) -> dict[int, list[str]]:
    """The groups of each class in the order of their hash; one of several classes stands under the rarest.

    Returns:
        Class index to distinct groups; classes in ascending order.
    """
    frequency = Counter(labels.tolist())
    class_of: dict[str, int] = {}
    for group, label in zip(groups, labels.tolist(), strict=True):
        class_of[group] = min(class_of.get(group, label), label, key=lambda one: (frequency[one], one))
    members: dict[int, list[str]] = defaultdict(list)
    for group in sorted(class_of, key=lambda group: (seed_for(seed, purpose, group), group)):
        members[class_of[group]].append(group)
    return dict(sorted(members.items()))


def _side_for(size: int, filled: Sequence[int], targets: Sequence[float], *, num_left: int) -> int:
    """The side that a group of `size` images goes to when `num_left` groups, it included, are to be dealt."""
    sides = range(len(targets))
    empty = [side for side in sides if not filled[side]]
    with_room = [side for side in sides if filled[side] + size <= ceil(targets[side] - 1e-9)]
    candidates = empty if num_left <= len(empty) else with_room or sides
    # the one furthest behind; the larger share where two are equally far
    return min(candidates, key=lambda side: (filled[side] / targets[side], -targets[side], side))
