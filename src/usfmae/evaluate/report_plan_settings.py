"""What was done in a comparison: contenders, their settings in each way, code and failures."""

from collections.abc import Sequence
from html import escape
from typing import Any

from usfmae.base.page import UNKNOWN, count, duration, sentences, table
from usfmae.evaluate.plan import PlanEncoder
from usfmae.evaluate.plan_contamination import words_of_encoder
from usfmae.evaluate.plan_findings import PlanFindings
from usfmae.evaluate.plan_scores import Entry
from usfmae.evaluate.plan_settings import WaySettings, changing_settings, commits_of, settings_by_way
from usfmae.models.licences import known_licence


def made_section(findings: PlanFindings) -> str:
    """HTML of the section."""
    plan = findings.plan
    rows = [
        [
            escape(one.name),
            escape(_network(one, findings.entries)),
            _weights(one),
            escape(", ".join(one.settings)) or UNKNOWN,
            escape(one.licence or known_licence(one.encoder or "", one.weights)) or UNKNOWN,
            escape(words_of_encoder(findings.seen[one.name])) if one.name in findings.seen else UNKNOWN,
            duration(_seconds(one.name, findings.entries)),
        ]
        for one in plan.encoders
    ]
    head = ["Contender", "Network", "Weights", "Settings of its own", "Licence"]
    head += ["Test images seen in pretraining", "Time of all its cells"]
    failed = "".join(
        f"<li>{escape(cell.name)}: {escape(reason)}</li>" for cell, reason in findings.state.failed.items()
    )
    failures = f'<h3>Failed cells</h3><ul class="missing">{failed}</ul>' if failed else ""
    return (
        f"<section><h2>What was done</h2>{table(head, rows, kind='done')}{_settings(findings)}"
        f"<p>Seeds {', '.join(map(str, plan.seeds))}. {_code(findings.entries)}</p>{failures}</section>"
    )


def _settings(findings: PlanFindings) -> str:
    plan = findings.plan
    found = settings_by_way(plan, findings.entries)
    told = [("for all", plan.settings)]
    told += [(f"{task.name} only", task.settings) for task in plan.tasks]
    told += [(f"{way.name} only", way.settings) for way in plan.ways]
    said = "; ".join(f"{where}: {', '.join(settings)}" for where, settings in told if settings)
    asked = f"The plan itself sets {escape(said)}." if said else "The plan itself sets none for all."
    differing = [one for one in found if one.differing]
    apart = "".join(_differing(one) for one in differing)
    if found and not differing:
        apart = "<p>Contenders differ in none.</p>"
    alike = "".join(f"<p><b>{_where(one)}</b>, the same for all: {_listed(one)}.</p>" for one in found)
    return (
        "<h3>Settings</h3><p>As the cells record them, the method's defaults for each network and start "
        f"included. {asked}</p>{sentences(changing_settings(plan, findings.entries))}{apart}{alike}"
    )


def _differing(one: WaySettings) -> str:
    rows = [
        [f"<code>{escape(name)}</code>", *(escape(values[who]) or UNKNOWN for who in one.contenders)]
        for name, values in one.differing.items()
    ]
    head = [_where(one), *map(escape, one.contenders)]
    return table(head, rows, kind="settings")


def _where(one: WaySettings) -> str:
    return escape(f"{one.way} on {', '.join(one.tasks)}")


def _listed(one: WaySettings) -> str:
    return ", ".join(f"<code>{escape(name)}</code> {escape(words)}" for name, words in one.same.items())


def _weights(one: PlanEncoder) -> str:
    shape = f"<br>shaped like <code>{escape(one.like)}</code>" if one.like else ""
    return f"<code>{escape(one.weights)}</code>{shape}"


def _code(entries: Sequence[Entry]) -> str:
    by_commit = commits_of(entries)
    if not by_commit:
        return ""
    said = ", ".join(f"{escape(commit)} ({count(num)} cells)" for commit, num in by_commit.items())
    return f"Code: {said}."


def _network(one: PlanEncoder, entries: Sequence[Entry]) -> str:
    """The one named in the plan, else what its runs turned out to hold."""
    found = (result.get("encoder") for e in entries if e.encoder == one.name for result in e.results)
    return one.encoder or next((name for name in found if name), "vit")


def _seconds(encoder: str, entries: Sequence[Entry]) -> float:
    times: list[Any] = [
        result.get("seconds") for e in entries if e.encoder == encoder for result in e.results
    ]
    return float(sum(time for time in times if isinstance(time, int | float)))
