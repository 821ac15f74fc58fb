"""The part of a report about one evaluation: metrics, ROC, confusion matrix, folds, notes."""

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Int

from usfmae.base.page import UNKNOWN, count, duration, number, sentences, table
from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.predictions import fold_ids, per_group
from usfmae.evaluate.report_charts import Line, line_chart
from usfmae.evaluate.report_compare import SHOWN
from usfmae.evaluate.report_folders import ResultFolder
from usfmae.evaluate.report_subgroups import subgroup_tables
from usfmae.evaluate.report_words import interval, is_number, metric_name
from usfmae.evaluate.roc import roc_curve
from usfmae.evaluate.subgroups import score_subgroups

MANY_CLASSES = 5
"""Confusion matrices of more are drawn smaller."""


def result_section(result: ResultFolder) -> str:
    """HTML of one evaluation."""
    record = result.record
    parts = [
        f"<section><h2>{escape(result.label)} on {escape(str(record.get('task', UNKNOWN)))}</h2>",
        f'<p class="where">{escape(result.path.name)}</p>',
        sentences(result.problems),
    ]
    if record:
        parts += [facts_list(result), _metric_table(result)]
        parts.append(f'<div class="charts">{_roc(result)}{_confusion(result)}</div>')
        parts += [
            _folds(record),
            _subgroups(result),
            training_curves(result),
            stated_list(record),
            notes_list(record),
        ]
    return "".join([*parts, "</section>"])


def facts_list(result: ResultFolder) -> str:
    """What was learnt from, what was tested, and how."""
    record = result.record
    split = record.get("split") or {}
    facts = {
        "Split": escape(str(split.get("name", UNKNOWN))),
        "Learnt from": f"{count(split.get('num_train'))} images",
        "Validation": f"{count(split.get('num_val'))} images",
        "Tested on": f"{count(record.get('num_images'))} images of {count(record.get('num_patients'))} "
        f"{escape(result.groups)}",
        **({} if (epochs := record.get("epochs")) is None else {"Epochs": str(epochs)}),
        "Seed": str(record.get("seed", UNKNOWN)),
        "Time": duration(record.get("seconds")),
        "Peak memory": f"{number(record.get('peak_memory_gb'), 2)} GB",
        "Weights": f"<code>{escape(str(record.get('weights_sha256') or 'random start')[:12])}</code>",
        "Split hash": f"<code>{escape(str(split.get('sha256', UNKNOWN))[:12])}</code>",
    }
    shown = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    words = record.get("licence")
    licence = f"<p>Licence of the weights: {escape(str(words))}.</p>" if words else ""
    return f'<dl class="facts">{shown}</dl>{licence}'


def _metric_table(result: ResultFolder) -> str:
    columns = {
        "Per image": result.metrics,
        "Per patient": result.record.get("metrics_per_patient") or {},
        "Without near-duplicates": result.record.get("metrics_without_near_duplicates") or {},
    }
    columns = {name: metrics for name, metrics in columns.items() if metrics}
    if not columns:
        return "<p>No metrics were written.</p>"
    names = [*METRICS, *(name for name in result.metrics if name not in METRICS)]
    rows = [
        [escape(metric_name(name)), *(interval(metrics.get(name)) for metrics in columns.values())]
        for name in names
        if any(name in metrics for metrics in columns.values())
    ]
    rows += [
        [f"F1 of {escape(str(name))}", interval(value), *([UNKNOWN] * (len(columns) - 1))]
        for name, value in (result.record.get("f1_per_class") or {}).items()
    ]
    return table(["Metric", *columns], rows, kind="numbers")


def _roc(result: ResultFolder) -> str:
    if result.predictions is None:
        return ""
    bootstrap, positive = result.bootstrap, result.positive
    curves = {"images": roc_curve(result.predictions, positive=positive, bootstrap=bootstrap)}
    if result.record.get("metrics_per_patient"):
        patients, _ = per_group(result.predictions, positive=positive)
        curves["patients"] = roc_curve(patients, positive=positive, bootstrap=bootstrap)
    lines = [
        Line(
            f"Per {kind.removesuffix('s')}, AUROC {curve.auroc:.3f}"
            + (" (band: 95 %, drawn over patients)" if kind == "images" else ""),
            [0.0, *curve.false_positive.tolist()],
            [0.0, *curve.true_positive.tolist()],
            None if curve.low is None or kind == "patients" else [0.0, *curve.low.tolist()],
            None if curve.high is None or kind == "patients" else [0.0, *curve.high.tolist()],
        )
        for kind, curve in curves.items()
        if curve is not None
    ]
    if not lines:
        return "<p>No ROC curve: a class has no test image.</p>"
    many = len(result.predictions.classes) > 2
    title = "ROC, mean of each class against the rest" if many else "ROC"
    chart = line_chart(
        lines, title=title, x_label="1 − specificity", y_label="Sensitivity",
        x_range=(0, 1), y_range=(0, 1), square=True, diagonal=True,
    )  # fmt: skip
    return f"<div><h3>{title}</h3>{chart}</div>"


def _confusion(result: ResultFolder) -> str:
    counts, classes = result.record.get("confusion"), result.record.get("classes") or []
    if not counts:
        return "<p>No confusion matrix was written.</p>"
    return (
        "<div><h3>Confusion matrix</h3><p>Rows: truth. Columns: prediction. Images, and share of the row.</p>"
        f"{confusion_table(np.array(counts), classes)}</div>"
    )


