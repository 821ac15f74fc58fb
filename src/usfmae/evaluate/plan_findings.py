"""All that a comparison has found, for its page and its JSON."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.plan import Plan
from usfmae.evaluate.plan_contamination import words_of_encoder
from usfmae.evaluate.plan_decisions import Decisions
from usfmae.evaluate.plan_near_duplicates import without_near_duplicates
from usfmae.evaluate.plan_run import PlanState
from usfmae.evaluate.plan_scores import Comparison, Entry
from usfmae.evaluate.plan_settings import changing_settings, commits_of, settings_by_way
from usfmae.evaluate.plan_spread import Doubts, doubts_about, seed_spreads
from usfmae.evaluate.reproduction import CardRow
from usfmae.evaluate.subgroups import Subgroups


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Test images of one task as points, drawn so that neighbours stay neighbours."""

    task: str
    encoder: str
    split: str
    points: Float[np.ndarray, "n 2"]
    labels: Int[np.ndarray, " n"]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Worst:
    """A test image that is told wrongly with much confidence."""

    task: str
    name: str
    pixels: UInt8[np.ndarray, "s s"]
    truth: str
    said: str
    probability: float
    """Of what was said."""


@dataclass(frozen=True, eq=False)
class PlanFindings:
    """All that the page shows."""

    plan: Plan
    state: PlanState
    entries: tuple[Entry, ...]
    comparisons: tuple[Comparison, ...]
    decisions: dict[tuple[str, str, str], Decisions]
    """By task, encoder and way."""

    subgroups: dict[tuple[str, str, str], tuple[Subgroups, ...]]
    """Of the same; empty where a set says nothing of its images."""

    seen: dict[str, dict[str, str]]
    """What each encoder has seen of the test images of each task while it was pretrained, in words; see
    `plan_contamination.seen_words`."""

    card: tuple[CardRow, ...]
    feature_maps: tuple[FeatureMap, ...]
    worst: tuple[Worst, ...]
    contaminated: tuple[str, ...]
    """Sentences; there only if the plan allows it."""

    def pair(self, one: Comparison) -> tuple[Entry, Entry]:
        """The two entries that were compared, the first contender's first."""
        by_key = {(e.task, e.way, e.encoder): e for e in self.entries}
        return by_key[one.task, one.way, one.first], by_key[one.task, one.way, one.rival]

    def doubts(self, one: Comparison) -> Doubts:
        """What seeds and splits say of a difference."""
        return doubts_about(one, *self.pair(one))

    def family(self, metric: str) -> int:
        """How many comparisons of a metric are corrected together."""
        return sum(one.metric == metric and one.p is not None for one in self.comparisons)


def findings_record(findings: PlanFindings) -> dict[str, Any]:
    """The numbers of the page, for JSON."""
    return {
        "cells": {
            "done": len(findings.state.done),
            "failed": {cell.name: reason for cell, reason in findings.state.failed.items()},
            "not_there": [cell.name for cell in findings.state.elsewhere],
        },
        "seen_in_pretraining": {name: words_of_encoder(of) for name, of in findings.seen.items()},
        "seen_in_pretraining_by_task": findings.seen,
        "entries": [
            {
                "task": e.task,
                "encoder": e.encoder,
                "way": e.way,
                "seeds": list(e.seeds),
                "num_images": len(e.per_seed[0]),
                "num_patients": len(set(e.per_seed[0].groups)),
                "metrics": {name: e.metrics[name].record() for name in METRICS},
                "sd_over_seeds": seed_spreads(e),
                "over_folds": {name: mean.record() for name, mean in e.over_folds.items()},
                "without_near_duplicates": left.record() if (left := without_near_duplicates(e)) else None,
            }
            for e in findings.entries
        ],
        "comparisons": [
            {
                "task": c.task,
                "way": c.way,
                "first": c.first,
                "rival": c.rival,
                "metric": c.metric,
                "difference": c.difference.record(),
                "p": c.p,
                "p_holm": c.adjusted_p,
                "num_corrected_together": findings.family(c.metric),
                "over_seeds": findings.doubts(c).record(),
                "tests": c.other_tests,
            }
            for c in findings.comparisons
        ],
        "subgroups": [
            {"task": task, "encoder": encoder, "way": way, "by": [one.record() for one in divisions]}
            for (task, encoder, way), divisions in findings.subgroups.items()
        ],
        "reproduction": [row.record(findings.plan) for row in findings.card],
        "settings": [one.record() for one in settings_by_way(findings.plan, findings.entries)],
        "settings_that_change": changing_settings(findings.plan, findings.entries),
        "commits": commits_of(findings.entries),
        "contaminated": list(findings.contaminated),
    }
