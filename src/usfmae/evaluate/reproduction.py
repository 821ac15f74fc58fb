"""The reproduction card: what the paper says, what came out here, and how the two differ in making.

Published numbers: Megahed et al., "USF-MAE", arXiv 2510.22990, Biomed. Signal Process. Control 122, 110313
(2026), and follow-ups of the same group. How F1 was averaged, which splits were used and how the networks
were fine-tuned was not published, so a gap says little about either side until it is. Each of our numbers
comes with its protocol and with hashes of plan, splits and predictions, so that it can be found again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from usfmae.base.errors import SettingError
from usfmae.datasets.catalogue import licence_words
from usfmae.datasets.registry import get_card
from usfmae.evaluate.plan import Plan
from usfmae.evaluate.plan_scores import STRENGTH, Entry
from usfmae.evaluate.plan_settings import image_sides
from usfmae.evaluate.predictions import predictions_sha256

SEGMENT = "segment"


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

    is_segmentation: bool = False
    """Made by `usfmae evaluate segment`, which no plan runs."""


_MAP = "journal version; decoder, splits and kind of mAP not published, most likely COCO's of instance masks"

PUBLISHED = (
    Published("bus-bra", "macro_f1", 0.816, "F1 81.6 %", "splits and averaging not published"),
    Published("mmotu-2d", "macro_f1", 0.796, "F1 79.6 %", "splits and averaging not published"),
    Published("gist514-db", "macro_f1", 0.824, "F1 82.4 %", "splits and averaging not published"),
    Published("feft", "macro_f1", 0.9071, "F1 90.71 %", "follow-up; learning rate 1e-4, weight decay 0.01"),
    Published("cactus", "accuracy", 0.9933, "accuracy 99.33 %", "follow-up; five folds, by image"),
    Published("mmotu-2d", "map", 0.510, "segmentation mAP 51.0", _MAP, is_segmentation=True),
    Published("mmotu-2d", "map50", 0.779, "segmentation mAP@50 77.9", _MAP, is_segmentation=True),
)


@dataclass(frozen=True)
class CardRow:
    """One line of the card."""

    published: Published
    entry: Entry | None
    """Ours; None where it was not run, and for segmentation."""

    gap: float | None
    """Ours less the paper's."""

    notes: tuple[str, ...]
    """What makes the two differ, or what it takes to run."""

    segment: dict[str, Any] | None = None
    """`result.json` of a segmentation; None where there is none, and for all other rows."""

    @property
    def ours(self) -> dict[str, Any] | None:
        """Our number with its interval, as a record."""
        if self.segment is not None:
            found: dict[str, Any] | None = self.segment["metrics"].get(self.published.metric)
            return found
        return None if self.entry is None else self.entry.metrics[self.published.metric].record()

    def record(self, plan: Plan) -> dict[str, Any]:
        """For JSON.

        Args:
            plan: of which the entry is.
        """
        return {
            "task": self.published.task,
            "metric": self.published.metric,
            "paper": self.published.value,
            "paper_protocol": self.published.protocol,
            "ours": self.ours,
            "encoder": self.entry.encoder if self.entry else None,
            "way": self.entry.way if self.entry else SEGMENT if self.segment else None,
            "seeds": list(self.entry.seeds) if self.entry else [self.segment["seed"]] if self.segment else [],
            "protocol": self.protocol(plan),
            "split_sha256": self.split_hashes,
            "predictions_sha256": self.prediction_hashes,
            "plan_sha256": plan_sha256(plan) if self.entry else None,
            "gap": self.gap,
            "notes": list(self.notes),
        }

    @property
    def split_hashes(self) -> list[str]:
        """Of each split: which images are learnt from and which are tested."""
        results = self.entry.results if self.entry else [self.segment] if self.segment else []
        return sorted({str(result["split"]["sha256"])[:12] for result in results})

    @property
    def prediction_hashes(self) -> dict[str, str]:
        """SHA-256 of each cell's `predictions.csv`, by its split and seed."""
        if self.entry is None:
            return {}
        found = {}
        for seed, table in zip(self.entry.seeds, self.entry.per_seed, strict=True):
            for fold in self.entry.folds:
                mine = table.rows([row for row, name in enumerate(table.folds) if name == fold])
                found[f"{fold}, seed {seed}"] = predictions_sha256(mine)
        return found

    def protocol(self, plan: Plan) -> dict[str, Any]:
        """How ours was made: splits, groups, labels, epochs, batch, image side, seeds, weights and code."""
        results = self.entry.results if self.entry else [self.segment] if self.segment else []
        if not results:
            return {}
        settings = [result["made_by"]["settings"] for result in results]
        sides = [str(one["image_px"] or "that of its weights") for one in settings]
        return {
            "splits": list(dict.fromkeys(str(result["split"]["name"]) for result in results)),
            "groups": str(results[0].get("group_kind", "patient")),
            "num_train": list(dict.fromkeys(result["split"]["num_train"] for result in results)),
            "num_test": list(dict.fromkeys(result["split"]["num_test"] for result in results)),
            "epochs": list(dict.fromkeys(result.get("epochs") for result in results)),
            "batch": list(dict.fromkeys(one.get("batch") for one in settings)),
            "image_px": image_sides(plan, self.entry) if self.entry else list(dict.fromkeys(sides)),
            "seeds": list(dict.fromkeys(result["seed"] for result in results)),
            "weights_sha256": list(dict.fromkeys(result.get("weights_sha256") for result in results)),
            "commits": list(dict.fromkeys(result["made_by"].get("commit") for result in results)),
        }


