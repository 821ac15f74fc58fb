"""Pages for people: one self-contained HTML file that asks no server for anything.

Made for light, dark and paper; no scripts. Every stage that shows something writes it through here, so all
pages look alike.
"""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from usfmae.base.files import write_text

UNKNOWN = "–"


def write_page(path: Path, *, title: str, summary: str, body: str, foot: str) -> None:
    """Write a page, the same bytes for the same content.

    Args:
        path: the file.
        title: its heading, as text.
        summary: one line below the heading, as HTML.
        body: sections, as HTML.
        foot: the fine print, as HTML.

    Raises:
        FolderError: the file cannot be written.
    """
    template = Template(files("usfmae.base").joinpath("page.html").read_text(encoding="utf-8"))
    write_text(path, template.substitute(title=escape(title), summary=summary, body=body, foot=foot))


def number(value: Any, digits: int = 3) -> str:
    """A number with fixed digits, or a dash."""
    return f"{value:.{digits}f}" if isinstance(value, int | float) else UNKNOWN


def count(value: Any) -> str:
    """A whole number with thousands separated, or a dash."""
    return f"{value:,}" if isinstance(value, int) else UNKNOWN


def duration(seconds: Any) -> str:
    """Seconds as people say them: 48 s, 6 min 10 s, 2 h 5 min."""
    if not isinstance(seconds, int | float):
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
    """An HTML table; the cells are HTML already, the first of each row is its heading."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    head_row, rest = f"<thead><tr>{top}</tr></thead>", f"<tbody>{body}</tbody>"
    return f'<div class="scroll"><table class="{kind}">{head_row}{rest}</table></div>'


def sentences(problems: Sequence[str]) -> str:
    """What is missing, as a list; nothing if nothing is."""
    if not problems:
        return ""
    return f'<ul class="missing">{"".join(f"<li>{escape(problem)}</li>" for problem in problems)}</ul>'
