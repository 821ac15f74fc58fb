"""The reproduction card: what the paper says, what came out here, and how the two differ in making.

Published numbers: Megahed et al., "USF-MAE", arXiv 2510.22990, Biomed. Signal Process. Control 122, 110313
(2026), and follow-ups of the same group. How F1 was averaged, which splits were used and how the networks
were fine-tuned was not published, so a gap says little about either side until it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from usfmae.datasets.catalogue import licence_words
from usfmae.datasets.registry import get_card
from usfmae.evaluate.plan_scores import STRENGTH, Entry


@dataclass(frozen=True)
class Published:
    """One number of the paper."""

    task: str
    metric: str
    """Ours that it is set beside."""

    value: float
    said: str
    """As the paper says it."""

    protocol: str
    """What is known of how it was made."""


PUBLISHED = (
    Published("bus-bra", "macro_f1", 0.816, "F1 81.6 %", "splits and averaging not published"),
    Published("mmotu-2d", "macro_f1", 0.796, "F1 79.6 %", "splits and averaging not published"),
    Published("gist514-db", "macro_f1", 0.824, "F1 82.4 %", "splits and averaging not published"),
    Published("feft", "macro_f1", 0.9071, "F1 90.71 %", "follow-up; learning rate 1e-4, weight decay 0.01"),
    Published("cactus", "accuracy", 0.9933, "accuracy 99.33 %", "follow-up; five folds, by image"),
)


@dataclass(frozen=True)
class CardRow:
    """One line of the card."""

    published: Published
    entry: Entry | None
    """Ours; None where it was not run."""

    gap: float | None
    """Ours less the paper's."""

    notes: tuple[str, ...]
    """What makes the two differ, or what it takes to run."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        ours = self.entry.metrics[self.published.metric].record() if self.entry else None
        return {
            "task": self.published.task,
            "metric": self.published.metric,
            "paper": self.published.value,
            "paper_protocol": self.published.protocol,
            "ours": ours,
            "encoder": self.entry.encoder if self.entry else None,
            "way": self.entry.way if self.entry else None,
            "seeds": list(self.entry.seeds) if self.entry else [],
            "split_sha256": _split_hashes(self.entry) if self.entry else [],
            "gap": self.gap,
            "notes": list(self.notes),
        }


def reproduction_card(entries: Sequence[Entry], encoder: str) -> list[CardRow]:
    """The paper's numbers beside those of one encoder, fine-tuned with all labels.

    Args:
        entries: of a plan.
        encoder: the contender whose claim is examined.
    """
    rows = []
    for published in PUBLISHED:
        mine = [
            entry
            for entry in entries
            if (entry.task, entry.encoder) == (published.task, encoder) and not entry.is_few
        ]
        best = sorted(mine, key=lambda entry: STRENGTH.index(entry.method))
        if not best:
            rows.append(CardRow(published, None, None, (_not_run(published.task),)))
            continue
        value = best[0].metrics[published.metric].value
        gap = None if value is None else value - published.value
        notes = dict.fromkeys(str(note) for result in best[0].results for note in result.get("notes") or [])
        rows.append(CardRow(published, best[0], gap, tuple(notes)))
    return rows


def _not_run(task: str) -> str:
    card = get_card(task)
    access = card.access
    needs = f", {access.needs}" if access.needs else ""
    return f"not run: data needs {card.title} ({access.level}{needs}; {licence_words(card)}; {access.page})"


def _split_hashes(entry: Entry) -> list[str]:
    return sorted({str(result["split"]["sha256"])[:12] for result in entry.results})
