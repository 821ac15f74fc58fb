"""What every reader yields, whatever the layout on disk: images with a label, a group and label maps."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64

from usfmae.datasets.label_maps import LabelMap

GroupKind = Literal["patient", "clip", "near-duplicate cluster", "file"]
"""What `Item.group` stands for: a person (or animal), a clip, images that show the same, or nothing better
than the file."""

Media = Literal["image", "clip", "volume"]
"""What a file holds: one picture, frames in time, or slices in space."""

SPLIT_SIDES = ("train", "val", "test")


@dataclass(frozen=True)
class Item:
    """One image, clip or volume, with what its publisher says of it."""

    path: Path
    """The file."""

    label: int | None
    """Index into `LabelledSet.classes`; None when the set labels no class."""

    group: str
    """What must stay on one side of a split; see `GroupKind`."""

    masks: tuple[LabelMap, ...] = ()
    """Label maps of this image; several when structures or frames are drawn apart."""

    split: str | None = None
    """The side, one of `SPLIT_SIDES`, that the dataset itself puts the image on."""

    fold: int | None = None
    """The outer fold, counted from 1, in which the image is tested."""

    extras: dict[str, str] = field(default_factory=dict)
    """What else the dataset says, as written there: device, BI-RADS, side."""

    name: str = ""
    """Path below the folder of the layout, with forward slashes: the same on every machine, and what
    split files list. The file's own name unless given."""

    media: Media = "image"

    frame: int | None = None
    """The one frame or slice of the file that is meant, from 0; None for all it holds."""

    array: str | None = None
    """Name of the array that holds the pixels, in a file of arrays (HDF5, MAT)."""

    spacing_mm: tuple[float, float] | None = None
    """Pixel pitch (down, across) where a table gives it; None leaves it to the file."""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.path.name)


@dataclass(frozen=True)
class LabelledSet:
    """A labelled dataset as it lies on this disk, ordered by `Item.name`."""

    name: str
    """Name of the card: bus-bra, mmotu-2d, busi, folder."""

    root: Path
    """The folder that was asked for."""

    classes: tuple[str, ...]
    """Class names; `Item.label` counts into them."""

    items: tuple[Item, ...]

    notes: tuple[str, ...]
    """What a reader of a result has to know about this copy: folds not here, images without label map."""

    group_kind: GroupKind

    missing: tuple[str, ...] = ()
    """Images that its tables name and this copy lacks."""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> Int64[np.ndarray, " n"]:
        """The class index of each image; -1 where there is none."""
        return np.array([-1 if item.label is None else item.label for item in self.items], dtype=np.int64)

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each image."""
        return tuple(item.group for item in self.items)

    @property
    def num_groups(self) -> int:
        """How many patients (or clusters, or files) there are."""
        return len(set(self.groups))

    def class_counts(self) -> dict[str, int]:
        """Images per class, in the order of `classes`; classes that are not here count 0."""
        counted = Counter(item.label for item in self.items)
        return {name: counted[index] for index, name in enumerate(self.classes)}
