import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from usfmae.evaluate.feature_rank import effective_rank

matrices = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-10, 10, width=32)
)


def rotation(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def test_identical_rows_use_one_direction():
    assert effective_rank(np.tile([3.0, -1.0, 2.0], (50, 1))) == pytest.approx(1)


def test_orthonormal_rows_use_as_many_directions_as_there_are():
    assert effective_rank(rotation(7, seed=0)[:4]) == pytest.approx(4)


def test_rank_by_hand():
    # Singular values 3 and 1: shares 3/4 and 1/4, entropy 0.5623, exp = 1.7548.
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(1.7548, abs=1e-4)


def test_an_encoder_that_gives_one_vector_and_a_little_noise_has_collapsed():
    rng = np.random.default_rng(0)
    assert effective_rank((5 + 1e-6 * rng.normal(size=(200, 16))).astype(np.float32)) < 1.01


@settings(deadline=None, max_examples=50)
@given(matrices, st.floats(0.01, 100))
def test_scale_does_not_matter(features, scale):
    assert effective_rank(scale * features) == pytest.approx(effective_rank(features), rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(matrices, st.integers(0, 9))
def test_neither_do_rotation_and_order_of_images(features, seed):
    turned = features[::-1] @ rotation(features.shape[1], seed)
    assert effective_rank(turned) == pytest.approx(effective_rank(features), rel=1e-5)


@settings(deadline=None, max_examples=50)
@given(matrices)
def test_it_lies_between_one_and_the_smaller_side(features):
    assert 1 - 1e-9 <= effective_rank(features) <= min(features.shape) + 1e-9


def test_zeros_count_as_one_direction_and_bad_features_are_refused():
    assert effective_rank(np.zeros((3, 2))) == 1
    with pytest.raises(ValueError, match="no rank"):
        effective_rank(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="not finite"):
        effective_rank(np.array([[1.0, np.nan]]))
