"""All that a comparison has found, for its page and its JSON."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.plan import Plan
from usfmae.evaluate.plan_contamination import words_of_encoder
from usfmae.evaluate.plan_decisions import Decisions
from usfmae.evaluate.plan_run import PlanState
from usfmae.evaluate.plan_scores import Comparison, Entry
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
                "over_folds": {name: mean.record() for name, mean in e.over_folds.items()},
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
                "tests": c.other_tests,
            }
            for c in findings.comparisons
        ],
        "subgroups": [
            {"task": task, "encoder": encoder, "way": way, "by": [one.record() for one in divisions]}
            for (task, encoder, way), divisions in findings.subgroups.items()
        ],
        "reproduction": [row.record() for row in findings.card],
        "contaminated": list(findings.contaminated),
    }
