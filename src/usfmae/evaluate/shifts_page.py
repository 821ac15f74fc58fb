"""`shifts.html`: a curve per contender over the amounts of each shift, and what an amount looks like."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from usfmae.base.files import write_bytes
from usfmae.base.page import UNKNOWN, count, duration, number, table, write_page
from usfmae.evaluate.report_charts import Line, Number, line_chart
from usfmae.evaluate.report_words import interval, is_number, metric_name
from usfmae.evaluate.shift_scores import SHOWN_METRICS
from usfmae.images.picture_tag import picture as picture_tag
from usfmae.images.shifts import SHIFTS

PAGE_FILE = "shifts.html"
FOOT = """Numbers are means over seeds. Those in square brackets are bootstrap intervals: whole patients (or
groups) are drawn with replacement, and a difference is taken on the same draws. Bands are those intervals,
amount by amount. Nothing was trained on shifted pictures for this page, and nothing on it was loaded from
elsewhere."""

READING = """Where macro-F1 falls and AUROC does not, the order of the pictures holds but the threshold no
longer fits: it would have to be chosen anew on pictures of that kind. Where both fall, what tells the classes
apart is lost to the classifier."""

GAP_PX = 6
"""White between the pictures of a strip."""


def write_shifts_page(out: Path, record: dict[str, Any], picture: UInt8[np.ndarray, "s s"]) -> Path:
    """Write `shifts.html`, and `examples_<shift>.png` with the example under each amount, side by side.

    Args:
        out: the folder of `shifts.json`.
        record: its content.
        picture: a prepared test image, on which amounts are shown.

    Returns:
        The page.
    """
    spans = {name: _span(record, name) for name in SHOWN_METRICS}
    parts = [f"<section><h2>In short</h2>{_verdicts(record)}<p>{READING}</p>{_notes(record)}</section>\n"]
    for shift in record["shifts"]:
        images = [SHIFTS[shift["name"]].apply(picture[None], amount)[0] for amount in shift["amounts"]]
        write_bytes(out / f"examples_{shift['name']}.png", _strip(images))
        parts.append(_section(record, shift, images, spans))
    parts.append(f"<section><h2>What was tested</h2>\n{_contenders(record)}\n{_made(record)}</section>\n")
    names = ", ".join(SHIFTS[shift["name"]].title.lower() for shift in record["shifts"])
    num = len(record["contenders"])
    write_page(
        out / PAGE_FILE,
        title=f"{record['task']}: when the pictures shift",
        summary=escape(
            f"{num} contender{'s' if num > 1 else ''} · {names} · {duration(record['seconds'])} of computing"
        ),
        body="".join(parts),
        foot=FOOT,
    )
    return out / PAGE_FILE


def _verdicts(record: dict[str, Any]) -> str:
    """For each contender where it loses most, and what it bears."""
    said = []
    for one in record["contenders"]:
        known = [row for row in one["rows"] if is_number(row["difference"]["macro_f1"]["value"])]
        plain = [row for row in known if row["amount"] == SHIFTS[row["shift"]].neutral]
        moved = [row for row in known if row["amount"] != SHIFTS[row["shift"]].neutral]
        if not plain or not moved:
            said.append(f"<li><b>{escape(one['name'])}</b>: macro-F1 is not defined here.</li>")
            continue
        worst = min(moved, key=lambda row: row["difference"]["macro_f1"]["value"])
        clear = [row for row in moved if (row["difference"]["macro_f1"]["high"] or 0.0) < 0]
        losses = f"{len(clear)} of {len(moved)} amounts have a difference whose interval lies below 0"
        change = _change(worst["difference"]["macro_f1"])
        before, lowest = (interval(row["metrics"]["macro_f1"]) for row in (plain[0], worst))
        said.append(
            f"<li><b>{escape(one['name'])}</b>: macro-F1 {before} as it is. Lowest with "
            f"{_amount_words(worst)}: {lowest}, a difference of {change}. {losses}."
            f"{_standing(one, record['contenders'][0]['name'])}</li>"
        )
    return f'<ul class="verdicts">{"".join(said)}</ul>'


def _standing(one: dict[str, Any], first: str) -> str:
    """Under how many amounts it is clearly ahead of the first contender, and behind. The pictures as they
    are stand in every shift's table and are not counted."""
    moved = [row for row in one["rows"] if row["amount"] != SHIFTS[row["shift"]].neutral]
    ahead = [row["ahead"]["macro_f1"] for row in moved if row["ahead"]]
    known = [metric for metric in ahead if is_number(metric["low"]) and is_number(metric["high"])]
    if not known:
        return ""
    above, below = sum(metric["low"] > 0 for metric in known), sum(metric["high"] < 0 for metric in known)
    return (
        f" Against <b>{escape(first)}</b> under the same amount: clearly ahead in {above} of {len(known)}, "
        f"clearly behind in {below}."
    )


