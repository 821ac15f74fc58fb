"""The part of a comparison's page about one task."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from usfmae.base.page import UNKNOWN, count, number, table
from usfmae.evaluate.metrics import confusion_matrix, predicted_classes
from usfmae.evaluate.plan_decisions import WANTED_SENSITIVITY, Decisions
from usfmae.evaluate.plan_findings import FeatureMap, PlanFindings, Worst
from usfmae.evaluate.plan_scores import STRENGTH, TESTED, Comparison, Entry
from usfmae.evaluate.report_charts import Line, Points, line_chart, scatter_chart
from usfmae.evaluate.report_result import confusion_table, stated_list
from usfmae.evaluate.report_subgroups import subgroup_tables
from usfmae.evaluate.report_words import interval, metric_name
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
    parts = [f"<section><h2>{escape(task)}</h2>{facts}", _main_table(entries)]
    parts.append(_stated(entries))
    parts.append(_differences(task, findings.comparisons))
    parts.append(f'<div class="charts">{_efficiency(entries)}{_rocs(entries)}</div>')
    parts += [_confusions(entries), _decision_table(entries, findings.decisions)]
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


def _main_table(entries: Sequence[Entry]) -> str:
    ways = list(dict.fromkeys(entry.way for entry in entries))
    names = list(dict.fromkeys(entry.encoder for entry in entries))
    by_key = {(entry.encoder, entry.way): entry for entry in entries}
    parts = []
    for metric in TESTED:
        rows = []
        for name in names:
            cells = []
            for way in ways:
                entry = by_key.get((name, way))
                cells.append(UNKNOWN if entry is None else interval(entry.metrics[metric].record()))
            rows.append([escape(name), *cells])
        parts.append(
            f"<h3>{metric_name(metric)}, mean over seeds</h3>"
            + table(["Encoder", *(escape(way) for way in ways)], rows, kind="numbers")
        )
    return "".join(parts)


def _differences(task: str, comparisons: Sequence[Comparison]) -> str:
    mine = [one for one in comparisons if one.task == task]
    if not mine:
        return ""
    rows = []
    for one in mine:
        t, ranks = one.other_tests.get("corrected_t") or {}, one.other_tests.get("wilcoxon") or {}
        mcnemar = one.other_tests.get("mcnemar") or {}
        value = one.difference.value
        shown = UNKNOWN if value is None else f"<b>{_minus(f'{value:+.3f}')}</b>"
        rows.append(
            [
                escape(f"{one.first} − {one.rival}"),
                escape(one.way),
                f'<span class="whole">{metric_name(one.metric)}</span>',
                f"{shown} <small>{signed(one)}</small>",
                p_value(one.p),
                f"<b>{p_value(one.adjusted_p)}</b>",
                p_value(mcnemar.get("p")),
                p_value(t.get("p")),
                p_value(ranks.get("p")),
            ]
        )
    head = ["Pair", "Way", "Metric", "Difference", "p", "p, Holm", "McNemar", "Nadeau-Bengio", "Wilcoxon"]
    return (
        "<h3>Differences on the same patients</h3><p>p: answers of whole patients swapped (macro-F1), DeLong "
        "over patients (AUROC). The last two test the splits' means; with few splits they can hardly be "
        f"small.</p>{table(head, rows, kind='numbers')}"
    )


def _efficiency(entries: Sequence[Entry]) -> str:
    """Macro-F1 over the number of labels, where a method was run with several."""
    charts = []
    for method in dict.fromkeys(entry.method for entry in entries):
        mine = [entry for entry in entries if entry.method == method]
        if len({entry.num_learnt for entry in mine}) < 2:
            continue
        lines = []
        for name in dict.fromkeys(entry.encoder for entry in mine):
            points = sorted((e for e in mine if e.encoder == name), key=lambda entry: entry.num_learnt)
            known = [e for e in points if e.metrics["macro_f1"].value is not None]
            bounds = [e.metrics["macro_f1"] for e in known]
            banded = all(b.low is not None and b.high is not None for b in bounds)
            lines.append(
                Line(
                    name,
                    [e.num_learnt for e in known],
                    [b.value or 0.0 for b in bounds],
                    [b.low or 0.0 for b in bounds] if banded else None,
                    [b.high or 0.0 for b in bounds] if banded else None,
                    dots=True,
                )
            )
        title = f"Label efficiency, {method}"
        chart = line_chart(lines, title=title, x_label="Labels learnt from", y_label="Macro-F1", ratio=True)
        charts.append(f"<div><h3>{escape(title)}</h3>{chart}</div>")
    return "".join(charts)


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


def _decision_table(entries: Sequence[Entry], decisions: dict[tuple[str, str, str], Decisions]) -> str:
    rows, curves = [], []
    for entry in strongest(entries):
        found = decisions.get((entry.task, entry.encoder, entry.way))
        if found is None:
            continue
        rates = [interval(found.rates[name].record()) for name in found.rates]
        rows.append(
            [
                escape(f"{entry.encoder}, {entry.way}"),
                number(found.error_before),
                UNKNOWN if found.error_after is None else number(found.error_after),
                _range(found.temperatures) if found.temperatures else "not fitted",
                interval(found.brier.record()),
                *rates,
            ]
        )
        curves.append(Line(entry.encoder, found.said.tolist(), found.found.tolist(), dots=True))
    if not rows:
        return ""
    head = ["Contender", "ECE", "ECE, tempered", "Temperatures", "Brier"]
    width = max(map(len, rows))
    head += ["Sensitivity", "Specificity", "PPV", "NPV"][: width - len(head)]  # with two classes only
    rows = [row + [UNKNOWN] * (width - len(row)) for row in rows]
    chosen = f", thresholds for a sensitivity of at least {WANTED_SENSITIVITY:g} there" * (len(head) > 5)
    first = entries[0]
    of = "" if first.positive is None else f" of {first.per_seed[0].classes[first.positive]}"
    chart = line_chart(
        curves,
        title="Reliability of the first seed",
        x_label=f"Probability{of} that was said",
        y_label="Share that was so",
        x_range=(0, 1),
        y_range=(0, 1),
        square=True,
        diagonal=True,
    )
    return (
        "<h3>What the probabilities are good for</h3><p>Temperatures were chosen on each split's validation "
        f"images{chosen}; none is fitted where neighbours gave a true class no vote at all. ECE: expected "
        f"calibration error.</p>{table(head, rows, kind='numbers')}"
        '<div class="charts"><div><h4>Reliability of the first seed, before tempering</h4>'
        f"{chart}</div></div><p>Bins of equal width; those at the ends may hold few images.</p>"
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


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


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


def signed(one: Comparison) -> str:
    """The interval of a difference, with signs."""
    low, high = one.difference.low, one.difference.high
    if low is None or high is None:
        return escape(one.difference.why)
    return _minus(f"[{low:+.3f}, {high:+.3f}]")


def _minus(text: str) -> str:
    """Numbers with the sign that is as wide as a plus."""
    return text.replace("-", "\u2212")


def p_value(p: Any) -> str:
    """A p-value for people."""
    if not isinstance(p, int | float):
        return UNKNOWN
    return "&lt;\u00a00.001" if p < 0.001 else f"{p:.3f}"
