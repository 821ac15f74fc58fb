"""The table of results by device, BI-RADS, size: a row per part, a column per contender."""

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from usfmae.base.files import write_text
from usfmae.base.page import UNKNOWN, count, table
from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.report_words import interval, metric_name
from usfmae.evaluate.statistics import Interval
from usfmae.evaluate.subgroups import FEW_OF_A_CLASS, FEW_PATIENTS, Subgroup, Subgroups

Contender = tuple[str, Sequence[Subgroups]]
"""A name for the head of a column, and its results by each division of the images; all contenders have the
same divisions."""

SHOWN_METRICS = ("auroc", "macro_f1")


def subgroup_tables(
    contenders: Sequence[Contender], *, classes: Sequence[str], positive: int | None, group_kind: str
) -> str:
    """HTML: one table per metric; nothing where nobody has a result by subgroup.

    Args:
        contenders: at least one.
        classes: names, for the column that counts images of the class to be found.
        positive: with two classes, the one to be found; None with more.
        group_kind: what intervals are drawn over.
    """
    divisions = contenders[0][1]
    if not divisions:
        return ""
    groups = f"{group_kind.rpartition(' ')[2].capitalize()}s"
    counted = escape(classes[positive]).capitalize() if positive is not None else "Classes"
    head = ["", "Images", groups, counted, *(escape(name) for name, _ in contenders), "Beware"]
    parts = []
    for metric in SHOWN_METRICS:
        rows = []
        for number, division in enumerate(divisions):
            for place, part in enumerate(division.parts):
                rivals = [of[number].parts[place] for _, of in contenders]
                rows.append(
                    [
                        f"<small>{escape(division.column)}</small> {escape(part.name)}",
                        count(part.num_images),
                        count(part.num_groups),
                        _counted(part, positive),
                        *(_shown(rival.metrics[metric]) for rival in rivals),
                        f"<em>{escape(part.warning)}</em>" if part.warning else "",
                    ]
                )
        parts.append(f"<h4>{metric_name(metric)}</h4>{table(head, rows, kind='numbers subgroups')}")
    return (
        "<h3>By subgroup</h3><p>The same predictions, parted by what the set says of its images; intervals "
        f"over the {escape(group_kind)}s of a part. Compare contenders within a row. From row to row "
        "macro-F1 moves with the share of each class, even where a classifier is as good; AUROC does not. "
        f"Parts of fewer than {FEW_PATIENTS} {escape(group_kind)}s, or {FEW_OF_A_CLASS} of a class, are too "
        f"small to lean on; without a class AUROC is not defined ({UNKNOWN}). Nothing here was tested for "
        f"significance.</p>{''.join(parts)}"
    )


def subgroup_rows(contenders: Sequence[tuple[dict[str, str], Sequence[Subgroups]]]) -> list[dict[str, Any]]:
    """A row per contender, part and metric, for a csv file.

    Args:
        contenders: the first cells of each row by name (task, encoder, way), and the results.
    """
    return [
        {
            **cells,
            "column": division.column,
            "part": part.name,
            "num_images": part.num_images,
            "num_groups": part.num_groups,
            "num_per_class": " ".join(map(str, part.num_per_class)),
            "metric": metric,
            "value": part.metrics[metric].value,
            "low": part.metrics[metric].low,
            "high": part.metrics[metric].high,
            "warning": part.warning,
        }
        for cells, divisions in contenders
        for division in divisions
        for part in division.parts
        for metric in METRICS
    ]


def write_subgroup_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of `subgroup_rows`; a number that is not defined is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _shown(metric: Interval) -> str:
    """Short, since many stand side by side; the last column says why a number or an interval is missing."""
    if metric.value is None:
        return UNKNOWN
    if metric.low is None:
        return f"<b>{metric.value:.3f}</b> <small>no interval</small>"
    return interval(metric.record())


def _counted(part: Subgroup, positive: int | None) -> str:
    if positive is not None:
        return count(part.num_per_class[positive])
    return f"{sum(num > 0 for num in part.num_per_class)} of {len(part.num_per_class)}"
