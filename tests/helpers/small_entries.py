"""Entries and findings of a comparison, made by hand and in no time."""

from copy import deepcopy

import numpy as np

from usfmae.evaluate.folds_and_seeds import mean_over_runs
from usfmae.evaluate.over_seeds import score_over_seeds
from usfmae.evaluate.plan import Plan, PlanEncoder, PlanTask, PlanWay
from usfmae.evaluate.plan_findings import PlanFindings
from usfmae.evaluate.plan_run import PlanState
from usfmae.evaluate.plan_scores import TESTED, Comparison, Entry
from usfmae.evaluate.predictions import Predictions
from usfmae.evaluate.reproduction import reproduction_card
from usfmae.evaluate.statistics import BootstrapConfig, Interval

BOOTSTRAP = BootstrapConfig(num_resamples=100)
LABELS = (0, 1, 0, 1, 0, 1, 0, 1)
FOLDS = ("a", "a", "a", "a", "b", "b", "b", "b")
RIGHT = (0.1, 0.9, 0.2, 0.8, 0.1, 0.9, 0.2, 0.8)
"""Of the second class; all eight images are told."""


def with_errors(num):
    """Probabilities with the last so many images told wrongly."""
    return (*RIGHT[: 8 - num], *(1 - p for p in RIGHT[8 - num :]))


def entry(*per_seed, encoder="ours", way="knn", task="bus-bra", is_few=False, num_learnt=20, **result):
    """One contender; each of `per_seed` is the probability of the second class for eight images, four in
    each of two splits. Further entries go into `result.json` of every cell."""
    tables = [
        Predictions(
            ("benign", "malignant"),
            tuple(f"{number}.png" for number in range(8)),
            tuple(f"p{number}" for number in range(8)),
            FOLDS,
            np.array(LABELS),
            np.stack([1 - np.array(p), np.array(p)], axis=1),
        )
        for p in per_seed
    ]
    seeds = tuple(range(len(tables)))
    made = Entry(
        task=task,
        encoder=encoder,
        way=way,
        method=way.split(" ")[0],
        is_few=is_few,
        num_learnt=num_learnt,
        seeds=seeds,
        per_seed=tuple(tables),
        metrics=score_over_seeds(
            tables[0].labels,
            [one.probabilities for one in tables],
            tables[0].group_ids,
            config=BOOTSTRAP,
            positive=1,
        ),
        over_folds={},
        folds=("a", "b"),
        positive=1,
        results=tuple(cell(seed, fold, **{"task": task, **result}) for seed in seeds for fold in "ab"),
    )
    for metric in TESTED:
        made.over_folds[metric] = mean_over_runs(made.fold_scores(metric), test_to_train_ratio=0.25)
    return made


def cell(seed, fold, *, settings=None, commit="c1", network="vit", **result):
    """What `result.json` says of one cell."""
    plain = {
        "task": {"folds": [fold], "size_px": 256},
        "network": {"image_px": 128},
        "encoder": "vit",
        "image_px": None,
        "seed": seed,
        "threads": 1,
        "optim": {"lr_per_256": 0.0016},
    }
    return {
        "made_by": {"settings": plain | deepcopy(settings or {}), "commit": commit},
        "encoder": network,
        "init": "scratch",
        "seed": seed,
        "split": {"name": fold, "sha256": fold * 64, "num_train": 16, "num_test": 4},
        "num_images": 4,
        **result,
    }


def difference(*, value=0.2, low=0.1, high=0.4, metric="macro_f1", way="knn", p=0.01, splits=None):
    """Of `ours` less `theirs`; `splits` are bounds of Nadeau and Bengio's interval."""
    tests = {} if splits is None else {"corrected_t": {"difference": {"low": splits[0], "high": splits[1]}}}
    return Comparison("bus-bra", way, "ours", "theirs", metric, Interval(value, low, high), p, p, tests)


def plan(**changes):
    """Two contenders on BUS-BRA."""
    given = {
        "tasks": (PlanTask(name="bus-bra"),),
        "encoders": (PlanEncoder(name="ours"), PlanEncoder(name="theirs")),
        "ways": (PlanWay(method="knn"), PlanWay(method="knn", label_ratio=0.1)),
        "bootstrap": BOOTSTRAP,
    }
    return Plan(**(given | changes))


def findings(entries, comparisons=(), **changes):
    """All that a page needs."""
    given = {
        "plan": plan(),
        "state": PlanState(),
        "entries": tuple(entries),
        "comparisons": tuple(comparisons),
        "decisions": {},
        "subgroups": {},
        "seen": {},
        "card": tuple(reproduction_card(entries, "ours")),
        "feature_maps": (),
        "worst": (),
        "contaminated": (),
    }
    return PlanFindings(**(given | changes))