def reproduction_card(entries: Sequence[Entry], encoder: str) -> list[CardRow]:
    """The paper's numbers beside those of one encoder, fine-tuned with all labels.

    Args:
        entries: of a plan.
        encoder: the contender whose claim is examined.
    """
    rows = []
    for published in PUBLISHED:
        if published.is_segmentation:
            rows.append(CardRow(published, None, None, ("not run in this plan: usfmae evaluate segment",)))
            continue
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
        method = best[0].method
        other = (
            () if method == "finetune" else (f"the paper's network was fine-tuned, ours was not: {method}",)
        )
        rows.append(CardRow(published, best[0], gap, (*other, *_notes(best[0].results))))
    return rows


def with_segmentations(card: Sequence[CardRow], results: Sequence[dict[str, Any]]) -> list[CardRow]:
    """The card with our segmentations beside the paper's.

    Args:
        card: from `reproduction_card`.
        results: `result.json` of segmentations.

    Raises:
        SettingError: one is of another command, of a set without a published number, or the second of a set.
    """
    by_task: dict[str, dict[str, Any]] = {}
    for result in results:
        task = str(result.get("task"))
        if result.get("method") != SEGMENT:
            raise SettingError(
                f"{task}: made by {result.get('method')}, no result of usfmae evaluate segment"
            )
        if task in by_task:
            raise SettingError(f"{task}: two segmentations were given", hint="the card has room for one")
        by_task[task] = result
    known = {row.published.task for row in card if row.published.is_segmentation}
    if alone := sorted(set(by_task) - known):
        raise SettingError(f"{alone[0]}: the paper has no segmentation of it", hint=f"of {', '.join(known)}")
    rows = []
    for row in card:
        found = by_task.get(row.published.task) if row.published.is_segmentation else None
        if found is not None:
            value = (found["metrics"].get(row.published.metric) or {}).get("value")
            gap = None if value is None else value - row.published.value
            row = replace(row, segment=found, gap=gap, notes=_notes([found]))
        rows.append(row)
    return rows


def plan_sha256(plan: Plan) -> str:
    """Of the plan's every setting, whatever file it was read from."""
    return hashlib.sha256(plan.model_dump_json().encode()).hexdigest()


def _notes(results: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(note) for result in results for note in result.get("notes") or []))


def _not_run(task: str) -> str:
    card = get_card(task)
    access = card.access
    needs = f", {access.needs}" if access.needs else ""
    return f"not run: data needs {card.title} ({access.level}{needs}; {licence_words(card)}; {access.page})"
