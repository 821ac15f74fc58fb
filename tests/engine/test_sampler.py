import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from usfmae.engine.sampler import batch_indices, steps_in


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
