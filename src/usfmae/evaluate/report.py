"""`report.html`: one self-contained page about runs and results; it asks no server for anything."""

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from usfmae.base.page import UNKNOWN, duration, number, table, write_page
from usfmae.evaluate.report_compare import comparison_section
from usfmae.evaluate.report_folders import ResultFolder, RunFolder, read_result, read_run
from usfmae.evaluate.report_result import result_section
from usfmae.evaluate.report_run import run_section

REPORT_FILE = "report.html"
FOOT = """Numbers in square brackets are 95 % bootstrap intervals: whole patients (or groups) are drawn with
replacement, since two images of one person are not two observations. Bands of ROC curves hold at each
point. Nothing on this page was loaded from elsewhere."""


def write_report(out: Path, *, title: str, runs: Sequence[Path] = (), results: Sequence[Path] = ()) -> Path:
    """Write a page for people from the folders of runs and results.

    What a folder lacks is said on the page; only a folder that is not there at all is an error. The page
    holds everything it shows (pictures as data, charts as SVG, no scripts), is made for light, dark and
    paper, and is the same bytes for the same folders.

    Args:
        out: the file to write, `report.html`; or a folder to write it in.
        title: its heading.
        runs: folders of `usfmae pretrain`.
        results: folders of `usfmae evaluate`; those on one task are compared, pairs that differ only in
            their start on the same draws of patients.

    Returns:
        The file.

    Raises:
        FolderError: a folder is not there, or `out` cannot be written.
    """
    path = out if out.suffix == ".html" else out / REPORT_FILE
    read_runs = [read_run(run) for run in runs]
    read_results = [read_result(result) for result in results]
    parts = [comparison_section(read_results)] if results or not runs else []
    parts += [run_section(run) for run in read_runs]
    parts += [result_section(result) for result in read_results]
    done = what_was_done([*read_runs, *read_results])
    parts.append(f"\n<section><h2>What was done</h2>\n{done}\n</section>\n")
    write_page(path, title=title, summary=_summary(read_runs, read_results), body="".join(parts), foot=FOOT)
    return path


def write_run_page(run: Path) -> Path:
    """Write `report.html` into a run's folder, finished or not; see `write_report`."""
    return write_report(run / REPORT_FILE, title=f"Pretraining: {run.name}", runs=[run])


def _summary(runs: Sequence[RunFolder], results: Sequence[ResultFolder]) -> str:
    said = []
    images = [(run.record.get("corpus") or {}).get("num_images") for run in runs]
    if known := [num for num in images if isinstance(num, int)]:
        said.append(f"{_counted(len(runs), 'pretraining run')} on {max(known):,} images")
    elif runs:
        said.append(_counted(len(runs), "pretraining run"))
    if results:
        tasks = {str(result.record["task"]) for result in results if "task" in result.record}
        said.append(f"{_counted(len(results), 'evaluation')} on {', '.join(sorted(tasks)) or 'nothing yet'}")
    folders: list[RunFolder | ResultFolder] = [*runs, *results]
    times = [folder.record.get("seconds") for folder in folders]
    if spent := [time for time in times if isinstance(time, int | float)]:
        said.append(f"{duration(sum(spent))} of computing")
    return escape(" · ".join(said) or "No run and no result was given.")


def _counted(num: int, what: str) -> str:
    return f"{num} {what}" if num == 1 else f"{num} {what}s"


def what_was_done(folders: Sequence[RunFolder | ResultFolder]) -> str:
    """Commands, versions, hashes, time and memory: enough to do it again."""
    if not folders:
        return "<p>Nothing.</p>"
    rows = []
    versions: dict[str, str] = {}
    for folder in folders:
        made: dict[str, Any] = folder.record.get("made_by") or {}
        versions |= {str(name): str(version) for name, version in (made.get("libraries") or {}).items()}
        versions |= {name: str(made[name]) for name in ("usfmae", "python", "machine") if name in made}
        command = made.get("command") or []
        inputs = ", ".join(f"{name} {str(value)[:12]}" for name, value in (made.get("inputs") or {}).items())
        rows.append(
            [
                escape(folder.path.name),
                escape(str(made.get("stage", UNKNOWN))),
                f"<code>{escape(shlex.join(map(str, command)) or UNKNOWN)}</code>",
                f"<code>{escape(str(made.get('commit') or UNKNOWN))}</code>",
                f"<code>{escape(inputs or UNKNOWN)}</code>",
                duration(folder.record.get("seconds")),
                f"{number(folder.record.get('peak_memory_gb'), 2)} GB",
                escape(str(made.get("at", UNKNOWN))),
            ]
        )
    head = ["Folder", "Stage", "Command", "Commit", "Inputs", "Time", "Peak memory", "When (UTC)"]
    said = ", ".join(f"{escape(name)} {escape(version)}" for name, version in sorted(versions.items()))
    return table(head, rows, kind="done") + f"<p>{said or 'No versions were recorded.'}</p>"
