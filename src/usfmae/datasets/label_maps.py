"""A label map: where it lies and what it means."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from usfmae.datasets.meaning import Labels, Size
from usfmae.datasets.pixel_meanings import ArrayThreshold, Channels, Colours, Outline, Threshold, Values
from usfmae.datasets.shape_meanings import Boxes, CocoPolygons, Corners, LabelMe

AnyMeaning = Annotated[
    Values
    | Threshold
    | Colours
    | Channels
    | Outline
    | Corners
    | LabelMe
    | Boxes
    | ArrayThreshold
    | CocoPolygons,
    Field(discriminator="kind"),
]

INSIDE_IS_NOT_ZERO = Threshold()


@dataclass(frozen=True)
class LabelMap:
    """An annotation, pixel by pixel, and what it means."""

    path: Path
    meaning: AnyMeaning = INSIDE_IS_NOT_ZERO

    frame: int | None = None
    """The frame or slice of the clip or volume that is annotated, from 0; or which of the label maps in a
    file of many. None for the whole file."""

    def read(self, size: Size) -> Labels:
        """The labels for an image of this (height, width); see `Meaning.read`."""
        return self.meaning.read(self.path, size, self.frame)
