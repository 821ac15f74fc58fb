"""The page of a comparison: who is ahead on which task, by how much, and whether that is chance."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from usfmae.base.logs import progress_bar
from usfmae.base.page import UNKNOWN, count, duration, table, write_page
from usfmae.evaluate.plan import PlanEncoder
from usfmae.evaluate.plan_findings import PlanFindings
from usfmae.evaluate.plan_scores import Entry
from usfmae.evaluate.report_plan_task import p_value, signed, task_section
from usfmae.evaluate.report_words import interval
from usfmae.evaluate.reproduction import CardRow
from usfmae.models.licences import known_licence

FOOT = """Numbers in square brackets are 95 % bootstrap intervals: whole patients (or groups) are drawn with
replacement, each draw scored with every seed. Differences are paired on the same draws. p-values are
corrected over all comparisons of a metric on this page (Holm). Nothing here was loaded from elsewhere."""

LEVEL = 0.05
"""Of the corrected p below which a difference is said on top of the page."""


def write_plan_page(path: Path, findings: PlanFindings, *, title: str) -> None:
    """Write the page; the same bytes for the same findings.

    Raises:
        FolderError: it cannot be written.
    """
    parts = [_overview(findings)]
    with progress_bar("draw the page", total=len(findings.plan.tasks)) as bar:
        for task in findings.plan.tasks:
            bar.say(task.name)
            parts.append(task_section(task.name, findings))
            bar.advance()
    parts += [_card_section(findings.card), _made_section(findings)]
    done, failed = len(findings.state.done), len(findings.state.failed)
    waiting = len(findings.state.elsewhere)
    summary = f"{count(done)} cells done, {count(failed)} failed, {count(waiting)} not yet there"
    write_page(path, title=title, summary=summary, body="".join(parts), foot=FOOT)


def _overview(findings: PlanFindings) -> str:
    first = findings.plan.encoders[0].name
    said = [f'<li class="bad">{escape(words)}</li>' for words in findings.contaminated]
    open_ones = 0
    for one in findings.comparisons:
        if one.metric != "macro_f1" or one.difference.low is None or one.difference.value is None:
            continue
        if one.adjusted_p is None or one.adjusted_p >= LEVEL:
            open_ones += 1
            continue
        word = "ahead of" if one.difference.value >= 0 else "behind"
        said.append(
            f"<li><b>{escape(first)}</b> is {word} <b>{escape(one.rival)}</b> by "
            f"{abs(one.difference.value):.3f} macro-F1 {signed(one)} on {escape(one.task)}, "
            f"{escape(one.way)} (p {p_value(one.adjusted_p)}).</li>"
        )
    if open_ones:
        more = "further " if said else ""
        said.append(
            f"<li>{count(open_ones)} {more}differences in macro-F1 may be chance (p of {LEVEL:g} or more "
            "among all of this page); they stand in the tables.</li>"
        )
    nothing = "<p>No pair of contenders is finished yet.</p>"
    verdicts = f'<ul class="verdicts">{"".join(said)}</ul>' if said else nothing
    return f"<section><h2>In short</h2>{verdicts}</section>"


def _card_section(card: Sequence[CardRow]) -> str:
    rows = []
    for row in card:
        paper, ours = row.published, row.entry
        rows.append(
            [
                escape(paper.task),
                f"{escape(paper.said)}<br><small>{escape(paper.protocol)}</small>",
                UNKNOWN if ours is None else interval(ours.metrics[paper.metric].record()),
                UNKNOWN
                if ours is None
                else escape(f"{ours.encoder}, {ours.way}, seeds {_listed(ours.seeds)}"),
                UNKNOWN if row.gap is None else f"{row.gap:+.3f}",
                "<br>".join(escape(note) for note in row.notes) or UNKNOWN,
            ]
        )
    head = ["Task", "The paper", "Here", "Made by", "Gap", "What differs, or what it needs"]
    return f"<section><h2>Reproduction card</h2>{table(head, rows, kind='numbers')}</section>"


def _made_section(findings: PlanFindings) -> str:
    plan = findings.plan
    rows = [
        [
            escape(one.name),
            escape(_network(one, findings.entries)),
            f"<code>{escape(one.weights)}</code>",
            escape(", ".join(one.settings)) or UNKNOWN,
            escape(one.licence or known_licence(one.encoder or "", one.weights)) or UNKNOWN,
            duration(_seconds(one.name, findings.entries)),
        ]
        for one in plan.encoders
    ]
    head = ["Contender", "Network", "Weights", "Settings of its own", "Licence", "Time of all its cells"]
    budget = [
        [escape(way.name), escape(", ".join((*plan.settings, *way.settings))) or "the method's defaults"]
        for way in plan.ways
    ]
    failed = "".join(
        f"<li>{escape(cell.name)}: {escape(reason)}</li>" for cell, reason in findings.state.failed.items()
    )
    failures = f'<h3>Failed cells</h3><ul class="missing">{failed}</ul>' if failed else ""
    return (
        f"<section><h2>What was done</h2>{table(head, rows, kind='done')}"
        f"<h3>The same for all</h3>{table(['Way', 'Settings'], budget, kind='done')}"
        f"<p>Seeds {_listed(plan.seeds)}.</p>{failures}</section>"
    )


def _network(one: PlanEncoder, entries: Sequence[Entry]) -> str:
    """The one named in the plan, else what its runs turned out to hold."""
    found = (result.get("encoder") for e in entries if e.encoder == one.name for result in e.results)
    return one.encoder or next((name for name in found if name), "vit")


def _seconds(encoder: str, entries: Sequence[Entry]) -> float:
    times = [result.get("seconds") for e in entries if e.encoder == encoder for result in e.results]
    return float(sum(time for time in times if isinstance(time, int | float)))


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
