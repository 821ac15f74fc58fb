import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.evaluate import knn
from usfmae.evaluate.knn import knn_probabilities


def rows(values):
    return np.array(values, dtype=np.float32)


def test_votes_by_hand():
    # Cosines to the query (1, 0): 1 for the first, 0.6 for the second, 0 for the third (not among the two).
    # With temperature 0.4 the votes are e^2.5 and e^1.5: shares 1/(1 + e^-1) = 0.731 and 0.269.
    bank = rows([[5.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    shares = knn_probabilities(
        bank, np.array([1, 0, 0]), rows([[0.1, 0.0]]), num_classes=3, k=2, temperature=0.4
    )
    np.testing.assert_allclose(shares, [[0.2689, 0.7311, 0.0]], atol=1e-4)


def test_a_training_image_finds_itself():
    rng = np.random.default_rng(0)
    bank, labels = rng.normal(size=(40, 8)).astype(np.float32), rng.integers(0, 3, 40)
    shares = knn_probabilities(bank, labels, bank, num_classes=3, k=1)
    np.testing.assert_array_equal(shares.argmax(axis=1), labels)
    np.testing.assert_allclose(shares.max(axis=1), 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.integers(1, 60))
def test_only_directions_count_and_shares_sum_to_one(seed, scale, k):
    rng = np.random.default_rng(seed)
    bank, labels = rng.normal(size=(25, 6)).astype(np.float32), rng.integers(0, 4, 25)
    queries = rng.normal(size=(7, 6)).astype(np.float32)
    shares = knn_probabilities(bank, labels, queries, num_classes=4, k=k)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    scaled = knn_probabilities(
        np.float32(scale) * bank, labels, queries / np.float32(scale), num_classes=4, k=k
    )
    np.testing.assert_allclose(scaled, shares, atol=1e-3)


def test_the_order_of_the_bank_does_not_matter():
    rng = np.random.default_rng(1)
    bank, labels = rng.normal(size=(50, 6)).astype(np.float32), rng.integers(0, 2, 50)
    queries, order = rng.normal(size=(9, 6)).astype(np.float32), rng.permutation(50)
    np.testing.assert_allclose(
        knn_probabilities(bank[order], labels[order], queries, num_classes=2, k=7),
        knn_probabilities(bank, labels, queries, num_classes=2, k=7),
        rtol=1e-5,
    )


def test_queries_in_parts_get_the_same_votes(monkeypatch):
    rng = np.random.default_rng(2)
    bank, labels = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 2, 30)
    queries = rng.normal(size=(11, 4)).astype(np.float32)
    whole = knn_probabilities(bank, labels, queries, num_classes=2)
    monkeypatch.setattr(knn, "QUERIES_AT_ONCE", 3)
    np.testing.assert_allclose(knn_probabilities(bank, labels, queries, num_classes=2), whole, rtol=1e-5)


def test_features_of_zero_are_no_division_by_zero():
    shares = knn_probabilities(
        np.zeros((3, 2), np.float32), np.array([0, 0, 1]), np.zeros((1, 2), np.float32), num_classes=2, k=3
    )
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3]])


def test_an_empty_bank_is_refused():
    with pytest.raises(ValueError, match="at least one training image"):
        knn_probabilities(
            np.zeros((0, 2), np.float32), np.zeros(0, int), np.ones((1, 2), np.float32), num_classes=2
        )
