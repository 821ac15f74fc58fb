"""Datasets by name: their cards, and their images as they lie on this disk."""

from collections import Counter, defaultdict
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
    )
    if find_clusters and reading.group_kind == "file":
        return group_near_duplicates(labelled_set)
    return labelled_set


def group_near_duplicates(labelled_set: LabelledSet) -> LabelledSet:
    """The same set with every image's group set to its near-duplicate cluster.

    A cluster is called after the first of its names, so groups do not depend on the order of files.
    """
    clusters = near_duplicate_clusters(file_fingerprints([item.path for item in labelled_set.items]))
    members: dict[int, list[int]] = defaultdict(list)
    for index, cluster in enumerate(clusters.tolist()):
        members[cluster].append(index)
    items = list(labelled_set.items)
    shared = [indices for indices in members.values() if len(indices) > 1]
    for indices in members.values():
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