def _section(
    record: dict[str, Any],
    shift: dict[str, Any],
    images: Sequence[UInt8[np.ndarray, "s s"]],
    spans: dict[str, tuple[Number, Number]],
) -> str:
    known = SHIFTS[shift["name"]]
    figures = "".join(
        f"<figure>{picture_tag(image, said=f'{known.title} {known.words(amount)}')}<figcaption>"
        f"<b>{escape(known.words(amount))}</b>{' as it is' if amount == known.neutral else ''}"
        "</figcaption></figure>"
        for image, amount in zip(images, shift["amounts"], strict=True)
    )
    charts = "".join(_chart(record, shift, name, spans[name]) for name in SHOWN_METRICS)
    return (
        f"<section><h2>{known.title}</h2><p>{escape(shift['means'])} The dashed upright line marks the "
        f'pictures as they are.</p><div class="shifted">{figures}</div>'
        f'<div class="charts">{charts}</div>{_numbers(record, shift)}</section>\n'
    )


def _chart(record: dict[str, Any], shift: dict[str, Any], metric: str, span: tuple[Number, Number]) -> str:
    known = SHIFTS[shift["name"]]
    lines = []
    for one in record["contenders"]:
        rows = [row for row in _rows(one, shift) if is_number(row["metrics"][metric]["value"])]
        if not rows:
            continue
        low, high = ([row["metrics"][metric][end] for row in rows] for end in ("low", "high"))
        has_band = all(map(is_number, [*low, *high]))
        lines.append(
            Line(
                one["name"],
                [row["amount"] for row in rows],
                [row["metrics"][metric]["value"] for row in rows],
                low if has_band else None,
                high if has_band else None,
                dots=True,
            )
        )
    if not lines:
        return f"<p>{metric_name(metric)} is not defined on these test images.</p>"
    return line_chart(
        lines,
        title=f"{metric_name(metric)} over {known.title.lower()}",
        x_label=f"{known.title} ({known.unit})" if known.unit else f"{known.title} (ratio of the side)",
        y_label=metric_name(metric),
        x_range=(shift["amounts"][0], shift["amounts"][-1]),
        y_range=span,
        mark_x=known.neutral,
    )


def _numbers(record: dict[str, Any], shift: dict[str, Any]) -> str:
    """A row per amount and contender, so that contenders stand below each other."""
    known, several = SHIFTS[shift["name"]], len(record["contenders"]) > 1
    against = any(row["ahead"] for one in record["contenders"] for row in one["rows"])
    body = [
        [
            f'<span class="whole">{escape(known.words(row["amount"]))}</span>',
            *([escape(one["name"])] if several else []),
            *(
                cell
                for name in SHOWN_METRICS
                for cell in (
                    interval(row["metrics"][name]),
                    "as it is" if row["amount"] == known.neutral else _change(row["difference"][name]),
                    *([_change(row["ahead"][name]) if row["ahead"] else ""] if against else []),
                )
            ),
            f"{100 * row['changed_ratio']:.0f} %",
        ]
        for rows in zip(*(_rows(one, shift) for one in record["contenders"]), strict=True)
        for one, row in zip(record["contenders"], rows, strict=True)
    ]
    head = ["Amount", *(["Contender"] if several else [])]
    ahead = [f"Ahead of {escape(record['contenders'][0]['name'])}"] if against else []
    head += [cell for name in SHOWN_METRICS for cell in (metric_name(name), "Difference", *ahead)]
    return f"<h3>The numbers</h3>{table([*head, 'Called otherwise'], body, kind='numbers')}"


