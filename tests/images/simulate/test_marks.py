"""Burned-in marks."""

import numpy as np

from usfmae.base.seeds import rng_for
from usfmae.images.simulate.device import DEVICES
from usfmae.images.simulate.marks import draw_marks
from usfmae.images.simulate.scan import image_grid

SHAPE = image_grid(DEVICES[0]).inside.shape
PLAIN = np.full(SHAPE, 60, np.uint8)


def lesion(half_px: int) -> np.ndarray:
    rows, columns = np.indices(SHAPE)
    return (np.abs(rows - 100) <= half_px) & (np.abs(columns - 120) <= half_px)


def test_only_calipers_know_the_lesion():
    for seed in range(30):
        pictures = [
            draw_marks(PLAIN, mask, device=DEVICES[0], rng=rng_for(seed, "marks"))
            for mask in (lesion(4), lesion(40), np.zeros(SHAPE, bool))
        ]
        elsewhere = np.ones(SHAPE, bool)
        elsewhere[55:146, 75:166] = False  # the largest lesion and its crosses
        for other in pictures[1:]:
            np.testing.assert_array_equal(pictures[0][elsewhere], other[elsewhere])


def test_calipers_sit_on_the_ends_of_the_lesion():
    found = 0
    for seed in range(30):
        marked = draw_marks(PLAIN, lesion(20), device=DEVICES[0], rng=rng_for(seed, "marks"))
        without = draw_marks(PLAIN, np.zeros(SHAPE, bool), device=DEVICES[0], rng=rng_for(seed, "marks"))
        rows, columns = np.nonzero(marked != without)
        if rows.size:
            found += 1
            assert columns.min() == 100 - 3
            assert columns.max() == 140 + 3
    assert 5 < found < 25


def test_the_picture_given_is_left_as_it_was():
    draw_marks(PLAIN, lesion(20), device=DEVICES[0], rng=rng_for(0, "marks"))
    assert (PLAIN == 60).all()
