"""The part of a report that sets results side by side: who is ahead on a task, and whether that is chance."""

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from usfmae.base.page import UNKNOWN, count, number, table
from usfmae.evaluate.predictions import fold_ids
from usfmae.evaluate.report_charts import Row, interval_chart
from usfmae.evaluate.report_folders import ResultFolder
from usfmae.evaluate.report_words import interval, metric_name
from usfmae.evaluate.statistics import Interval, paired_difference

SHOWN = ("macro_f1", "auroc", "accuracy", "sensitivity", "specificity")
CHARTED = ("macro_f1", "auroc")


def comparison_section(results: Sequence[ResultFolder]) -> str:
    """HTML that sets the results of each task side by side; the first thing a reader sees."""
    tasks: dict[str, list[ResultFolder]] = defaultdict(list)
    for result in results:
        if result.metrics:
            tasks[str(result.record.get("task", UNKNOWN))].append(result)
    parts = ["<section><h2>Results</h2>"]
    if not tasks:
        parts.append("<p>No finished evaluation was given.</p>")
    for task, rivals in tasks.items():
        parts.append(f"<h3>{escape(task)}</h3>{_verdicts(rivals)}{_comparison_table(rivals)}")
        charts = [
            interval_chart(
                [_row(result, name) for result in rivals if _value(result, name) is not None],
                title=f"{metric_name(name)} on {task}",
                x_label=f"{metric_name(name)} with 95 % interval",
            )
            for name in CHARTED
            if any(_value(result, name) is not None for result in rivals)
        ]
        parts.append(f'<div class="charts">{"".join(charts)}</div>')
    return "".join([*parts, "</section>"])


def _comparison_table(rivals: Sequence[ResultFolder]) -> str:
    shown = [name for name in SHOWN if any(name in result.metrics for result in rivals)]
    head = ["Method", *(metric_name(name) for name in shown), "Images", escape(rivals[0].groups.capitalize())]
    rows = [
        [
            f'{escape(result.label)}<br><small class="where">{escape(result.path.name)}</small>',
            *(interval(result.metrics.get(name)) for name in shown),
            count(result.record.get("num_images")),
            count(result.record.get("num_patients")),
        ]
        for result in rivals
    ]
    return table(head, rows, kind="numbers")


def _verdicts(rivals: Sequence[ResultFolder]) -> str:
    """For each pair that differs only in its start: the difference, with its interval."""
    said = []
    for after in rivals:
        for before in rivals:
            if before.record.get("init") == "scratch" and after.record.get("init") not in (None, "scratch"):
                difference = _difference(before, after)
                said += [
                    _verdict(before, after, name, difference[name]) for name in CHARTED if name in difference
                ]
    return f'<ul class="verdicts">{"".join(said)}</ul>' if said else ""


def _difference(before: ResultFolder, after: ResultFolder) -> dict[str, Interval]:
    """The paired difference; empty if the two are not about the same method, labels and test images."""
    first, second = before.predictions, after.predictions
    same = ("method", "classes", "positive")
    if any(before.record.get(name) != after.record.get(name) for name in same):
        return {}
    if before.label_ratio != after.label_ratio or first is None or second is None:
        return {}
    place = {path: row for row, path in enumerate(second.paths)}
    if set(place) != set(first.paths):
        return {}
    second = second.rows([place[path] for path in first.paths])
    if first.classes != second.classes or (first.labels != second.labels).any():
        return {}
    return paired_difference(
        first.labels,
        first.probabilities,
        second.probabilities,
        first.group_ids,
        config=before.bootstrap,
        positive=before.positive,
        folds=fold_ids(first, second),
    )


def _verdict(before: ResultFolder, after: ResultFolder, name: str, change: Interval) -> str:
    if change.value is None or change.low is None or change.high is None:
        return ""
    word = "gains" if change.value >= 0 else "loses"
    sure = change.low > 0 or change.high < 0
    doubt = "" if sure else " The interval includes 0, so this may be chance."
    return (
        f"<li><b>{escape(after.label)}</b> {word} <b>{abs(change.value):.3f}</b> {metric_name(name)} "
        f"[{change.low:+.3f}, {change.high:+.3f}] over {escape(before.label.lower())}: "
        f"{number(_value(before, name))} → {number(_value(after, name))}, on the same patients.{doubt}</li>"
    )


def _value(result: ResultFolder, name: str) -> float | None:
    value = (result.metrics.get(name) or {}).get("value")
    return float(value) if isinstance(value, int | float) else None


def _row(result: ResultFolder, name: str) -> Row:
    metric, value = result.metrics[name], _value(result, name)
    assert value is not None
    return Row(
        result.label,
        value,
        metric.get("low"),
        metric.get("high"),
        int(result.record.get("init") == "scratch"),
    )
