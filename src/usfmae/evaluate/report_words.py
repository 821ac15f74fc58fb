"""How a report writes numbers, names and tables."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

METRIC_NAMES = {
    "macro_f1": "Macro-F1",
    "auroc": "AUROC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "average_precision": "Average precision",
    "knn_macro_f1": "kNN macro-F1",
    "knn_auroc": "kNN AUROC",
    "val_macro_f1": "Validation macro-F1",
    "val_auroc": "Validation AUROC",
}
METHOD_NAMES = {"finetune": "Fine-tuned", "linear-probe": "Linear probe", "knn": "Nearest neighbours"}
UNKNOWN = "–"


def metric_name(name: str) -> str:
    """A metric's name for people."""
    return METRIC_NAMES.get(name, name.replace("_", " "))


def number(value: Any, digits: int = 3) -> str:
    """A number with fixed digits, or a dash."""
    return f"{value:.{digits}f}" if isinstance(value, int | float) else UNKNOWN


def count(value: Any) -> str:
    """A whole number with thousands separated, or a dash."""
    return f"{value:,}" if isinstance(value, int) else UNKNOWN


def interval(metric: dict[str, Any] | None) -> str:
    """`value [low, high]` as HTML; says why something is not there."""
    if not metric:
        return UNKNOWN
    why = metric.get("why")
    shown = f"<b>{number(metric.get('value'))}</b>"
    if metric.get("low") is not None and metric.get("high") is not None:
        return f"{shown} <small>[{number(metric['low'])}, {number(metric['high'])}]</small>"
    return f"{shown} <small>{escape(str(why or 'no interval'))}</small>"


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


def is_number(value: Any) -> bool:
    """Whether a cell of JSON can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
    """An HTML table; the cells are HTML already, the first of each row is its heading."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    head_row, rest = f"<thead><tr>{top}</tr></thead>", f"<tbody>{body}</tbody>"
    return f'<div class="scroll"><table class="{kind}">{head_row}{rest}</table></div>'


def picture(pixels: UInt8[np.ndarray, "height width"], *, said: str) -> str:
    """A grey image inside the page, as PNG."""
    done, code = cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 9))
    assert done
    data = b64encode(code.tobytes()).decode()
    height, width = pixels.shape
    return f'<img src="data:image/png;base64,{data}" alt="{escape(said)}" width="{width}" height="{height}">'


def sentences(problems: Sequence[str]) -> str:
    """What is missing, as a list; nothing if nothing is."""
    if not problems:
        return ""
    return f'<ul class="missing">{"".join(f"<li>{escape(problem)}</li>" for problem in problems)}</ul>'
