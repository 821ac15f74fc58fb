"""Datasets by name: their cards, and their images as they lie on this disk."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from usfmae.base.config import nearest
from usfmae.base.errors import DatasetError, SettingError
from usfmae.datasets.card import Card, all_cards
from usfmae.datasets.duplicates import file_fingerprints, near_duplicate_clusters
from usfmae.datasets.reading import Reading
from usfmae.datasets.record import LabelledSet, Media


def dataset_names() -> tuple[str, ...]:
    """The names that `get_card` and `read_dataset` know, sorted."""
    return tuple(all_cards())


def get_card(name: str) -> Card:
    """The card of a dataset.

    Raises:
        SettingError: there is none of that name; the nearest one is named.
    """
    cards = all_cards()
    if name not in cards:
        raise SettingError(f"{name}: no such dataset", hint=nearest(name, list(cards)))
    return cards[name]


def read_dataset(name: str, root: Path, *, find_clusters: bool = True) -> LabelledSet:
    """The labelled images of a dataset below `root`.

    Groups are patients where the files name them, otherwise near-duplicate clusters, for which every image is
    read once (1,000 images: seconds).

    Args:
        name: name of the card, "folder" for a user's own images.
        root: the folder of the official layout, or the one that holds it.
        find_clusters: False leaves each image its own group (`group_kind` is "file"), for callers that only
            want paths and labels; `group_near_duplicates` makes up for it.

    Raises:
        SettingError: no such dataset.
        DatasetError: the files are not laid out as the card says, or labels make no sense.
        LeakError: the files put one patient on two sides.
    """
    card = get_card(name)
    if card.layout is None:
        raise DatasetError(
            f"{name}: how its files lie is not known, so nothing can be read by its card",
            hint=f"take it as plain images, --images {root}, or write its layout into the card",
        )
    reading = card.layout.read(root, card.class_names)
    labelled_set = LabelledSet(
        name=name,
        root=root,
        classes=reading.classes,
        items=reading.items,
        notes=(*_count_note(card, reading), *reading.notes),
        group_kind=reading.group_kind,
        missing=reading.missing,
    )
    if find_clusters and reading.group_kind == "file":
        return group_near_duplicates(labelled_set)
    return labelled_set


def group_near_duplicates(labelled_set: LabelledSet) -> LabelledSet:
    """The same set with every image's group set to its near-duplicate cluster.

    Images that had a group in common before (the same exam, say) stay together, with all that shows the
    same as one of them. A group is called after the first of its names, so it does not depend on the order
    of files.
    """
    prints = file_fingerprints([item.path for item in labelled_set.items])
    clusters = near_duplicate_clusters(prints).tolist()
    shared = [indices for indices in _by_value(clusters) if len(indices) > 1]
    items = list(labelled_set.items)
    for indices in _by_value(_joined(clusters, labelled_set.groups)):
        name = min(items[index].name for index in indices)
        for index in indices:
            items[index] = replace(items[index], group=name)
    notes = list(labelled_set.notes)
    if shared:
        notes.append(
            f"{sum(map(len, shared)):,} of {len(items):,} images sit in {len(shared):,} near-duplicate "
            f"groups (largest: {max(map(len, shared))})"
        )
        torn = [indices for indices in shared if len({items[index].label for index in indices}) > 1]
        if torn:
            first = " and ".join(sorted(items[index].name for index in torn[0])[:2])
            notes.append(f"{len(torn):,} near-duplicate groups carry conflicting labels (first: {first})")
    return replace(labelled_set, items=tuple(items), notes=tuple(notes), group_kind="near-duplicate cluster")


def _by_value(values: Sequence[int]) -> list[list[int]]:
    """The indices of each value."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        members[value].append(index)
    return list(members.values())


def _joined(clusters: Sequence[int], groups: Sequence[str]) -> list[int]:
    """A number per image, equal where a chain of clusters and groups leads from one to the other."""
    parent = list(range(len(groups)))

    def top(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[int | str, int] = {}
    for index, (cluster, group) in enumerate(zip(clusters, groups, strict=True)):
        for key in (cluster, group):
            parent[top(index)] = top(first.setdefault(key, index))
    return [top(index) for index in range(len(groups))]


def _count_note(card: Card, reading: Reading) -> tuple[str, ...]:
    here = Counter(item.media for item in reading.items)
    counts = card.counts
    published: dict[Media, int | None] = {
        "image": counts.images,
        "clip": counts.videos,
        "volume": counts.volumes,
    }
    return tuple(
        f"{here[media]:,} of the {number:,} published {media}s are here"
        for media, number in published.items()
        if number is not None and here[media] and here[media] != number
    )
