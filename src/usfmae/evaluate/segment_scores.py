"""What segmentation was worth on each test image, as files that anybody can score again.

overlaps.csv        a row per image and structure: dice, iou, hd95 and its unit, true_px, predicted_px;
                    empty cells where a structure is in neither map
truth.json          true instances, in COCO's form for data sets
detections.json     predicted instances, in COCO's form for results; with truth.json they give
                    `pycocotools` what it needs
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from pycocotools import mask as rle

from usfmae.base.errors import FolderError
from usfmae.base.files import read_json, write_text
from usfmae.evaluate.instances import Instance, score_instances
from usfmae.evaluate.overlap import OVERLAP_METRICS, mean_overlap
from usfmae.evaluate.statistics import BootstrapConfig, Interval

OVERLAPS_FILE = "overlaps.csv"
TRUTH_FILE = "truth.json"
DETECTIONS_FILE = "detections.json"
_COLUMNS = ("path", "group", "fold", "structure", *OVERLAP_METRICS, "unit", "true_px", "predicted_px")


@dataclass(frozen=True, eq=False)
class SegmentScores:
    """Test images with how well their structures were found."""

    structures: tuple[str, ...]
    """Names, in the order of labels."""

    unit: str
    """Of distances: mm or px of the stored picture."""

    paths: tuple[str, ...]
    """Image file below the dataset's folder, with forward slashes."""

    groups: tuple[str, ...]
    """Patient (or cluster) of each image."""

    folds: tuple[str, ...]
    """Name of the split in which the image was tested."""

    overlaps: Float64[np.ndarray, "image structure 3"]
    """Columns `OVERLAP_METRICS`; NaN where not defined."""

    areas_px: Int64[np.ndarray, "image structure 2"]
    """True and predicted pixels."""

    truth: tuple[tuple[Instance, ...], ...]
    """True instances of each image."""

    found: tuple[tuple[Instance, ...], ...]
    """Predicted instances of each image."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def group_ids(self) -> Int64[np.ndarray, " image"]:
        """The group of each image as an integer."""
        return np.unique(np.array(self.groups), return_inverse=True)[1].astype(np.int64)

    def rows(self, wanted: Sequence[int]) -> "SegmentScores":
        """Some of the images, in the order asked for."""
        return SegmentScores(
            structures=self.structures,
            unit=self.unit,
            paths=tuple(self.paths[i] for i in wanted),
            groups=tuple(self.groups[i] for i in wanted),
            folds=tuple(self.folds[i] for i in wanted),
            overlaps=self.overlaps[list(wanted)],
            areas_px=self.areas_px[list(wanted)],
            truth=tuple(self.truth[i] for i in wanted),
            found=tuple(self.found[i] for i in wanted),
        )


def pooled_scores(parts: Sequence[SegmentScores]) -> SegmentScores:
    """The test images of several folds as one set.

    Raises:
        ValueError: other structures or units, or an image is tested twice.
    """
    if len({(part.structures, part.unit) for part in parts}) != 1:
        raise ValueError("only scores of the same structures in the same unit can be pooled")
    paths = tuple(path for part in parts for path in part.paths)
    if len(set(paths)) != len(paths):
        raise ValueError(f"{len(paths) - len(set(paths))} images are tested in more than one fold")
    return SegmentScores(
        structures=parts[0].structures,
        unit=parts[0].unit,
        paths=paths,
        groups=tuple(group for part in parts for group in part.groups),
        folds=tuple(fold for part in parts for fold in part.folds),
        overlaps=np.concatenate([part.overlaps for part in parts]),
        areas_px=np.concatenate([part.areas_px for part in parts]),
        truth=tuple(each for part in parts for each in part.truth),
        found=tuple(each for part in parts for each in part.found),
    )


def segment_metrics(
    scores: SegmentScores, *, config: BootstrapConfig
) -> tuple[dict[str, Interval], dict[str, dict[str, Interval]]]:
    """All metrics with intervals over groups, and those of overlap for each structure.

    Args:
        scores: of the test images.
        config: number of draws, level, method, seed.

    Returns:
        dice, iou, hd95, map, map50 and box_map; and by structure dice, iou and hd95.
    """
    metrics: dict[str, Interval] = {}
    by_structure: dict[str, dict[str, Interval]] = {name: {} for name in scores.structures}
    for column, name in enumerate(OVERLAP_METRICS):
        metrics[name], each = mean_overlap(scores.overlaps[:, :, column], scores.group_ids, config=config)
        for structure, interval in zip(scores.structures, each, strict=True):
            by_structure[structure][name] = interval
    metrics |= score_instances(
        scores.truth,
        scores.found,
        scores.group_ids,
        num_structures=len(scores.structures),
        config=config,
    )
    return metrics, by_structure


def write_scores(folder: Path, scores: SegmentScores, sizes: Sequence[tuple[int, int]]) -> None:
    """Write the three files, each whole or not at all.

    Args:
        folder: where.
        scores: what.
        sizes: (height, width) of each stored picture.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for image in range(len(scores)):
        for number, structure in enumerate(scores.structures):
            values = scores.overlaps[image, number].tolist()
            writer.writerow(
                [
                    scores.paths[image],
                    scores.groups[image],
                    scores.folds[image],
                    structure,
                    *("" if np.isnan(value) else repr(value) for value in values),
                    scores.unit,
                    *scores.areas_px[image, number].tolist(),
                ]
            )
    write_text(folder / OVERLAPS_FILE, text.getvalue())
    annotations = [
        {**_record(image, each), "bbox": list(each.box), "area": each.area_px, "iscrowd": 0}
        for image, instances in enumerate(scores.truth)
        for each in instances
    ]
    truth = {
        "images": [
            {"id": image, "file_name": path, "height": height, "width": width}
            for image, (path, (height, width)) in enumerate(zip(scores.paths, sizes, strict=True))
        ],
        "categories": [{"id": label, "name": name} for label, name in enumerate(scores.structures, start=1)],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, start=1)],
    }
    write_text(folder / TRUTH_FILE, json.dumps(truth))
    found = [
        {**_record(image, each), "score": each.score}
        for image, instances in enumerate(scores.found)
        for each in instances
    ]
    write_text(folder / DETECTIONS_FILE, json.dumps(found))


