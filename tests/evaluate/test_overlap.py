import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt

from usfmae.evaluate.overlap import mean_overlap, overlap, overlaps, surface_px
from usfmae.evaluate.statistics import BootstrapConfig

QUICK = BootstrapConfig(num_resamples=200)


def square(top, left, height, width, *, size=(20, 20)):
    mask = np.zeros(size, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def blobs(seed, size=(24, 31)):
    """A random mask with a smooth edge, holes and several parts."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=size)
    for _ in range(3):
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, -1, 0)) / 4
    return noise > 0.1 * noise.std()


def test_a_square_moved_by_two_pixels_by_hand():
    # 4 x 4 at column 3 and at column 5: 8 px in common of 16 + 16, so Dice 16/32 and IoU 8/24. The farthest
    # surface pixels are the outer columns, 2 px away: 4 of 12 surface pixels, far more than 5 %.
    found = overlap(square(2, 3, 4, 4), square(2, 5, 4, 4))
    assert (found.dice, found.iou, found.hd95) == (0.5, pytest.approx(1 / 3), 2.0)


def test_the_distance_is_in_millimetres_where_the_pitch_is():
    # 2 px across at .5 mm; the pitch down does not matter. Downwards it is the other way round.
    assert overlap(square(2, 3, 4, 4), square(2, 5, 4, 4), spacing=(9.0, 0.5)).hd95 == 1.0
    assert overlap(square(3, 2, 4, 4), square(5, 2, 4, 4), spacing=(0.25, 9.0)).hd95 == 0.5


def test_one_stray_pixel_in_a_hundred_does_not_count():
    # The square has 36 surface pixels. One predicted pixel far off is 1 of 37 (2.7 %): below the 95th
    # percentile. Three of 39 are 7.7 %: above.
    truth = square(2, 2, 10, 10, size=(40, 40))
    stray = truth.copy()
    stray[35, 35] = True
    assert overlap(truth, stray).hd95 == 0.0
    stray[35, 30] = stray[30, 35] = True
    assert overlap(truth, stray).hd95 > 25


def test_the_larger_direction_counts():
    # The truth is a part of the prediction: from truth to prediction 0 for most, back up to 10.
    truth, predicted = square(5, 2, 1, 5), square(5, 2, 1, 15)
    there = np.percentile(np.zeros(5), 95)
    back = np.percentile([0] * 5 + list(range(1, 11)), 95)
    assert overlap(truth, predicted).hd95 == pytest.approx(max(there, back)) == 9.3
    assert overlap(predicted, truth).hd95 == pytest.approx(9.3)


def test_the_surface_is_what_has_a_neighbour_outside():
    assert len(surface_px(square(2, 2, 4, 4))) == 12
    assert len(surface_px(np.ones((5, 6), dtype=bool))) == 18  # beyond the picture is outside


def test_a_structure_in_neither_map_says_nothing():
    nothing = np.zeros((6, 8), dtype=bool)
    found = overlap(nothing, nothing)
    assert np.isnan([found.dice, found.iou, found.hd95]).all()


@pytest.mark.parametrize("truth_is_empty", [True, False])
def test_a_structure_in_one_map_only_is_as_wrong_as_can_be(truth_is_empty):
    nothing, something = np.zeros((4, 5), dtype=bool), square(1, 1, 2, 2, size=(4, 5))
    pair = (nothing, something) if truth_is_empty else (something, nothing)
    found = overlap(*pair, spacing=(1.0, 1.0))
    assert (found.dice, found.iou, found.hd95) == (0.0, 0.0, 5.0)  # 3 down, 4 across: the diagonal is 5


def test_a_pitch_of_zero_is_refused():
    with pytest.raises(ValueError, match="spacing must be positive"):
        overlap(square(1, 1, 2, 2), square(1, 1, 2, 2), spacing=(0.0, 1.0))


@pytest.mark.parametrize("seed", range(8))
def test_distances_are_those_of_scipys_distance_transform(seed):
    truth, predicted, spacing = blobs(seed), blobs(seed + 100), (0.7, 1.3)

    def directed(one, other):
        edge = other & ~binary_erosion(other)
        far = distance_transform_edt(~edge, sampling=spacing)
        return np.percentile(far[one & ~binary_erosion(one)], 95)

    wanted = max(directed(truth, predicted), directed(predicted, truth))
    assert overlap(truth, predicted, spacing=spacing).hd95 == pytest.approx(wanted, abs=1e-9)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_laws_of_overlap(one, other):
    truth, predicted = blobs(one), blobs(other)
    found, back = overlap(truth, predicted), overlap(predicted, truth)
    assert found == back
    assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))
    mirrored = overlap(truth[:, ::-1], predicted[:, ::-1])
    assert (mirrored.dice, mirrored.iou) == (found.dice, found.iou)
    assert mirrored.hd95 == pytest.approx(found.hd95)
    perfect = overlap(truth, truth)
    assert (perfect.dice, perfect.iou, perfect.hd95) == (1.0, 1.0, 0.0)


def test_structures_are_scored_one_by_one():
    truth = np.zeros((8, 8), dtype=np.uint8)
    truth[1:3, 1:3], truth[5:7, 5:7] = 1, 2
    predicted = np.where(truth == 1, 1, 0).astype(np.uint8)
    found = overlaps(truth, predicted, num_structures=3)
    np.testing.assert_array_equal(found[:, 0], [1.0, 0.0, np.nan])
    assert found[1, 2] == pytest.approx(7 * np.sqrt(2))


def test_the_mean_is_over_images_first_and_structures_then():
    # Structure 1: images of Dice 1, 0, .5 (mean .5). Structure 2: one image, Dice .9. Together .7; the mean
    # over all four numbers would be .6.
    values = np.array([[1.0, np.nan], [0.0, np.nan], [0.5, 0.9]])
    overall, structures = mean_overlap(values, np.arange(3), config=QUICK)
    assert overall.value == pytest.approx(0.7)
    assert [structure.value for structure in structures] == pytest.approx([0.5, 0.9])


def test_the_interval_is_over_patients_and_not_over_images():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.uniform(0.4, 1.0, 30), 10)[:, None]
    config = BootstrapConfig(num_resamples=1000)
    images, _ = mean_overlap(values, np.arange(300), config=config)
    patients, _ = mean_overlap(values, np.repeat(np.arange(30), 10), config=config)
    assert images.value == patients.value
    ratio = (patients.high - patients.low) / (images.high - images.low)
    assert 2.6 < ratio < 3.8  # ten equal images of a patient are one: sqrt(10) = 3.2


def test_a_structure_that_is_nowhere_has_no_number_and_says_why():
    values = np.array([[1.0, np.nan], [0.5, np.nan]])
    overall, structures = mean_overlap(values, np.arange(2), config=QUICK)
    assert overall.value == 0.75
    assert structures[1].value is None
    assert "in no image" in structures[1].why


def test_one_patient_gives_no_interval():
    overall, _ = mean_overlap(np.array([[1.0], [0.5]]), np.zeros(2, dtype=np.int64), config=QUICK)
    assert (overall.value, overall.low, overall.high) == (0.75, None, None)