def confusion_table(counts: Int[np.ndarray, "class class"], classes: Sequence[str]) -> str:
    """A confusion matrix as HTML: rows are the truth; each cell says images and share of the row."""
    matrix = counts.astype(float)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th scope="col"><span>{escape(str(name))}</span></th>' for name in classes)
    rows = []
    for i, name in enumerate(classes):
        cells = "".join(
            f'<td style="--share:{share[i, j]:.3f}" class="{"dark" if share[i, j] > 0.85 else ""}">'
            f"<b>{matrix[i, j]:.0f}</b><small>{100 * share[i, j]:.0f} %</small></td>"
            for j in range(len(classes))
        )
        rows.append(f'<tr><th scope="row">{escape(str(name))}</th>{cells}</tr>')
    kind = "confusion many" if len(classes) > MANY_CLASSES else "confusion"
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _folds(record: dict[str, Any]) -> str:
    folds = record.get("folds") or []
    if len(folds) < 2:
        return ""
    names = [name for name in SHOWN if name in (folds[0].get("metrics") or {})]
    rows = [
        [
            escape(str(fold.get("split", fold.get("fold", i)))),
            count(fold.get("num_test")),
            *(interval((fold.get("metrics") or {}).get(name)) for name in names),
        ]
        for i, fold in enumerate(folds)
    ]
    return (
        f"<h3>Each fold</h3>{table(['Fold', 'Test images', *map(metric_name, names)], rows, kind='numbers')}"
    )


def _subgroups(result: ResultFolder) -> str:
    predictions = result.predictions
    if predictions is None or not result.columns:
        return ""
    kind = str(result.record.get("group_kind", "patient"))
    divisions = [
        score_subgroups(
            predictions.labels,
            [predictions.probabilities],
            predictions.group_ids,
            values,
            column=column,
            config=result.bootstrap,
            positive=result.positive,
            folds=fold_ids(predictions),
            group_kind=kind,
        )
        for column, values in result.columns.items()
    ]
    return subgroup_tables(
        [(result.label, divisions)], classes=predictions.classes, positive=result.positive, group_kind=kind
    )


def training_curves(result: ResultFolder) -> str:
    """Loss and validation of each fold while it was fitted; nothing for methods that train nothing."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in result.lines:
        watched = line.get("kind") == "watch"
        name, value = (line.get("metric"), line.get("value")) if watched else ("loss", line.get("loss"))
        if value is not None and is_number(value) and is_number(line.get("epoch")):
            curves[metric_name(str(name))][str(line.get("fold", "all"))].append((line["epoch"], value))
    charts = [
        line_chart(
            [
                Line(
                    fold, [epoch for epoch, _ in points], [value for _, value in points], dots=name != "loss"
                )
                for fold, points in folds.items()
            ],
            title=f"{name} over the epochs",
            x_label="Epoch",
            y_label=name.capitalize() if name == "loss" else name,
            ratio=name != "loss",
        )
        for name, folds in curves.items()
    ]
    return f'<h3>While training</h3><div class="charts">{"".join(charts)}</div>' if charts else ""


def stated_list(record: dict[str, Any]) -> str:
    """What the task states of itself, and its known traps; nothing for results that were made before."""
    stated = record.get("stated")
    if not stated:
        return ""
    names = {
        "split": "Split",
        "groups": "Never parted",
        "main_metric": "Main metric",
        "image_policy": "Image policy",
        "shown": "Shown here",
    }
    said = {key: str(stated.get(key, UNKNOWN)) for key in names} | {
        "main_metric": metric_name(str(stated.get("main_metric")))
    }
    rows = [[name, escape(said[key])] for key, name in names.items()]
    traps = "".join(f"<li>{escape(str(trap))}</li>" for trap in stated.get("traps") or [])
    listed = f"<p>Known traps:</p><ul>{traps}</ul>" if traps else ""
    return f"<h3>The task</h3>{table(['', ''], rows, kind='stated')}{listed}"


def card_words(card: dict[str, Any], task: str) -> str:
    """What the card of the weights says of a task, in a sentence."""
    if card["task_trained_on"]:
        rest = " (a part was held out)" if card["task_held_out"] else ""
        return f"{card['name']} was trained on images of {task}{rest}, says its card."
    if card["task_held_out"]:
        return f"Images of {task} were kept out of the training of {card['name']} by content, says its card."
    return f"The card of {card['name']} does not name {task}: trained on {', '.join(card['trained_on'])}."


def notes_list(record: dict[str, Any]) -> str:
    """Whether the encoder had seen the test images, and what else a reader has to know."""
    found = record.get("contamination")
    if record.get("init") == "scratch":
        contamination = "Nothing was pretrained, so the encoder cannot have seen the test images."
    elif not found or not found.get("checked", True):
        why = (found or {}).get("why", "the record says nothing about it")
        contamination = f"Whether the encoder saw test images while pretraining was not checked: {why}."
    else:
        first = f" (first: {found['first']})" if found.get("first") else ""
        contamination = (
            f"{found.get('test_images_in_pool', UNKNOWN)} of {found.get('of', UNKNOWN)} test images are in "
            f"the pretraining pool, compared by content{first}."
        )
        if (near := found.get("near_duplicates_in_pool")) is not None:
            which = f" (first: {found['first_near']})" if found.get("first_near") else ""
            contamination += f" {near} more look like an image there{which}."
        elif "near_duplicates_in_pool" in found:
            contamination += " Near-duplicates were not looked for: the pool is known by its hashes."
        if missing := found.get("pools_missing"):
            contamination += (
                f" Not compared with {len(missing)} more pool(s) that the encoder has seen, which are not at "
                f"hand: {', '.join(missing)}."
            )
    if card := (found or {}).get("card"):
        contamination += " " + card_words(card, str(record.get("task")))
    notes = [contamination, *map(str, record.get("notes") or [])]
    return f"<h3>Notes</h3><ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"
