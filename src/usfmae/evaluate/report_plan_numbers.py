"""The tables of a task on a comparison's page: numbers, differences, near-duplicates, label efficiency."""

from collections.abc import Sequence
from html import escape
from typing import Any

from usfmae.base.page import UNKNOWN, count, number, table
from usfmae.evaluate.plan_findings import PlanFindings
from usfmae.evaluate.plan_near_duplicates import without_near_duplicates
from usfmae.evaluate.plan_scores import TESTED, Comparison, Entry
from usfmae.evaluate.plan_spread import seed_spreads
from usfmae.evaluate.report_charts import Line, line_chart
from usfmae.evaluate.report_words import interval, metric_name, spread_words


def main_tables(entries: Sequence[Entry]) -> str:
    """Every contender in every way: a table for each metric, and what a single seed leaves open."""
    ways, names, by_key = _grid(entries)
    spreads = {(entry.encoder, entry.way): seed_spreads(entry) for entry in entries}
    parts = []
    for metric in TESTED:
        rows = []
        for name in names:
            cells = []
            for way in ways:
                entry = by_key.get((name, way))
                cells.append(
                    UNKNOWN if entry is None else _main_cell(entry, metric, spreads[name, way][metric])
                )
            rows.append([escape(name), *cells])
        parts.append(
            f"<h3>{metric_name(metric)}, mean over seeds</h3>"
            + table(["Encoder", *(escape(way) for way in ways)], rows, kind="numbers")
        )
    if any(entry.over_folds for entry in entries):
        parts.append(
            "<p>Over splits: mean over splits and seeds with the interval of Nadeau and Bengio, which counts "
            "in that other training images would be learnt from. Few splits make it wide.</p>"
        )
    return "".join([*parts, _one_seed(entries)])


def near_duplicate_table(entries: Sequence[Entry]) -> str:
    """The same without test images of which a near-duplicate was learnt from; empty where there are none."""
    ways, names, by_key = _grid(entries)
    found = {key: left for key, entry in by_key.items() if (left := without_near_duplicates(entry))}
    if not found:
        return ""
    parts, first = [], next(iter(found.values()))
    for metric in TESTED:
        rows = []
        for name in names:
            cells = []
            for way in ways:
                left = found.get((name, way))
                cells.append(
                    UNKNOWN
                    if left is None
                    else f"<b>{number(left.without[metric])}</b> "
                    f"<small>with them {number(left.all_images[metric])}</small>"
                )
            rows.append([escape(name), *cells])
        head = [metric_name(metric), *(escape(way) for way in ways)]
        parts.append(table(head, rows, kind="numbers"))
    return (
        "<h3>Without near-duplicates of training images</h3>"
        f"<p>The official lists part near-duplicates: {count(first.num_left_out)} of "
        f"{count(first.num_images)} test images have one on the training side and are left out here. Means "
        f"over splits and seeds, from the cells.</p>{''.join(parts)}"
    )


def difference_table(task: str, findings: PlanFindings) -> str:
    """The first contender against each other one, and what speaks against each difference."""
    mine = [one for one in findings.comparisons if one.task == task]
    if not mine:
        return ""
    rows = []
    for one in mine:
        t, ranks = one.other_tests.get("corrected_t") or {}, one.other_tests.get("wilcoxon") or {}
        mcnemar = one.other_tests.get("mcnemar") or {}
        value = one.difference.value
        shown = UNKNOWN if value is None else f"<b>{_minus(f'{value:+.3f}')}</b>"
        doubts = findings.doubts(one)
        under = [f"<small>{spread_words(doubts.spread, len(doubts.per_seed))}</small>"]
        under += [f'<small class="doubt">{escape(words)}</small>' for words in doubts.words]
        rows.append(
            [
                escape(f"{one.first} − {one.rival}"),
                escape(one.way),
                f'<span class="whole">{metric_name(one.metric)}</span>',
                "<br>".join([f"{shown} <small>{signed(one)}</small>", *under]),
                p_value(one.p),
                f"<b>{p_value(one.adjusted_p)}</b>",
                p_value(mcnemar.get("p")),
                p_value(t.get("p")),
                p_value(ranks.get("p")),
            ]
        )
    head = ["Pair", "Way", "Metric", "Difference", "p", "p, Holm", "McNemar", "Nadeau-Bengio", "Wilcoxon"]
    families = " and ".join(f"{count(findings.family(name))} in {metric_name(name)}" for name in TESTED)
    return (
        "<h3>Differences on the same patients</h3><p>p: answers of whole patients swapped (macro-F1), DeLong "
        "over patients (AUROC). Holm: over all comparisons of the same metric on this page, each metric a "
        f"family of its own ({families}). The last two test the splits' means; with few splits they can "
        "hardly be small. “Not so” marks a difference whose bootstrap interval leaves out 0 while "
        "Student's over seeds, on these patients, or Nadeau and Bengio's over splits holds it; “but not 0” "
        f"the reverse over splits.</p>{table(head, rows, kind='numbers')}"
    )


