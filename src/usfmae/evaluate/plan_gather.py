"""From the folder of a plan to all that its page shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from sklearn.manifold import TSNE

from usfmae.base.logs import progress_bar
from usfmae.evaluate.frozen import FEATURES_FILE
from usfmae.evaluate.metrics import predicted_classes
from usfmae.evaluate.plan import Cell
from usfmae.evaluate.plan_contamination import seen_sentences, seen_words
from usfmae.evaluate.plan_decisions import decisions_of
from usfmae.evaluate.plan_findings import FeatureMap, PlanFindings, Worst
from usfmae.evaluate.plan_run import PlanRun, state_of
from usfmae.evaluate.plan_scores import Entry, comparisons_of, entries_of
from usfmae.evaluate.predictions import PREDICTIONS_FILE, fold_ids, read_predictions
from usfmae.evaluate.report_plan_task import strongest
from usfmae.evaluate.reproduction import reproduction_card
from usfmae.evaluate.subgroups import Subgroups, score_subgroups

NUM_WORST = 12
MIN_POINTS = 10
"""Fewer test images are not laid out."""


def gather(run: PlanRun) -> PlanFindings:
    """Score, compare, calibrate and pick examples from what is finished.

    Raises:
        LeakError: something was chosen on an image that is tested.
        FolderError: contenders were not tested on the same images.
    """
    plan, out = run.plan, run.out
    entries = entries_of(plan, run.cells, out)
    shown = [
        entry
        for task in plan.tasks
        for entry in strongest([entry for entry in entries if entry.task == task.name])
    ]
    decided = {}
    with progress_bar("thresholds and temperatures", total=len(shown)) as bar:
        for entry in shown:
            bar.say(f"{entry.task}, {entry.encoder}, {entry.way}")
            key = (entry.task, entry.encoder, entry.way)
            decided[key] = decisions_of(entry, run.cells, out, plan.bootstrap)
            bar.advance()
    first = plan.encoders[0].name
    return PlanFindings(
        plan=plan,
        state=state_of(run),
        entries=tuple(entries),
        comparisons=tuple(comparisons_of(plan, entries)),
        decisions={key: found for key, found in decided.items() if found is not None},
        subgroups={
            (entry.task, entry.encoder, entry.way): divisions
            for entry in shown
            if (divisions := _subgroups(entry, run))
        },
        seen=seen_words(run.seen),
        card=tuple(reproduction_card(entries, first)),
        feature_maps=tuple(_feature_maps(run.cells, out, plan.seeds[0])),
        worst=tuple(one for entry in shown if entry.encoder == first for one in _worst(entry, run)),
        contaminated=(*_contaminated(entries), *seen_sentences(run.seen)),
    )


def _subgroups(entry: Entry, run: PlanRun) -> tuple[Subgroups, ...]:
    """An entry by everything that its set says of its images."""
    first = entry.per_seed[0]
    return tuple(
        score_subgroups(
            first.labels,
            [one.probabilities for one in entry.per_seed],
            first.group_ids,
            [of_image[path] for path in first.paths],
            column=column,
            config=run.plan.bootstrap,
            positive=entry.positive,
            folds=fold_ids(first),
            group_kind=str(entry.results[0].get("group_kind", "patient")),
        )
        for column, of_image in run.columns(entry.task).items()
    )


def _feature_maps(cells: Sequence[Cell], out: Path, seed: int) -> list[FeatureMap]:
    """The features of each encoder's first split that has some, laid out by t-SNE (van der Maaten and Hinton
    2008)."""
    held: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        if cell.seed == seed and (out / cell.folder / FEATURES_FILE).exists():
            held.setdefault((cell.task.name, cell.encoder.name), cell)
    maps = []
    with progress_bar("lay out features", total=len(held)) as bar:
        for cell in held.values():
            bar.say(f"{cell.task.name}, {cell.encoder.name}")
            with np.load(out / cell.folder / FEATURES_FILE) as file:
                features = file["features"].astype(np.float32)
            if len(features) >= MIN_POINTS:
                told = read_predictions(out / cell.folder / PREDICTIONS_FILE)
                names = cell.task.name, cell.encoder.name, cell.split
                maps.append(FeatureMap(*names, _layout(features), told.labels, told.classes))
            bar.advance()
    return maps


def _layout(features: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n 2"]:
    spread = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    perplexity = min(30.0, (len(features) - 1) / 3)
    points: Float32[np.ndarray, "n 2"] = TSNE(
        perplexity=perplexity, init="pca", random_state=0
    ).fit_transform(standard)
    return points


def _worst(entry: Entry, run: PlanRun) -> list[Worst]:
    """The test images that are told wrongly with the most confidence, averaged over seeds."""
    mean = entry.mean
    said = predicted_classes(mean.probabilities)
    sure = mean.probabilities.max(axis=1)
    wrong = np.flatnonzero(said != mean.labels)
    found = []
    for row in wrong[np.argsort(-sure[wrong], kind="stable")][:NUM_WORST].tolist():
        pixels = run.picture(entry.task, mean.paths[row])
        truth, told = mean.classes[mean.labels[row]], mean.classes[said[row]]
        found.append(Worst(entry.task, mean.paths[row], pixels, truth, told, float(sure[row])))
    return found


def _contaminated(entries: Sequence[Entry]) -> list[str]:
    said: dict[str, None] = {}
    for entry in entries:
        for result in entry.results:
            found: dict[str, Any] = result.get("contamination") or {}
            if found.get("test_images_in_pool"):
                said[
                    f"{entry.encoder} has seen {found['test_images_in_pool']} of {found['of']} test images "
                    f"of {entry.task}, split {result['split']['name']}, while it was pretrained: its numbers "
                    "there are no evidence"
                ] = None
            card = None if found.get("checked") else found.get("card")
            if card and card["task_trained_on"] and not card["task_held_out"]:
                said[
                    f"{entry.encoder} was trained on images of {entry.task}, says the card of its weights: "
                    "its numbers there are no evidence"
                ] = None
    return list(said)
