"""benchmarks/comparison.py: whose test images stay out of which pool."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("comparison")


def task(**tests):
    splits = [SimpleNamespace(name=name, test=np.array(test)) for name, test in tests.items()]
    return SimpleNamespace(splits=splits)


BREAST = {"fold_1": [0, 1], "fold_2": [2, 3], "fold_3": [4]}


def test_splits_are_dealt_out_in_turn_and_an_only_split_stays_out_of_every_pool(study):
    tested, serves = study.grouped({"breast": task(**BREAST), "ovary": task(official=[7, 5])}, 2)
    assert serves == {
        "breast-fold_1": "group-0", "breast-fold_2": "group-1", "breast-fold_3": "group-0",
        "ovary-official": "group-0",
    }  # fmt: skip
    left_out = {pool: {name: images.tolist() for name, images in by.items()} for pool, by in tested.items()}
    assert left_out == {
        "group-0": {"breast": [0, 1, 4], "ovary": [5, 7]},
        "group-1": {"breast": [2, 3], "ovary": [5, 7]},
    }


def test_one_pool_goes_without_all_test_images(study):
    tested, serves = study.grouped({"breast": task(**BREAST)}, 1)
    assert set(serves.values()) == {"shared"} == set(tested)
    assert tested["shared"]["breast"].tolist() == [0, 1, 2, 3, 4]