def efficiency_charts(entries: Sequence[Entry]) -> str:
    """Each metric over the number of labels, where a method was run with several."""
    charts = []
    for method in dict.fromkeys(entry.method for entry in entries):
        mine = [entry for entry in entries if entry.method == method]
        if len({entry.num_learnt for entry in mine}) < 2:
            continue
        for metric in TESTED:
            lines = [
                line
                for name in dict.fromkeys(entry.encoder for entry in mine)
                if (line := _efficiency([e for e in mine if e.encoder == name], metric)) is not None
            ]
            if not lines:
                continue
            said = metric_name(metric)
            title = f"Label efficiency, {method}, {said}"
            chart = line_chart(lines, title=title, x_label="Labels learnt from", y_label=said, ratio=True)
            charts.append(f"<div><h3>{escape(title)}</h3>{chart}</div>")
    return "".join(charts)


def signed(one: Comparison) -> str:
    """The interval of a difference, with signs."""
    low, high = one.difference.low, one.difference.high
    if low is None or high is None:
        return escape(one.difference.why)
    return _minus(f"[{low:+.3f}, {high:+.3f}]")


def p_value(p: Any) -> str:
    """A p-value for people."""
    if not isinstance(p, int | float):
        return UNKNOWN
    return "&lt;\u00a00.001" if p < 0.001 else f"{p:.3f}"


def _grid(entries: Sequence[Entry]) -> tuple[list[str], list[str], dict[tuple[str, str], Entry]]:
    """Ways, contenders, and who stands where."""
    ways = list(dict.fromkeys(entry.way for entry in entries))
    names = list(dict.fromkeys(entry.encoder for entry in entries))
    return ways, names, {(entry.encoder, entry.way): entry for entry in entries}


def _main_cell(entry: Entry, metric: str, spread: float | None) -> str:
    lines = [interval(entry.metrics[metric].record())]
    lines.append(f"<small>{spread_words(spread, len(entry.seeds))}</small>")
    if (over := entry.over_folds.get(metric)) is not None and over.mean.low is not None:
        bounds = f"[{number(over.mean.low)}, {number(over.mean.high)}]"
        lines.append(f"<small>over {over.num_folds} splits {number(over.mean.value)} {bounds}</small>")
    return "<br>".join(lines)


def _one_seed(entries: Sequence[Entry]) -> str:
    alone = [entry for entry in entries if len(entry.seeds) == 1]
    if not alone:
        return ""
    ways = ", ".join(dict.fromkeys(entry.way for entry in alone))
    few = ", ".join(dict.fromkeys(entry.way for entry in alone if entry.is_few))
    draws = f" In {escape(few)} it is one draw of labels too, so nobody is called ahead there." if few else ""
    return (
        f'<ul class="missing"><li>One seed only in {escape(ways)}: what another would change is not '
        f"known.{draws}</li></ul>"
    )


def _efficiency(mine: Sequence[Entry], metric: str) -> Line | None:
    """One contender's curve."""
    points = sorted(mine, key=lambda entry: entry.num_learnt)
    known = [e for e in points if e.metrics[metric].value is not None]
    if not known:
        return None
    bounds = [e.metrics[metric] for e in known]
    banded = all(b.low is not None and b.high is not None for b in bounds)
    return Line(
        known[0].encoder,
        [e.num_learnt for e in known],
        [b.value or 0.0 for b in bounds],
        [b.low or 0.0 for b in bounds] if banded else None,
        [b.high or 0.0 for b in bounds] if banded else None,
        dots=True,
    )


def _minus(text: str) -> str:
    """Numbers with the sign that is as wide as a plus."""
    return text.replace("-", "\u2212")
