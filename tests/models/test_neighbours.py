import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.base.errors import WeightsError
from usfmae.models import neighbours
from usfmae.models.array_file import write_arrays
from usfmae.models.neighbours import FeatureBank, load_bank, nearest_images, save_bank

BANK = FeatureBank(
    features=np.array([[2, 0], [3, 4], [0, 1], [-1, 0], [0, 0]], dtype=np.float32),
    names=("a.png", "b.png", "c.png", "d.png", "schwarz.png"),
    groups=("p1", "p2", "p2", "p3", "p4"),
    labels=np.array([0, 1, 1, 0, 1]),
    classes=("gutartig", "bösartig"),
)
"""Cosines to (1, 0): 1, 0.6, 0, -1, and 0 for the row of zeros."""


def random_bank(number, width, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(number, width)).astype(np.float32)
    groups = tuple(f"p{one}" for one in rng.integers(0, number // 2, number))
    names = tuple(map(str, range(number)))
    return FeatureBank(features, names, groups, rng.integers(0, 2, number), ("x", "y"))


def test_by_hand():
    (found,) = nearest_images(BANK, np.array([[0.5, 0.0]]), k=3)
    assert [one.name for one in found] == ["a.png", "b.png", "c.png"]
    assert [one.label for one in found] == ["gutartig", "bösartig", "bösartig"]
    assert [one.similarity for one in found] == pytest.approx([1, 0.6, 0])
    assert [one.distance for one in found] == pytest.approx([0, np.sqrt(0.8), np.sqrt(2)])


def test_images_of_the_same_patient_are_left_out():
    cases = np.array([[1.0, 0.0], [1.0, 0.0]])
    found = nearest_images(BANK, cases, k=2, groups=["p1", "p2"])
    assert [[one.name for one in row] for row in found] == [["b.png", "c.png"], ["a.png", "schwarz.png"]]
    own = replace(BANK, groups=("p1",) * 5)
    assert nearest_images(own, cases[:1], groups=["p1"]) == [()]


def test_one_image_of_each_patient_is_the_nearest_of_the_patient():
    (found,) = nearest_images(BANK, np.array([[1.0, 0.0]]), k=9, one_per_group=True)
    assert [one.name for one in found] == ["a.png", "b.png", "schwarz.png", "d.png"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_the_nearest_are_those_that_sorting_all_distances_finds(seed, k):
    bank, cases = random_bank(30, 6, seed), np.random.default_rng(seed + 1).normal(size=(5, 6))
    unit = bank.features / np.linalg.norm(bank.features, axis=1, keepdims=True)
    for case, found in zip(cases, nearest_images(bank, cases, k=k), strict=True):
        distances = np.linalg.norm(unit - case / np.linalg.norm(case), axis=1)
        assert [int(one.name) for one in found] == np.argsort(distances)[:k].tolist()
        np.testing.assert_allclose([one.distance for one in found], np.sort(distances)[:k], atol=1e-3)


def test_cases_in_parts_find_the_same(monkeypatch):
    bank, cases = random_bank(20, 4, 0), np.random.default_rng(1).normal(size=(7, 4))
    groups = list(bank.groups[:7])
    whole = nearest_images(bank, cases, groups=groups)
    monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", 3)
    parts = nearest_images(bank, cases, groups=groups)
    assert [[one.name for one in row] for row in parts] == [[one.name for one in row] for row in whole]


def test_a_file_gives_back_the_same_bank_and_equal_banks_equal_files(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_bank(tmp_path / name, BANK)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = load_bank(tmp_path / "a.npz")
    assert (back.names, back.groups, back.classes) == (BANK.names, BANK.groups, BANK.classes)
    np.testing.assert_array_equal(back.features, BANK.features)
    np.testing.assert_array_equal(back.labels, BANK.labels)


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "bank.npz"
    with pytest.raises(WeightsError, match=r"bank\.npz: no such feature bank"):
        load_bank(path)
    save_bank(path, BANK)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(WeightsError, match="cannot be read as a feature bank"):
        load_bank(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot be read as a feature bank"):
        load_bank(path)
    write_arrays(path, {"a": np.zeros(2)}, kind="novelty detector")
    with pytest.raises(
        WeightsError, match=r"no feature bank of usfmae \(it says usfmae novelty detector 1\)"
    ):
        load_bank(path)
    write_arrays(path, {"features": BANK.features}, kind="feature bank")
    with pytest.raises(WeightsError, match="cannot be read as a feature bank"):
        load_bank(path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(path)
    with pytest.raises(WeightsError, match="cannot be read as a feature bank"):
        load_bank(path)


def test_what_would_be_pickled_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="names: neither numbers nor words"):
        write_arrays(tmp_path / "a.npz", {"names": np.array([None, "x"])}, kind="feature bank")
    with pytest.raises(ValueError, match=r"written as \.npz"):
        write_arrays(tmp_path / "a.npy", {}, kind="feature bank")


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="cases have 3 features, the bank has 2"):
        nearest_images(BANK, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="2 groups for 1 cases"):
        nearest_images(BANK, np.zeros((1, 2)), groups=["a", "b"])
    with pytest.raises(ValueError, match="a name, a group and a label"):
        replace(BANK, names=("a",))
    with pytest.raises(ValueError, match="at least one training image"):
        FeatureBank(np.zeros((0, 2), np.float32), (), (), np.zeros(0, np.int64), ())


def test_the_clinic_can_import_it_and_novelty_where_torch_is_not_installed():
    modules = "usfmae.models.neighbours, usfmae.models.novelty"
    code = f"import sys; sys.modules['torch'] = None; import {modules}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