def _rows(one: dict[str, Any], shift: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in one["rows"] if row["shift"] == shift["name"]]


def _span(record: dict[str, Any], metric: str) -> tuple[Number, Number]:
    """One axis for all charts of a metric, so that shifts can be compared by eye."""
    found = [
        float(row["metrics"][metric][end])
        for one in record["contenders"]
        for row in one["rows"]
        for end in ("low", "value", "high")
        if is_number(row["metrics"][metric][end])
    ]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    air = 0.05 * (high - low) or 0.05
    return max(0.0, low - air), min(1.0, high + air)


def _amount_words(row: dict[str, Any]) -> str:
    known = SHIFTS[row["shift"]]
    return escape(f"{known.title.lower()} {known.words(row['amount'])}")


def _change(metric: dict[str, Any]) -> str:
    """A difference with its interval, signed."""
    if not is_number(metric["value"]):
        return UNKNOWN
    shown = f"<b>{_signed(metric['value'])}</b>"
    if is_number(metric["low"]) and is_number(metric["high"]):
        return f"{shown} <small>[{_signed(metric['low'])}, {_signed(metric['high'])}]</small>"
    return f"{shown} <small>{escape(str(metric.get('why') or 'no interval'))}</small>"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _notes(record: dict[str, Any]) -> str:
    return f"<h3>Notes</h3><ul>{''.join(f'<li>{escape(note)}</li>' for note in record['notes'])}</ul>"


def _contenders(record: dict[str, Any]) -> str:
    body = [
        [
            escape(one["name"]),
            escape(f"{one.get('encoder') or UNKNOWN}, {one.get('init') or UNKNOWN}"),
            escape(", ".join(map(str, one["seeds"]))),
            f"<code>{escape(', '.join(one['results']))}</code>",
            escape(", ".join(one["splits"])),
            f"{count(one['num_images'])} of {count(one['num_patients'])} {escape(record['group_kind'])}s",
            f"{one['largest_difference']:.1e}" if one["largest_difference"] else "0",
        ]
        for one in record["contenders"]
    ]
    head = ["Contender", "Encoder, start", "Seeds", "Results", "Splits", "Test images"]
    return table([*head, "Largest difference of a probability from the result's"], body)


def _made(record: dict[str, Any]) -> str:
    """By what, without the command, which may name folders of this machine."""
    made = record["made_by"]
    draws = made["settings"]["bootstrap"]
    versions = {**(made.get("libraries") or {}), "usfmae": made["usfmae"], "python": made["python"]}
    said = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return (
        f"<p>{number(100 * draws['level'], 0)} % intervals, {draws['num_resamples']:,} draws of "
        f"{escape(record['group_kind'])}s ({escape(draws['method'])}). Commit "
        f"<code>{escape(str(made.get('commit') or UNKNOWN))}</code>, {escape(str(made.get('at', UNKNOWN)))}, "
        f"{escape(said)}.</p>"
    )


def _strip(images: Sequence[UInt8[np.ndarray, "s s"]]) -> bytes:
    """Pictures side by side as PNG."""
    gap = np.full((len(images[0]), GAP_PX), 255, dtype=np.uint8)
    parts = [part for image in images for part in (image, gap)][:-1]
    done, code = cv2.imencode(".png", np.hstack(parts), (cv2.IMWRITE_PNG_COMPRESSION, 9))
    assert done
    return bytes(code.tobytes())
