"""Label maps that are themselves pictures, volumes or arrays."""

from abc import abstractmethod
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Integer
from pydantic import Field

from usfmae.base.errors import DatasetError, ImageError
from usfmae.datasets.meaning import Labels, Meaning, Size, outlines
from usfmae.images.label_values import label_values


class PixelMeaning(Meaning):
    """A label map that is itself a picture or a volume."""

    resize: bool = False
    """Another size than the image's is expected, and brought to it; otherwise it is an error."""

    def read(self, path: Path, size: Size, frame: int | None = None) -> Labels:
        labels = self.labels(path, label_values(path))
        if labels.shape[-2:] == size:
            return labels
        if not self.resize or labels.ndim != 2:
            height, width = labels.shape[-2:]
            raise DatasetError(
                f"{path}: is {width} x {height} px, its image {size[1]} x {size[0]}",
                hint="image and label map must show the same; unpack both from the same archive",
            )
        return np.asarray(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))

    @abstractmethod
    def labels(self, path: Path, values: Integer[np.ndarray, "..."]) -> Labels:
        """Labels of stored values; `path` is for messages."""


class Values(PixelMeaning):
    """Each structure has a number of its own."""

    kind: Literal["values"]
    names: dict[int, str]
    tolerance: int = Field(default=0, ge=0, le=64)
    """Largest difference from a value that still means it; above 0 for JPEG. With 64, every grey value is
    near one of 0, 127 and 255."""

    @property
    def structures(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.names.values()))

    def labels(self, path: Path, values: Integer[np.ndarray, "..."]) -> Labels:
        if values.ndim == 3 and values.shape[-1] == 3 and np.ptp(values, axis=-1).max() == 0:
            values = values[..., 0]  # grey that was saved as colour
        labels = np.zeros(values.shape, np.uint8)
        known = values <= self.tolerance if self.tolerance else values == 0
        for value, name in self.names.items():
            here = np.abs(values.astype(np.int64) - value) <= self.tolerance
            labels[here] = self.structures.index(name) + 1
            known |= here
        if not known.all():
            strange = np.unique(values[~known])
            raise DatasetError(
                f"{path}: holds {len(strange):,} value(s) that mean nothing (first: {strange[0]})",
                hint=f"known: 0 {' '.join(str(value) for value in sorted(self.names))}",
            )
        return labels

    def stored(self, labels: Labels) -> np.ndarray:
        pixels = np.zeros(labels.shape, np.uint8)
        for value, name in reversed(self.names.items()):
            pixels[labels == self.structures.index(name) + 1] = value
        return pixels


class Threshold(PixelMeaning):
    """One structure; brighter than `above` is inside. For grey renderings and JPEG, which are never exact."""

    kind: Literal["threshold"] = "threshold"
    above: int = Field(default=0, ge=0, le=254)
    name: str = "lesion"

    @property
    def structures(self) -> tuple[str, ...]:
        return (self.name,)

    def labels(self, path: Path, values: Integer[np.ndarray, "..."]) -> Labels:
        if values.ndim == 3 and values.shape[-1] == 3:
            values = values.max(axis=-1)
        return (values > self.above).astype(np.uint8)

    def stored(self, labels: Labels) -> np.ndarray:
        return np.where(labels > 0, 255, 0).astype(np.uint8)


class Colours(PixelMeaning):
    """Each structure has a colour (red, green, blue); black is background."""

    kind: Literal["colours"]
    names: dict[str, tuple[int, int, int]]
    tolerance: int = Field(default=0, ge=0, le=120)
    """Largest difference in a channel that still is the colour."""

    @property
    def structures(self) -> tuple[str, ...]:
        return tuple(self.names)

    def labels(self, path: Path, values: Integer[np.ndarray, "..."]) -> Labels:
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=-1)
        labels = np.zeros(values.shape[:2], np.uint8)
        known = (values <= self.tolerance).all(axis=-1)
        for number, colour in enumerate(self.names.values(), start=1):
            near = (np.abs(values.astype(np.int16) - np.array(colour)) <= self.tolerance).all(axis=-1)
            labels[near & ~known] = number
            known |= near
        if not known.all():
            strange = np.unique(values[~known].reshape(-1, 3), axis=0)
            raise DatasetError(
                f"{path}: holds {len(strange):,} colour(s) that mean nothing "
                f"(first: {tuple(strange[0].tolist())})"
            )
        return labels

    def stored(self, labels: Labels) -> np.ndarray:
        pixels = np.zeros((*labels.shape, 3), np.uint8)
        for number, colour in enumerate(self.names.values(), start=1):
            pixels[labels == number] = colour
        return pixels


class Channels(PixelMeaning):
    """A volume with more axes than its image: one channel per structure, non-zero inside.

    Where structures overlap, the later one counts: a landmark inside an organ stays visible."""

    kind: Literal["channels"]
    names: tuple[str, ...]

    @property
    def structures(self) -> tuple[str, ...]:
        return self.names

    def labels(self, path: Path, values: Integer[np.ndarray, "..."]) -> Labels:
        if values.ndim < 3 or values.shape[0] != len(self.names):
            raise DatasetError(
                f"{path}: has no {len(self.names)} channels (its axes: {' x '.join(map(str, values.shape))})"
            )
        labels = np.zeros(values.shape[1:], np.uint8)
        for number, channel in enumerate(values, start=1):
            labels[channel != 0] = number
        return labels

    def stored(self, labels: Labels) -> np.ndarray:
        numbers = range(1, len(self.names) + 1)
        return np.stack([np.where(labels == number, 255, 0).astype(np.uint8) for number in numbers])


class Outline(PixelMeaning):
    """A closed line around one structure, whose inside is meant."""

    kind: Literal["outline"]
    name: str

    @property
    def structures(self) -> tuple[str, ...]:
        return (self.name,)

    def labels(self, path: Path, values: Integer[np.ndarray, "..."]) -> Labels:
        line = (values if values.ndim == 2 else values.max(axis=-1)) > 0
        outlines, _ = cv2.findContours(line.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = np.zeros(line.shape, np.uint8)
        cv2.drawContours(filled, outlines, -1, 1, thickness=cv2.FILLED)
        return filled

    def stored(self, labels: Labels) -> np.ndarray:
        drawn = np.zeros(labels.shape, np.uint8)
        cv2.drawContours(drawn, outlines(labels), -1, 255, thickness=1)
        return drawn


class ArrayThreshold(Meaning):
    """One structure in an HDF5 array with a label map per image; brighter than `above` is inside."""

    kind: Literal["array"]
    array: str
    above: int
    name: str

    @property
    def structures(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, path: Path, size: Size, frame: int | None = None) -> Labels:
        import h5py

        try:
            with h5py.File(path) as file:
                values = np.asarray(file[self.array][frame])
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise ImageError(
                f"{path}: label map {frame} of '{self.array}' cannot be read ({error})"
            ) from error
        return (values > self.above).astype(np.uint8)

    def stored(self, labels: Labels) -> np.ndarray:
        return np.where(labels > 0, 255, 0).astype(np.uint8)
