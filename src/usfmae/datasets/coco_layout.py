"""Images described by a COCO file, one class each, with the folds of a cross-validation beside it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from usfmae.base.errors import DatasetError
from usfmae.datasets.label_maps import LabelMap
from usfmae.datasets.reading import Layout, Reading, find_base, finish, labels_of, missing_notes
from usfmae.datasets.record import Item
from usfmae.datasets.shape_meanings import CocoPolygons
from usfmae.datasets.tables import listed, nearest_file, read_text


class CocoLayout(Layout):
    """`images`, `annotations` and `categories` as COCO writes them; the class of an image is that of its
    annotations, which must agree."""

    kind: Literal["coco"]
    annotations: str
    """The file of all images."""
    folds: str | None = None
    """With `{fold}` from 0: the file of the images that a fold tests."""
    num_folds: int = Field(default=0, ge=0)
    images: str
    """With `{file_name}` as the file gives it."""
    categories: dict[int, str]

    def read(self, root: Path, classes: tuple[str, ...] | None) -> Reading:
        base = find_base(root, self.inside, [self.annotations])
        file = base / self.annotations
        content = _coco(file)
        category_of = self._categories(file, content)
        folds = self._read_folds(base)
        meaning = CocoPolygons(kind="coco", names=self.categories)
        items, texts, missing = [], [], []
        for image in content["images"]:
            name = self.images.format(file_name=image["file_name"])
            if not (base / name).is_file():
                missing.append(name)
                continue
            if image["id"] not in category_of:
                raise DatasetError(f"{file}: image '{image['file_name']}' has no annotation, so no class")
            texts.append(self.categories[category_of[image["id"]]])
            items.append(
                Item(
                    path=base / name,
                    label=None,
                    group=name,
                    masks=(LabelMap(file, meaning, image["id"]),),
                    fold=folds.get(image["file_name"]),
                    name=name,
                )
            )
        notes = missing_notes(base, missing, total=len(content["images"]), by=self.annotations)
        names, labels = labels_of(texts, classes, place=str(file))
        labelled = [replace(item, label=label) for item, label in zip(items, labels, strict=True)]
        return finish(root, labelled, names, notes, group_kind="patient", wants_masks=True, missing=missing)

    def _categories(self, file: Path, content: dict[str, Any]) -> dict[int, int]:
        category_of: dict[int, int] = {}
        for annotation in content["annotations"]:
            category = annotation["category_id"]
            if category not in self.categories:
                raise DatasetError(
                    f"{file}: category {category} means nothing",
                    hint=f"known: {', '.join(f'{k} {name}' for k, name in self.categories.items())}",
                )
            if category_of.setdefault(annotation["image_id"], category) != category:
                raise DatasetError(f"{file}: image {annotation['image_id']} is of two classes")
        return category_of

    def _read_folds(self, base: Path) -> dict[str, int]:
        folds: dict[str, int] = {}
        for fold in range(self.num_folds if self.folds else 0):
            assert self.folds is not None
            file = base / self.folds.format(fold=fold)
            if not file.is_file():
                raise DatasetError(f"{file}: no such file", hint=nearest_file(file))
            names = [image["file_name"] for image in _coco(file)["images"]]
            twice = sorted(name for name in names if name in folds)
            if twice:
                raise DatasetError(f"{file}: {listed(twice)} images are tested in another fold too")
            folds.update(dict.fromkeys(names, fold + 1))
        return folds


def coco_text(
    images: Sequence[tuple[int, str, tuple[int, int]]], annotations: Sequence[tuple[int, int, str]]
) -> str:
    """A COCO file, for fakes.

    Args:
        images: id, file name and (height, width) of each.
        annotations: image id, category and polygons as JSON of each.
    """
    return json.dumps(
        {
            "images": [
                {"id": number, "file_name": name, "height": height, "width": width}
                for number, name, (height, width) in images
            ],
            "annotations": [
                {"id": k, "image_id": image, "category_id": category, "segmentation": json.loads(polygons)}
                for k, (image, category, polygons) in enumerate(annotations)
            ],
        }
    )


def _coco(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(read_text(file))
        assert all("file_name" in image and "id" in image for image in content["images"])
        assert isinstance(content["annotations"], list)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise DatasetError(f"{file}: is no COCO file ({type(error).__name__})") from error
    return content
