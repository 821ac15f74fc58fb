"""The page of a comparison: who is ahead on which task, by how much, and whether that is chance."""

from html import escape
from pathlib import Path

from usfmae.base.logs import progress_bar
from usfmae.base.page import count, write_page
from usfmae.evaluate.plan_findings import PlanFindings
from usfmae.evaluate.plan_scores import TESTED, Comparison
from usfmae.evaluate.plan_spread import leaves_out_0
from usfmae.evaluate.report_plan_card import card_section
from usfmae.evaluate.report_plan_numbers import p_value, signed
from usfmae.evaluate.report_plan_settings import made_section
from usfmae.evaluate.report_plan_task import task_section
from usfmae.evaluate.report_words import metric_name

FOOT = """Numbers in square brackets are 95 % bootstrap intervals over patients and seeds: whole patients (or
groups) are drawn with replacement, and so are seeds. AUROC compares images of one split only, since each
split has a network of its own. Differences are paired on the same draws. sd over seeds: standard deviation of
the number of all test images together; with few labels each seed draws others. p-values are corrected over
all comparisons of the same metric on this page (Holm), each metric on its own. Nothing here was loaded from
elsewhere."""

LEVEL = 0.05
"""Of the corrected p below which a difference is said on top of the page."""

ON_TOP = "macro_f1"
"""The metric whose differences are said there."""


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
    parts += [card_section(findings.card, findings.plan), made_section(findings)]
    done, failed = len(findings.state.done), len(findings.state.failed)
    waiting = len(findings.state.elsewhere)
    summary = f"{count(done)} cells done, {count(failed)} failed, {count(waiting)} not yet there"
    write_page(path, title=title, summary=summary, body="".join(parts), foot=FOOT)


def _overview(findings: PlanFindings) -> str:
    said = [f'<li class="bad">{escape(words)}</li>' for words in findings.contaminated]
    open_ones = 0
    one_draw: dict[str, int] = {}
    for one in findings.comparisons:
        if one.metric != ON_TOP or one.difference.low is None or one.difference.value is None:
            continue
        if findings.doubts(one).is_one_draw:
            one_draw[one.way] = one_draw.get(one.way, 0) + 1
        elif one.adjusted_p is None or one.adjusted_p >= LEVEL or not _is_sure(one):
            open_ones += 1
        else:
            said.append(_verdict(one, findings))
    family, name = count(findings.family(ON_TOP)), metric_name(ON_TOP)
    if open_ones:
        more = f"{'further ' if said else ''}difference{'s' if open_ones != 1 else ''}"
        said.append(
            f"<li>{count(open_ones)} {more} in {name} may be chance (p of {LEVEL:g} or more, corrected over "
            f"the {family} of this page, or an interval that holds 0), as the tables show.</li>"
        )
    if num_drawn := sum(one_draw.values()):
        rest = "difference in {} rests" if num_drawn == 1 else "differences in {} rest"
        said.append(
            f"<li>{count(num_drawn)} {rest.format(name)} on one seed and few labels "
            f"({escape(', '.join(one_draw))}). One draw of labels is one draw: nobody is called ahead there, "
            "whatever p is.</li>"
        )
    nothing = "<p>No pair of contenders is finished yet.</p>"
    verdicts = f'<ul class="verdicts">{"".join(said)}</ul>' if said else nothing
    return f"<section><h2>In short</h2>{verdicts}{_families(findings)}</section>"


def _is_sure(one: Comparison) -> bool:
    """Whether the interval leaves out 0; p alone knows of patients and not of seeds."""
    return leaves_out_0(one.difference.low, one.difference.high) is True


def _verdict(one: Comparison, findings: PlanFindings) -> str:
    """Who is ahead, and what speaks against it."""
    value = one.difference.value or 0.0
    word = "ahead of" if value >= 0 else "behind"
    doubts = "; ".join(findings.doubts(one).words)
    but = f" But: {escape(doubts)}." if doubts else ""
    return (
        f"<li><b>{escape(one.first)}</b> is {word} <b>{escape(one.rival)}</b> by {abs(value):.3f} "
        f"{metric_name(one.metric)} {signed(one)} on {escape(one.task)}, {escape(one.way)} "
        f"(p {p_value(one.adjusted_p)}).{but}</li>"
    )


def _families(findings: PlanFindings) -> str:
    """Over what p-values are corrected."""
    others = [name for name in TESTED if name != ON_TOP and findings.family(name)]
    if not findings.family(ON_TOP) or not others:
        return ""
    more = " and ".join(f"{count(findings.family(name))} in {metric_name(name)}" for name in others)
    return (
        f"<p>p is Holm's, over the {count(findings.family(ON_TOP))} comparisons in "
        f"{metric_name(ON_TOP)} of this page. The {more} are a family of their own: their p-values stand in "
        "the tables and are not corrected for these, nor these for them.</p>"
    )
