import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usfmae.engine.sampler import Weights, batch_indices, drawn, shuffled, steps_in


@given(num_images=st.integers(1, 60), global_batch=st.integers(1, 50), seed=st.integers(0, 5))
def test_every_image_is_seen_equally_often(num_images, global_batch, seed):
    epochs = 3
    steps = -(-epochs * num_images // global_batch)
    seen = np.concatenate(
        [batch_indices(s, num_images=num_images, global_batch=global_batch, seed=seed) for s in range(steps)]
    )
    counts = np.bincount(seen[: epochs * num_images], minlength=num_images)
    assert (counts == epochs).all()


def test_a_batch_depends_on_seed_and_step_alone():
    first = batch_indices(7, num_images=100, global_batch=16, seed=0)
    batch_indices(0, num_images=100, global_batch=16, seed=0)
    assert np.array_equal(batch_indices(7, num_images=100, global_batch=16, seed=0), first)
    assert not np.array_equal(batch_indices(7, num_images=100, global_batch=16, seed=1), first)
    assert not np.array_equal(batch_indices(8, num_images=100, global_batch=16, seed=0), first)


def test_two_epochs_are_shuffled_differently():
    one = batch_indices(0, num_images=50, global_batch=50, seed=0)
    two = batch_indices(1, num_images=50, global_batch=50, seed=0)
    assert sorted(one) == sorted(two)
    assert not np.array_equal(one, two)


def test_steps_by_hand():
    # 10 images in batches of 4, 3 epochs: 30 images are 7.5 batches, so 8 steps.
    assert steps_in(3, num_images=10, global_batch=4) == 8
    assert steps_in(0.1, num_images=10, global_batch=4) == 1


@given(num_images=st.integers(1, 60), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_equal_weights_change_nothing(num_images, seed, epoch):
    even = shuffled(epoch, num_images, seed, Weights(np.full(num_images, 0.3)))
    assert np.array_equal(even, shuffled(epoch, num_images, seed))


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=40).filter(lambda w: sum(w) > 1e-3), st.integers(0, 99)
)
def test_an_image_comes_as_often_as_its_weight_says_rounded_up_or_down(values, epoch):
    weights = Weights(np.array(values))
    images = drawn(epoch, 0, weights)
    share = len(values) * weights.values / weights.values.sum()
    counts = np.bincount(images, minlength=len(values))
    assert len(images) == len(values)
    assert (counts >= np.floor(share - 1e-9)).all()
    assert (counts <= np.ceil(share + 1e-9)).all()


def test_over_many_epochs_the_mean_is_the_weight():
    # Weights 1, 2, 3, 6 of 12 and 4 draws: 1/3, 2/3, 1 and 2 times an epoch.
    weights = Weights(np.array([1.0, 2.0, 3.0, 6.0]))
    counts = sum(np.bincount(drawn(epoch, 0, weights), minlength=4) for epoch in range(3000)) / 3000
    assert counts == pytest.approx([1 / 3, 2 / 3, 1, 2], abs=0.03)


def test_weights_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least 0"):
        Weights(np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="not all 0"):
        Weights(np.zeros(3))
    with pytest.raises(ValueError, match="2 weights for 3 images"):
        batch_indices(0, num_images=3, global_batch=2, seed=0, weights=Weights(np.ones(2)))
