"""The part of a report about a run that went on with another pool: what was gained and what was lost."""

from html import escape
from pathlib import Path
from typing import Any

from usfmae.base.page import UNKNOWN, number, table
from usfmae.evaluate.report_folders import RunFolder
from usfmae.evaluate.report_words import interval, is_number, metric_name

POOLS = ("new", "old")


def adaptation_section(run: RunFolder) -> str:
    """A sentence and a table from `adaptation` of run.json; nothing where the run names no old pool."""
    replay = run.record.get("replay")
    if not replay:
        return ""
    title = "<h3>Gained and lost</h3>"
    found = run.record.get("adaptation")
    if not found:
        ended = run.record.get("status") == "finished"
        said = (
            "Not known: the losses before or after are missing." if ended else "Measured when the run ends."
        )
        return f"{title}<p>{said}</p>"
    pools = {name: found.get(name) or {} for name in POOLS}
    rows = [
        [f"Reconstruction loss, {name} pool ({_name(part)})", *_cells(part), interval(part.get("change"))]
        for name, part in pools.items()
    ]
    rows += [
        [
            f"{escape(metric_name(str(line.get('metric'))))} on {escape(str(line.get('task')))}",
            *_cells(line),
            _difference(line),
        ]
        for line in found.get("watched") or []
    ]
    return (
        f"{title}<p>{_sentence(pools, replay)}</p>"
        f'<div class="scroll">{table(["", "before", "after", "change"], rows)}</div>'
        f"<p>{_basis(pools, held_out=bool(found.get('held_out')))}</p>"
    )


def _sentence(pools: dict[str, dict[str, Any]], replay: dict[str, Any]) -> str:
    share = replay.get("images_per_batch")
    shown = f"with {share} of its images in every batch" if share else "which was not shown again"
    return (
        f"The loss over hidden patches {_verdict(pools['new'])} on the new pool and "
        f"{_verdict(pools['old'])} on the old one, {shown}."
    )


def _verdict(part: dict[str, Any]) -> str:
    """What happened to a loss, as far as its interval tells; lower is better."""
    change = part.get("change") or {}
    value, low, high = (change.get(name) for name in ("value", "low", "high"))
    if not is_number(value):
        return "is not known"
    if not (is_number(low) and is_number(high)):
        return f"changed by {value:+.3f} (no interval)"
    if high < 0:
        return f"fell by <b>{number(-value)}</b> (better)"
    if low > 0:
        return f"rose by <b>{number(value)}</b> (worse)"
    return f"did not change measurably ({value:+.3f})"


def _cells(part: dict[str, Any]) -> list[str]:
    return [interval(part.get("before")), interval(part.get("after"))]


def _difference(line: dict[str, Any]) -> str:
    before, after = ((line.get(when) or {}).get("value") for when in ("before", "after"))
    return f"{after - before:+.3f}" if is_number(before) and is_number(after) else UNKNOWN


def _basis(pools: dict[str, dict[str, Any]], *, held_out: bool) -> str:
    counts = " and ".join(
        f"{part.get('num_images', UNKNOWN)} images of {part.get('num_groups', UNKNOWN)} groups ({name})"
        for name, part in pools.items()
    )
    seen = (
        "Those of the new pool were held out of training; the old pool was trained on before."
        if held_out
        else "The network trains on them, or has trained on them: on images never seen, expect less of a "
        "gain (replay.hold_out_ratio keeps some out)."
    )
    return (
        f"Loss: {counts}, whole, with the same patches hidden before and after; lower is better. {seen} "
        "Intervals (95 %) are over groups (patient, clip or file), those of the change paired by image. "
        "Labelled sets are scored on their validation images; for that change there is no interval."
    )


def _name(part: dict[str, Any]) -> str:
    folder = part.get("folder")
    return escape(Path(str(folder)).name) if folder else UNKNOWN
