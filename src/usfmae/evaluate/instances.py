"""Instances out of a label map, and COCO's average precision of their masks and boxes, with intervals.

Every connected part (8 neighbours) of a structure is an instance. A predicted one carries the mean
probability of its structure over its pixels as score. That fits lesions and organs, which seldom touch: of
1,499 label maps of BUS-BRA all have one part, of 1,000 of MMOTU-2D 989, the others two. Parts that touch are
taken for one.

Matching is that of `pycocotools` (Lin et al. 2014, "Microsoft COCO", sec. 6; the reference code itself): ten
IoU thresholds from .5 to .95, at most 100 detections per image and structure, precision at 101 recalls. What
is added here is that images may have weights, so that patients can be drawn with replacement; with weights of
one the numbers are those of `pycocotools`.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int64, UInt8
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from usfmae.evaluate.overlap import mean_of_defined
from usfmae.evaluate.statistics import BootstrapConfig, Interval, intervals_over_groups

INSTANCE_METRICS = ("map", "map50", "box_map")
"""Mean over IoU .5 to .95 of masks, precision at IoU .5 of masks, mean over IoU .5 to .95 of boxes."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read off."""

NO_INSTANCE = "not defined: no image has an instance"


@dataclass(frozen=True)
class Instance:
    """One connected part of a structure."""

    structure: int
    """Its label, from 1."""

    score: float
    """How sure the network is, 0 to 1; 1 for a true one."""

    size: tuple[int, int]
    """(height, width) of the picture in pixels."""

    counts: str
    """COCO's compressed run lengths of its mask."""

    area_px: int
    """Pixels."""

    box: tuple[float, float, float, float]
    """COCO's own order: left, top, width, height in pixels."""


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of one structure over all images, best score first, and how many instances there are."""

    image: Int64[np.ndarray, " detection"]
    """On which image."""

    hit: Bool[np.ndarray, "threshold detection"]
    """Whether it is matched to a true instance at each of the ten IoU thresholds."""

    num_true: Int64[np.ndarray, " image"]
    """True instances in each image."""


def true_instances(labels: UInt8[np.ndarray, "height width"]) -> list[Instance]:
    """Every connected part of every structure of a label map."""
    return _parts(labels, None, min_area_px=1)


def find_instances(
    probabilities: Float32[np.ndarray, "label height width"], *, min_area_ratio: float
) -> list[Instance]:
    """The connected parts of what is most probable, pixel by pixel.

    Args:
        probabilities: of each label, 0 (outside) first; they sum to 1.
        min_area_ratio: parts that cover less of the picture are left out: specks of noise.
    """
    labels = probabilities.argmax(axis=0).astype(np.uint8)
    return _parts(labels, probabilities, min_area_px=max(1, int(np.ceil(min_area_ratio * labels.size))))


def match_instances(
    truth: Sequence[Sequence[Instance]],
    found: Sequence[Sequence[Instance]],
    *,
    num_structures: int,
    kind: Literal["mask", "box"],
) -> list[Matches]:
    """Match detections to true instances with `pycocotools`, one `Matches` per structure.

    Args:
        truth: instances of each image.
        found: detections in each image, in the same order.
        num_structures: how many structures there are.
        kind: whether masks or the boxes around them are laid over each other.

    Raises:
        ValueError: not one list of detections per image.
    """
    if len(truth) != len(found):
        raise ValueError(f"{len(found)} lists of detections for {len(truth)} images")
    with redirect_stdout(io.StringIO()):  # it prints its progress, and stdout is data
        evaluation = coco_evaluation(truth, found, num_structures=num_structures, kind=kind)
        evaluation.evaluate()
    num_images, num_areas = len(truth), len(evaluation.params.areaRng)
    matched = []
    for structure in range(num_structures):
        first = structure * num_areas * num_images  # the first area range is "all"
        matched.append(_matches(evaluation.evalImgs[first : first + num_images]))
    return matched


def average_precision(
    matches: Matches, weights: Float[np.ndarray, "resample image"]
) -> Float64[np.ndarray, "resample threshold"]:
    """Average precision of one structure at each IoU threshold, for images with weights.

    A weight of 2 gives what two copies of the image would; NaN where no weighted image has an instance.
    """
    num_true = weights @ matches.num_true.astype(float)
    of_detection = weights[:, matches.image]
    num_found = of_detection.cumsum(axis=1)
    precisions = np.full((len(weights), len(matches.hit)), np.nan)
    defined = np.flatnonzero(num_true > 0)
    for threshold, hit in enumerate(matches.hit):
        num_hit = (of_detection * hit).cumsum(axis=1)
        precision = num_hit / (num_found + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        for row in defined.tolist():
            places = np.searchsorted(num_hit[row] / num_true[row], RECALLS, side="left")
            reached = places < len(hit)
            precisions[row, threshold] = envelope[row, places[reached]].sum() / len(RECALLS)
    return precisions


def score_instances(
    truth: Sequence[Sequence[Instance]],
    found: Sequence[Sequence[Instance]],
    groups: Int[np.ndarray, " image"],
    *,
    num_structures: int,
    config: BootstrapConfig,
) -> dict[str, Interval]:
    """COCO mAP and mAP@50 of masks and mAP of boxes, mean over structures, with intervals over groups.

    Args:
        truth: instances of each image.
        found: detections in each image, in the same order.
        groups: the patient of each image, any integers.
        num_structures: how many structures there are; those without a true instance do not count.
        config: number of draws, level, method, seed.

    Returns:
        One interval per name of `INSTANCE_METRICS`.
    """
    of_masks = match_instances(truth, found, num_structures=num_structures, kind="mask")
    of_boxes = match_instances(truth, found, num_structures=num_structures, kind="box")

    def scores(weights: Float[np.ndarray, "resample image"]) -> Float[np.ndarray, "resample metric"]:
        masks = np.stack([average_precision(matches, weights) for matches in of_masks], axis=1)
        boxes = np.stack([average_precision(matches, weights) for matches in of_boxes], axis=1)
        return np.stack(
            [
                mean_of_defined(masks.mean(axis=2)),
                mean_of_defined(masks[:, :, 0]),
                mean_of_defined(boxes.mean(axis=2)),
            ],
            axis=1,
        )

    intervals = intervals_over_groups(scores, groups, config=config, undefined=NO_INSTANCE)
    return dict(zip(INSTANCE_METRICS, intervals, strict=True))


def coco_evaluation(
    truth: Sequence[Sequence[Instance]],
    found: Sequence[Sequence[Instance]],
    *,
    num_structures: int,
    kind: Literal["mask", "box"],
) -> Any:
    """The `COCOeval` of `pycocotools` for these images, not yet evaluated, over objects of any area."""
    evaluation = COCOeval(
        _coco(truth, num_structures), _coco(found, num_structures), "segm" if kind == "mask" else "bbox"
    )
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    return evaluation


def _coco(images: Sequence[Sequence[Instance]], num_structures: int) -> Any:
    """Instances as `pycocotools` wants them; the same form for truth and detections."""
    annotations = [
        {
            "image_id": image,
            "category_id": instance.structure,
            "segmentation": {"size": list(instance.size), "counts": instance.counts},
            "bbox": list(instance.box),
            "area": instance.area_px,
            "score": instance.score,
            "iscrowd": 0,
        }
        for image, instances in enumerate(images)
        for instance in instances
    ]
    coco = COCO()
    coco.dataset = {
        "images": [
            {"id": image, **dict(zip(("height", "width"), instances[0].size, strict=True))}
            if instances
            else {"id": image, "height": 0, "width": 0}
            for image, instances in enumerate(images)
        ],
        "categories": [{"id": label} for label in range(1, num_structures + 1)],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _matches(images: Sequence[dict[str, Any] | None]) -> Matches:
    """What `pycocotools` says of each image, as one table; an image without either is None there."""
    num_thresholds = 10
    image, scores, hits = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros((num_thresholds, 0), bool)]
    num_true = np.zeros(len(images), dtype=np.int64)
    for number, said in enumerate(images):
        if said is None:
            continue
        num_true[number] = len(said["gtIds"])
        image.append(np.full(len(said["dtIds"]), number, dtype=np.int64))
        scores.append(np.array(said["dtScores"], dtype=float))
        hits.append(np.asarray(said["dtMatches"]).reshape(num_thresholds, -1) > 0)
    order = np.argsort(-np.concatenate(scores), kind="mergesort")  # that of pycocotools, so ties agree
    return Matches(np.concatenate(image)[order], np.concatenate(hits, axis=1)[:, order], num_true)


def _parts(
    labels: UInt8[np.ndarray, "height width"],
    probabilities: Float32[np.ndarray, "label height width"] | None,
    *,
    min_area_px: int,
) -> list[Instance]:
    parts = []
    for label in np.unique(labels[labels > 0]).tolist():
        num, numbered, stats, _ = cv2.connectedComponentsWithStats(
            (labels == label).astype(np.uint8), connectivity=8
        )
        for part in range(1, num):
            left, top, width, height, area = stats[part].tolist()
            if area < min_area_px:
                continue
            mask = numbered == part
            score = 1.0 if probabilities is None else float(probabilities[label][mask].mean(dtype=np.float64))
            code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
            parts.append(
                Instance(
                    structure=label,
                    score=score,
                    size=(int(labels.shape[0]), int(labels.shape[1])),
                    counts=code["counts"].decode("ascii"),
                    area_px=area,
                    box=(float(left), float(top), float(width), float(height)),
                )
            )
    return parts
