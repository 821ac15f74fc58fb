"""Label maps that are lists of corners, in four formats."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import cv2
import numpy as np
from jaxtyping import Integer

from usfmae.base.errors import DatasetError, ImageError
from usfmae.datasets.meaning import Labels, Meaning, Size, outlines
from usfmae.datasets.tables import read_text


class Corners(Meaning):
    """A JSON list of the corners [across, down] of one structure, in pixels."""

    kind: Literal["corners"]
    name: str

    @property
    def structures(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, path: Path, size: Size, frame: int | None = None) -> Labels:
        return _filled([(_corners(path, _json(path)), 1)], size)

    def stored(self, labels: Labels) -> str:
        found = outlines(labels)
        return json.dumps(found[0][:, 0, :].tolist() if found else [])


class LabelMe(Meaning):
    """LabelMe's JSON: `shapes`, each with a `label` and `points` [across, down] in pixels.

    In UTF-8, or in the Chinese encoding that LabelMe writes on a Chinese Windows."""

    kind: Literal["labelme"]
    names: dict[str, str]
    """The label as written, and the structure it stands for."""

    @property
    def structures(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.names.values()))

    def read(self, path: Path, size: Size, frame: int | None = None) -> Labels:
        content = _json(path, or_else="gb18030")
        shapes = []
        for shape in content.get("shapes", []) if isinstance(content, dict) else []:
            if shape.get("label") not in self.names:
                raise DatasetError(
                    f"{path}: the shape '{shape.get('label')}' means nothing",
                    hint=f"known: {', '.join(self.names)}",
                )
            number = self.structures.index(self.names[shape["label"]]) + 1
            shapes.append((_corners(path, shape.get("points")), number))
        return _filled(shapes, size)

    def stored(self, labels: Labels) -> str:
        shapes = []
        for number, name in enumerate(self.structures, start=1):
            written = next(text for text, meaning in self.names.items() if meaning == name)
            shapes += [
                {"label": written, "points": outline[:, 0, :].tolist()}
                for outline in outlines((labels == number).astype(np.uint8))
            ]
        height, width = labels.shape
        return json.dumps({"shapes": shapes, "imageHeight": height, "imageWidth": width})


class Boxes(Meaning):
    """Pascal VOC's XML: the boxes of one structure, filled."""

    kind: Literal["voc"]
    name: str

    @property
    def structures(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, path: Path, size: Size, frame: int | None = None) -> Labels:
        try:
            boxes = [
                [round(float(box.findtext(side, ""))) for side in ("xmin", "ymin", "xmax", "ymax")]
                for box in ElementTree.fromstring(read_text(path)).iter("bndbox")
            ]
        except (ElementTree.ParseError, ValueError) as error:
            raise ImageError(f"{path}: is no list of boxes ({error})") from error
        corners = [
            ([[left, top], [right, top], [right, low], [left, low]], 1) for left, top, right, low in boxes
        ]
        return _filled([(np.array(four, np.int32), number) for four, number in corners], size)

    def stored(self, labels: Labels) -> str:
        boxes = []
        for outline in outlines(labels):
            left, top, width, height = cv2.boundingRect(outline)
            sides = {"xmin": left, "ymin": top, "xmax": left + width - 1, "ymax": top + height - 1}
            inside = "".join(f"<{name}>{value}</{name}>" for name, value in sides.items())
            boxes.append(f"<object><name>{self.name}</name><bndbox>{inside}</bndbox></object>")
        return f"<annotation>{''.join(boxes)}</annotation>"


class CocoPolygons(Meaning):
    """The polygons of one image in a COCO file; `frame` is the image's id there."""

    kind: Literal["coco"]
    names: dict[int, str]
    """Category number, and what it is."""

    @property
    def structures(self) -> tuple[str, ...]:
        return tuple(self.names.values())

    def read(self, path: Path, size: Size, frame: int | None = None) -> Labels:
        shapes = []
        for annotation in coco_annotations(path).get(frame, ()):
            number = list(self.names).index(annotation["category_id"]) + 1
            shapes += [
                (_corners(path, np.reshape(polygon, (-1, 2))), number)
                for polygon in annotation["segmentation"]
            ]
        return _filled(shapes, size)

    def stored(self, labels: Labels) -> str:
        return json.dumps([outline.reshape(-1).tolist() for outline in outlines(labels)])


@lru_cache(maxsize=4)
def coco_annotations(path: Path) -> dict[int | None, list[dict[str, Any]]]:
    """The annotations of a COCO file by image id; kept for the next image.

    Raises:
        ImageError: it is no COCO file.
    """
    found: dict[int | None, list[dict[str, Any]]] = {}
    try:
        for annotation in _json(path)["annotations"]:
            found.setdefault(int(annotation["image_id"]), []).append(annotation)
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError(f"{path}: is no COCO file ({error!r})") from error
    return found


def _json(path: Path, *, or_else: str = "utf-8-sig") -> Any:
    try:
        return json.loads(read_text(path, or_else=or_else))
    except ValueError as error:
        raise ImageError(f"{path}: is no JSON ({error})") from error


def _corners(path: Path, points: Any) -> Integer[np.ndarray, "_ 2"]:
    try:
        corners = np.rint(np.asarray([] if points is None else points, dtype=np.float64)).astype(np.int32)
        return corners.reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise ImageError(f"{path}: holds corners that are no pairs of numbers") from error


def _filled(shapes: list[tuple[Integer[np.ndarray, "_ 2"], int]], size: Size) -> Labels:
    labels = np.zeros(size, np.uint8)
    for corners, number in shapes:
        if len(corners) >= 3:
            cv2.fillPoly(labels, [corners], number)
    return labels
