"""What the probabilities of a comparison's contenders are good for: calibration, and a threshold."""

from collections.abc import Sequence
from html import escape

import numpy as np

from usfmae.base.page import UNKNOWN, number, table
from usfmae.evaluate.operating_points import RATES, exact_at_the_ends
from usfmae.evaluate.plan_decisions import WANTED_SENSITIVITY, Decisions
from usfmae.evaluate.plan_findings import PlanFindings
from usfmae.evaluate.plan_scores import Entry
from usfmae.evaluate.report_charts import Line, line_chart
from usfmae.evaluate.report_words import interval
from usfmae.evaluate.statistics import Interval


def decision_table(entries: Sequence[Entry], findings: PlanFindings) -> str:
    """Calibration and thresholds of each encoder in one way, as HTML.

    Args:
        entries: of one task, one per encoder.
        findings: with the decisions of these.
    """
    rows, curves = [], []
    for entry in entries:
        found = findings.decisions.get((entry.task, entry.encoder, entry.way))
        if found is None:
            continue
        exact = exact_rates(entry, found, findings.plan.bootstrap.level)
        rates = [interval(one.record()) for one in exact.values()]
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
    ends = " Rates of 0 or 1 have exact binomial bounds over patients." * (len(head) > 5)
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
        f"{chart}</div></div><p>Bins of equal width; those at the ends may hold few images.{ends}</p>"
    )


def exact_rates(entry: Entry, found: Decisions, level: float) -> dict[str, Interval]:
    """The rates at the threshold, with exact bounds where one is 0 or 1 in every seed.

    Predictive values are shares of the patients that are called so, of which each seed has its own: the
    fewest count.

    Args:
        entry: with the test images.
        found: its rates and thresholds, the latter seed by seed and in each split by split.
        level: of the bounds.
    """
    if not found.rates:
        return {}
    first = entry.per_seed[0]
    one = 1 if entry.positive is None else entry.positive
    is_positive, groups = first.labels == one, first.group_ids
    place = {fold: number for number, fold in enumerate(entry.folds)}
    columns = [place[fold] for fold in first.folds]
    by_seed = np.reshape(found.thresholds, (len(entry.seeds), len(entry.folds)))[:, columns]
    called = [
        table.probabilities[:, one] >= limits for table, limits in zip(entry.per_seed, by_seed, strict=True)
    ]
    bases = [[is_positive], [~is_positive], called, [~calls for calls in called]]
    num_groups = [min(len(np.unique(groups[base])) for base in mine) for mine in bases]
    return {
        name: exact_at_the_ends(found.rates[name], num, level)
        for name, num in zip(RATES, num_groups, strict=True)
    }


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"
