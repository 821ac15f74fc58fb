"""The part of a comparison's page about one task."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from usfmae.base.page import count
from usfmae.evaluate.metrics import confusion_matrix, predicted_classes
from usfmae.evaluate.plan_findings import FeatureMap, PlanFindings, Worst
from usfmae.evaluate.plan_scores import STRENGTH, Entry
from usfmae.evaluate.report_charts import Line, Points, line_chart, scatter_chart
from usfmae.evaluate.report_plan_decisions import decision_table
from usfmae.evaluate.report_plan_numbers import (
    difference_table,
    efficiency_charts,
    main_tables,
    near_duplicate_table,
)
from usfmae.evaluate.report_result import confusion_table, stated_list
from usfmae.evaluate.report_subgroups import subgroup_tables
from usfmae.evaluate.roc import roc_curve
from usfmae.images.picture_tag import picture


def task_section(task: str, findings: PlanFindings) -> str:
    """HTML of one task: tables, differences, curves, calibration, features and errors."""
    entries = [entry for entry in findings.entries if entry.task == task]
    if not entries:
        return f"<section><h2>{escape(task)}</h2><p>No contender is finished here yet.</p></section>"
    first = entries[0].per_seed[0]
    groups = len(set(first.groups))
    facts = (
        f"<p>{count(len(first))} test images of {count(groups)} "
        f"{escape(str(entries[0].results[0].get('group_kind', 'patient')))}s, splits "
        f"{escape(', '.join(dict.fromkeys(fold for entry in entries for fold in _plain(entry))))}.</p>"
    )
    parts = [f"<section><h2>{escape(task)}</h2>{facts}", main_tables(entries)]
    parts += [near_duplicate_table(entries), _stated(entries)]
    parts.append(difference_table(task, findings))
    parts.append(f'<div class="charts">{efficiency_charts(entries)}{_rocs(entries)}</div>')
    parts += [_confusions(entries), decision_table(strongest(entries), findings)]
    parts.append(_subgroups(entries, findings))
    maps = [one for one in findings.feature_maps if one.task == task]
    if maps:
        parts.append(f'<h3>Test images by their features (t-SNE)</h3><div class="charts">{_maps(maps)}</div>')
    if worst := [one for one in findings.worst if one.task == task]:
        parts.append(_worst(worst, findings.plan.encoders[0].name))
    return "".join([*parts, "</section>"])


def _stated(entries: Sequence[Entry]) -> str:
    """What the task states of itself, and every way in which pictures were shown."""
    stated = [result["stated"] for entry in entries for result in entry.results if "stated" in result]
    if not stated:
        return ""
    shown = " / ".join(dict.fromkeys(str(one["shown"]) for one in stated))
    return stated_list({"stated": {**stated[0], "shown": shown}})


def _plain(entry: Entry) -> list[str]:
    """Names of splits without what label fractions add."""
    return [re.sub(r"-[^-]*-(labels|per-class)$", "", fold) for fold in entry.folds]


def _rocs(entries: Sequence[Entry]) -> str:
    """One chart: every encoder in the strongest way that was run, probabilities averaged over seeds."""
    lines = []
    for entry in strongest(entries):
        curve = roc_curve(entry.mean, positive=entry.positive)
        if curve is not None:
            x, y = [0.0, *curve.false_positive.tolist()], [0.0, *curve.true_positive.tolist()]
            lines.append(Line(f"{entry.encoder}, AUROC {curve.auroc:.3f}", x, y))
    if not lines:
        return ""
    title = f"ROC, {strongest(entries)[0].way}, probabilities averaged over seeds"
    chart = line_chart(
        lines,
        title=title,
        x_label="1 − specificity",
        y_label="Sensitivity",
        x_range=(0, 1),
        y_range=(0, 1),
        square=True,
        diagonal=True,
    )
    return f"<div><h3>{escape(title)}</h3>{chart}</div>"


def strongest(entries: Sequence[Entry]) -> list[Entry]:
    """Of each encoder the way that learns most: fine-tuning before probes, all labels before few."""
    best: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda e: (STRENGTH.index(e.method), -e.num_learnt)):
        best.setdefault(entry.encoder, entry)
    return [best[name] for name in dict.fromkeys(entry.encoder for entry in entries)]


def _confusions(entries: Sequence[Entry]) -> str:
    shown = []
    for entry in strongest(entries):
        mean = entry.mean
        counts = confusion_matrix(
            mean.labels, predicted_classes(mean.probabilities), num_classes=len(mean.classes)
        )
        matrix = confusion_table(counts, mean.classes)
        shown.append(f"<div><h4>{escape(entry.encoder)}, {escape(entry.way)}</h4>{matrix}</div>")
    return (
        "<h3>Confusion matrices, probabilities averaged over seeds</h3><p>Rows: truth. Columns: prediction. "
        f'Images, and share of the row.</p><div class="charts">{"".join(shown)}</div>'
    )


def _subgroups(entries: Sequence[Entry], findings: PlanFindings) -> str:
    """Every encoder in the strongest way that was run, by what the set says of its images."""
    contenders = [
        (f"{entry.encoder}, {entry.way}", findings.subgroups[key])
        for entry in strongest(entries)
        if (key := (entry.task, entry.encoder, entry.way)) in findings.subgroups
    ]
    if not contenders:
        return ""
    first = entries[0]
    return subgroup_tables(
        contenders,
        classes=first.per_seed[0].classes,
        positive=first.positive,
        group_kind=str(first.results[0].get("group_kind", "patient")),
    )


def _maps(maps: Sequence[FeatureMap]) -> str:
    charts = []
    for one in maps:
        points = [Points(name, one.points[one.labels == index]) for index, name in enumerate(one.classes)]
        charts.append(scatter_chart(points, title=f"{one.encoder}, {one.split}"))
    return "".join(charts)


def _worst(worst: Sequence[Worst], encoder: str) -> str:
    shown = "".join(
        f"<figure>{picture(one.pixels, said=one.name, jpeg_quality=80)}<figcaption>"
        f"said <b>{escape(one.said)}</b> ({one.probability:.2f}),<br>is <b>{escape(one.truth)}</b>"
        f"<br><small>{escape(Path(one.name).name)}</small></figcaption></figure>"
        for one in worst
    )
    return f'<h3>The worst errors of {escape(encoder)}</h3><div class="charts worst">{shown}</div>'
