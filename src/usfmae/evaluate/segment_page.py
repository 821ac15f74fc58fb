"""`report.html` of a segmentation: metrics with intervals, structures, folds, and pictures to look at."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from usfmae.base.page import UNKNOWN, count, duration, number, table, write_page
from usfmae.evaluate.overlap import OVERLAP_METRICS, mean_of_defined
from usfmae.evaluate.report import FOOT, REPORT_FILE, what_was_done
from usfmae.evaluate.report_folders import read_result
from usfmae.evaluate.report_result import facts_list, notes_list, stated_list, training_curves
from usfmae.evaluate.report_words import interval, metric_name
from usfmae.evaluate.segment import predicted_label_map
from usfmae.evaluate.segment_scores import SegmentScores, read_scores
from usfmae.evaluate.segment_task import SegmentTask
from usfmae.images.label_values import label_values
from usfmae.images.picture_tag import picture
from usfmae.images.read import read_frame

TRUE_COLOUR = (92, 214, 138)
PREDICTED_COLOUR = (255, 138, 61)
"""Green and orange: apart for the colour-blind too, and from grey."""

SHOWN_PX = 440
"""Longest side of a picture on the page; lines are drawn on it at this size."""

NUM_SHOWN = 4
"""Pictures of the worst, the middle and the best each."""


def write_segment_page(out: Path, task: SegmentTask) -> Path:
    """Write `report.html` into a finished result's folder.

    Args:
        out: the result's folder.
        task: what was evaluated; its images are shown.

    Returns:
        The file.

    Raises:
        FolderError: the result is not finished, or damaged.
        ImageError: an image cannot be read any more.
    """
    result = read_result(out)
    scores, _ = read_scores(out)
    record = result.record
    body = "".join(
        [
            f"<section><h2>{escape(result.label)} on {escape(task.name)}</h2>",
            f'<p class="where">{escape(out.name)}</p>',
            facts_list(result),
            _metric_table(record),
            _structure_table(record),
            _fold_table(record),
            training_curves(result),
            stated_list(record),
            notes_list(record),
            "</section>\n",
            _pictures(out, task, scores),
            f"\n<section><h2>What was done</h2>\n{what_was_done([result])}\n</section>\n",
        ]
    )
    structures = ", ".join(task.structures)
    summary = escape(
        f"{count(record.get('num_images'))} test images, {structures} · {duration(record.get('seconds'))}"
    )
    path = out / REPORT_FILE
    write_page(path, title=f"{task.name}: {out.name}", summary=summary, body=body, foot=FOOT)
    return path


def overlay(
    pixels: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"],
    truth: UInt8[np.ndarray, "height width"],
    predicted: UInt8[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "tall wide 3"]:
    """A picture with the outlines of the true (green) and the predicted (orange) structures, to look at.

    Enlarged or shrunk to `SHOWN_PX` first, so that lines are equally thin on every picture.
    """
    height, width = pixels.shape[:2]
    scale = SHOWN_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    flag = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shown = np.asarray(cv2.resize(pixels, size, interpolation=flag))
    if shown.ndim == 2:
        shown = np.repeat(shown[:, :, None], 3, axis=2)
    shown = np.ascontiguousarray(shown)
    for labels, colour in ((truth, TRUE_COLOUR), (predicted, PREDICTED_COLOUR)):
        large = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT))
        for label in np.unique(large[large > 0]).tolist():
            lines, _ = cv2.findContours(
                (large == label).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(shown, lines, -1, colour, thickness=2, lineType=cv2.LINE_AA)
    return shown


def chosen_rows(dice: Float64[np.ndarray, " image"], num: int = NUM_SHOWN) -> dict[str, list[int]]:
    """Which images are shown: the worst, those around the median, the best; none twice, none without Dice."""
    order = [int(row) for row in np.argsort(dice, kind="stable") if not np.isnan(dice[row])]
    worst, rest = order[:num], order[num:]
    best, rest = rest[len(rest) - min(num, len(rest)) :][::-1], rest[: max(0, len(rest) - num)]
    start = max(0, min(len(order) // 2 - num - num // 2, len(rest) - num))
    return {"Worst": worst, "In the middle": rest[start : start + num], "Best": best}


def _metric_table(record: dict[str, Any]) -> str:
    columns = {
        "All test images": record.get("metrics") or {},
        "Without near-duplicates": record.get("metrics_without_near_duplicates") or {},
    }
    columns = {name: metrics for name, metrics in columns.items() if metrics}
    names = record.get("metrics") or {}
    rows = [
        [escape(_named(name, record)), *(interval(metrics.get(name)) for metrics in columns.values())]
        for name in names
    ]
    return table(["Metric", *columns], rows, kind="numbers")


def _structure_table(record: dict[str, Any]) -> str:
    found: dict[str, dict[str, Any]] = record.get("by_structure") or {}
    if len(found) < 2:
        return ""
    rows = [
        [escape(structure), *(interval(metrics.get(name)) for name in OVERLAP_METRICS)]
        for structure, metrics in found.items()
    ]
    head = ["Structure", *(escape(_named(name, record)) for name in OVERLAP_METRICS)]
    return f"<h3>Each structure</h3>{table(head, rows, kind='numbers')}"


def _fold_table(record: dict[str, Any]) -> str:
    folds = record.get("folds") or []
    if len(folds) < 2:
        return ""
    names = list(record.get("metrics") or {})
    rows = [
        [
            escape(str(fold.get("split", UNKNOWN))),
            count(fold.get("num_test")),
            *(interval(fold["metrics"].get(name)) for name in names),
        ]
        for fold in folds
    ]
    head = ["Fold", "Test images", *(escape(_named(name, record)) for name in names)]
    return f"<h3>Each fold</h3>{table(head, rows, kind='numbers')}"


def _pictures(out: Path, task: SegmentTask, scores: SegmentScores) -> str:
    dice = mean_of_defined(scores.overlaps[:, :, 0])
    index_of = {item.name: index for index, item in enumerate(task.items)}
    parts = [
        "<section><h2>Pictures</h2><p>",
        f'<span class="swatch" style="border-color: rgb{TRUE_COLOUR}"></span>as drawn by the experts &emsp;',
        f'<span class="swatch" style="border-color: rgb{PREDICTED_COLOUR}"></span>as predicted',
        ". By Dice, mean over the structures of an image.</p>",
    ]
    for title, rows in chosen_rows(dice).items():
        if rows:
            figures = "".join(
                _figure(out, task, scores, row, index_of[scores.paths[row]], float(dice[row])) for row in rows
            )
            parts.append(f'<h3>{title}</h3><div class="overlays">{figures}</div>')
    return "".join([*parts, "</section>"])


def _figure(out: Path, task: SegmentTask, scores: SegmentScores, row: int, index: int, dice: float) -> str:
    item = task.items[index]
    frame = read_frame(item.path, item.frame or 0, key=item.array)
    predicted = label_values(predicted_label_map(out, scores.folds[row], item.name)).astype(np.uint8)
    drawn = overlay(frame.pixels, task.truth(index), predicted)
    said = f"{item.name}, Dice {dice:.2f}"
    return (
        f"<figure>{picture(drawn, said=said, jpeg_quality=88)}<figcaption><b>Dice {number(dice, 2)}</b>, "
        f"{_distances(scores, row)}<br>{escape(item.name)}{_what(scores, row)}</figcaption></figure>"
    )


def _distances(scores: SegmentScores, row: int) -> str:
    worst = np.nanmax(scores.overlaps[row, :, 2])
    return f"HD95 {number(float(worst), 1)} {scores.unit}"


def _what(scores: SegmentScores, row: int) -> str:
    """Where structures are told apart: which are there, and which are said to be."""
    if len(scores.structures) < 2:
        return ""
    there, said = (
        _listed([name for name, area in zip(scores.structures, areas, strict=True) if area])
        for areas in scores.areas_px[row].T.tolist()
    )
    return f"<br>drawn: {there}; predicted: {said}"


def _listed(names: Sequence[str]) -> str:
    return escape(", ".join(names) or "nothing")


def _named(name: str, record: dict[str, Any]) -> str:
    return f"{metric_name(name)} ({record.get('hd95_unit', 'px')})" if name == "hd95" else metric_name(name)