def read_scores(folder: Path) -> tuple[SegmentScores, list[tuple[int, int]]]:
    """Read what `write_scores` wrote: scores, and the sizes of the stored pictures.

    Raises:
        FolderError: a file is missing or damaged.
    """
    truth, found = read_json(folder / TRUTH_FILE), read_json(folder / DETECTIONS_FILE)
    try:
        structures = tuple(each["name"] for each in truth["categories"])
        sizes = [(each["height"], each["width"]) for each in truth["images"]]
        with (folder / OVERLAPS_FILE).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        firsts = rows[:: len(structures)]
        cells = [[float(row[name] or "nan") for name in OVERLAP_METRICS] for row in rows]
        areas = [[int(row["true_px"]), int(row["predicted_px"])] for row in rows]
        scores = SegmentScores(
            structures=structures,
            unit=rows[0]["unit"],
            paths=tuple(row["path"] for row in firsts),
            groups=tuple(row["group"] for row in firsts),
            folds=tuple(row["fold"] for row in firsts),
            overlaps=np.array(cells).reshape(len(firsts), len(structures), len(OVERLAP_METRICS)),
            areas_px=np.array(areas, dtype=np.int64).reshape(len(firsts), len(structures), 2),
            truth=_instances(truth["annotations"], len(firsts)),
            found=_instances(found, len(firsts)),
        )
    except (OSError, KeyError, TypeError, ValueError, IndexError, csv.Error) as error:
        raise FolderError(
            f"{folder}: holds no scores of a segmentation ({error})", hint="evaluate again with --overwrite"
        ) from error
    return scores, sizes


def _record(image: int, instance: Instance) -> dict[str, Any]:
    return {
        "image_id": image,
        "category_id": instance.structure,
        "segmentation": {"size": list(instance.size), "counts": instance.counts},
    }


def _instances(records: Sequence[dict[str, Any]], num_images: int) -> tuple[tuple[Instance, ...], ...]:
    images: list[list[Instance]] = [[] for _ in range(num_images)]
    for record in records:
        code = record["segmentation"]
        left, top, width, height = rle.toBbox(code).tolist()
        images[record["image_id"]].append(
            Instance(
                structure=record["category_id"],
                score=float(record.get("score", 1.0)),
                size=(code["size"][0], code["size"][1]),
                counts=code["counts"],
                area_px=int(rle.area(code)),
                box=(left, top, width, height),
            )
        )
    return tuple(map(tuple, images))
