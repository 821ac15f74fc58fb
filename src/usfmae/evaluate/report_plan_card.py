"""The reproduction card on a comparison's page."""

import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from usfmae.base.page import UNKNOWN, table
from usfmae.evaluate.plan import Plan
from usfmae.evaluate.report_words import interval
from usfmae.evaluate.reproduction import CardRow, plan_sha256

NUM_DIGITS = 12
"""Of a hash that are shown; comparison.json has them whole."""


def card_section(card: Sequence[CardRow], plan: Plan) -> str:
    """HTML of the section."""
    rows = [
        [
            escape(row.published.task),
            f"{escape(row.published.said)}<br>{escape(row.published.protocol)}",
            interval(row.ours),
            _made_by(row, plan),
            UNKNOWN if row.gap is None else f"{row.gap:+.3f}".replace("-", "\u2212"),
            "<br>".join(escape(note) for note in row.notes) or UNKNOWN,
        ]
        for row in card
    ]
    head = ["Task", "The paper", "Here", "How ours was made", "Gap", "What differs, or what it needs"]
    return (
        f"<section><h2>Reproduction card</h2>{table(head, rows, kind='card')}"
        "<p>A gap is our number less the paper's, with other splits, groups and training unless these are "
        "known to be the same. Hashes are SHA-256: of the weights, of the plan's settings, of which images "
        "each split learns from and tests, and of all <code>predictions.csv</code>, whose own hashes are in "
        "<code>comparison.json</code>.</p></section>"
    )


def _made_by(row: CardRow, plan: Plan) -> str:
    protocol = row.protocol(plan)
    if not protocol:
        return UNKNOWN
    who = f"{row.entry.encoder}, {row.entry.way}" if row.entry else "usfmae evaluate segment"
    said = [
        escape(who),
        f"splits {_listed(protocol['splits'])}, parted by {escape(protocol['groups'])}",
        f"learnt from {_listed(protocol['num_train'])} images, tested on {_listed(protocol['num_test'])}",
    ]
    if (epochs := [one for one in protocol["epochs"] if one is not None]) and protocol["batch"]:
        said.append(f"{_listed(epochs)} epochs, batch {_listed(protocol['batch'])}")
    else:
        said.append("the encoder as it is, nothing trained through it")
    said += [
        f"image side {_listed([_with_unit(side) for side in protocol['image_px']])}",
        f"seeds {_listed(protocol['seeds'])}, code {_listed(protocol['commits'])}",
        *(
            f"{name} <code>{escape(short)}</code>"
            for name, short in (
                ("weights", ", ".join((sha or "scratch")[:NUM_DIGITS] for sha in protocol["weights_sha256"])),
                ("plan", plan_sha256(plan)[:NUM_DIGITS] if row.entry else ""),
                ("splits", ", ".join(row.split_hashes)),
                ("predictions", _together(row.prediction_hashes)),
            )
            if short
        ),
    ]
    return "<br>".join(said)


def _together(hashes: Mapping[str, str]) -> str:
    """One hash of many: of their lines `name hash`, in order."""
    lines = "".join(f"{name} {found}\n" for name, found in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:NUM_DIGITS] if hashes else ""


def _with_unit(side: str) -> str:
    return f"{side} px" if side.isdigit() else side


def _listed(values: Sequence[Any]) -> str:
    return escape(", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values))
