import io
from contextlib import redirect_stdout

import numpy as np
import pytest

from usfmae.evaluate.instances import (
    average_precision,
    coco_evaluation,
    find_instances,
    match_instances,
    score_instances,
    true_instances,
)
from usfmae.evaluate.statistics import BootstrapConfig

QUICK = BootstrapConfig(num_resamples=200)


def labels_of(*squares, size=(40, 50)):
    """A label map of (label, top, left, side) squares."""
    labels = np.zeros(size, dtype=np.uint8)
    for label, top, left, side in squares:
        labels[top : top + side, left : left + side] = label
    return labels


def probabilities_of(labels, sure, num_labels=None):
    """`sure` for what `labels` says, the rest evenly spread."""
    num = num_labels or int(labels.max()) + 1
    found = np.full((num, *labels.shape), (1 - sure) / (num - 1), dtype=np.float32)
    for label in range(num):
        found[label][labels == label] = sure
    return found


def random_images(seed, num_images=30, num_structures=3):
    """Random truth, and detections that are moved, missing or made up, without equal scores."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(num_images):
        true, said = np.zeros((60, 60), np.uint8), np.zeros((60, 60), np.uint8)
        for _ in range(rng.integers(0, 4)):
            label, side = int(rng.integers(1, num_structures + 1)), int(rng.integers(4, 20))
            top, left = rng.integers(0, 60 - side, 2)
            true[top : top + side, left : left + side] = label
            if rng.random() < 0.8:
                down, across = rng.integers(-1, 2, 2)
                wrong = label if rng.random() < 0.9 else int(rng.integers(1, num_structures + 1))
                said[max(0, top + down) : top + down + side, max(0, left + across) : left + across + side] = (
                    wrong
                )
        raw = rng.uniform(0.05, 1.0, (num_structures + 1, 60, 60)).astype(np.float32)
        for label in range(num_structures + 1):
            raw[label][said == label] += 1.2
        truth.append(true_instances(true))
        found.append(find_instances(raw / raw.sum(axis=0), min_area_ratio=0.0))
    return truth, found


def pycocotools_says(truth, found, *, num_structures, kind):
    """mAP and mAP@50 by accumulate and summarize of the reference itself."""
    with redirect_stdout(io.StringIO()):
        evaluation = coco_evaluation(truth, found, num_structures=num_structures, kind=kind)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # threshold, recall, structure

    def mean(values):
        return values[values > -1].mean()

    return mean(precision), mean(precision[0])


def test_two_instances_and_three_detections_by_hand():
    # Best first: a hit (.9), a false alarm (.8), a hit (.7); two instances. Precision 1, 1/2, 2/3 at recall
    # 1/2, 1/2, 1. The envelope is 1 up to recall .5 (51 of 101 points) and 2/3 above (50 points).
    truth = [true_instances(labels_of((1, 2, 2, 8), (1, 20, 20, 8)))]
    said = labels_of((1, 2, 2, 8), (1, 20, 20, 8), (1, 2, 35, 8))
    sure = probabilities_of(said, 0.9)
    sure[1, 2:10, 35:43], sure[0, 2:10, 35:43] = 0.8, 0.2
    sure[1, 20:28, 20:28], sure[0, 20:28, 20:28] = 0.7, 0.3
    matches = match_instances(
        truth, [find_instances(sure, min_area_ratio=0.0)], num_structures=1, kind="mask"
    )
    found = average_precision(matches[0], np.ones((1, 1)))
    np.testing.assert_allclose(found, (51 + 50 * 2 / 3) / 101, atol=1e-12)


def test_an_overlap_of_06_counts_at_three_of_ten_thresholds():
    # A square of 20 x 20 moved by 5 columns: 300 of 500 px in common, IoU .6, so thresholds .5, .55 and .6.
    truth = [true_instances(labels_of((1, 10, 10, 20)))]
    found = [true_instances(labels_of((1, 10, 15, 20)))]
    for kind in ("mask", "box"):
        (matches,) = match_instances(truth, found, num_structures=1, kind=kind)
        np.testing.assert_allclose(average_precision(matches, np.ones((1, 1)))[0], [1] * 3 + [0] * 7)


def test_boxes_forgive_what_masks_do_not():
    hole = labels_of((1, 10, 10, 20))
    hole[13:27, 13:27] = 0
    truth, found = [true_instances(labels_of((1, 10, 10, 20)))], [true_instances(hole)]
    scored = score_instances(truth, found, np.zeros(1, dtype=np.int64), num_structures=1, config=QUICK)
    assert (scored["map"].value, scored["box_map"].value) == (pytest.approx(0.1), pytest.approx(1.0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["mask", "box"])
def test_average_precision_is_that_of_pycocotools(seed, kind):
    truth, found = random_images(seed)
    matches = match_instances(truth, found, num_structures=3, kind=kind)
    ours = np.stack([average_precision(each, np.ones((1, len(truth))))[0] for each in matches])
    wanted, wanted_50 = pycocotools_says(truth, found, num_structures=3, kind=kind)
    assert 0.1 < wanted < 0.9
    assert ours.mean() == pytest.approx(wanted, abs=1e-6)
    assert ours[:, 0].mean() == pytest.approx(wanted_50, abs=1e-6)


def test_the_named_metrics_are_those_of_pycocotools():
    truth, found = random_images(11)
    scored = score_instances(truth, found, np.arange(len(truth)), num_structures=3, config=QUICK)
    masks, boxes = (pycocotools_says(truth, found, num_structures=3, kind=kind) for kind in ("mask", "box"))
    values = [scored[name].value for name in ("map", "map50", "box_map")]
    assert values == pytest.approx([masks[0], masks[1], boxes[0]], abs=1e-6)
    assert all(interval.low < interval.value < interval.high for interval in scored.values())


def test_a_weight_of_two_is_the_image_twice_and_of_zero_without_it():
    truth, found = random_images(3, num_images=12)
    weights = np.array([2, 0, 1, 3, 1, 0, 1, 1, 2, 0, 1, 1])
    again = np.repeat(np.arange(12), weights)
    wanted, _ = pycocotools_says(
        [truth[i] for i in again], [found[i] for i in again], num_structures=3, kind="mask"
    )
    matches = match_instances(truth, found, num_structures=3, kind="mask")
    ours = [average_precision(each, weights[None].astype(float)).mean() for each in matches]
    assert np.mean(ours) == pytest.approx(wanted, abs=1e-6)


def test_a_perfect_prediction_has_a_map_of_one():
    labels = [labels_of((1, 2, 2, 8), (2, 20, 20, 8)), labels_of((2, 5, 5, 12)), labels_of()]
    truth = [true_instances(each) for each in labels]
    found = [find_instances(probabilities_of(each, 0.9, 3), min_area_ratio=0.001) for each in labels]
    scored = score_instances(truth, found, np.arange(3), num_structures=2, config=QUICK)
    assert [scored[name].value for name in ("map", "map50", "box_map")] == pytest.approx([1.0] * 3)


def test_an_instance_has_the_mean_probability_as_score_and_specks_are_left_out():
    labels = labels_of((1, 5, 5, 10), (1, 30, 40, 1), size=(40, 50))
    sure = probabilities_of(labels, 0.75)
    sure[1, 5, 5:15], sure[0, 5, 5:15] = 0.95, 0.05  # one row of ten
    (only,) = find_instances(sure, min_area_ratio=0.001)  # 2 px of 2,000
    assert only.score == pytest.approx(0.77, abs=1e-6)
    assert (only.area_px, only.box, only.structure) == (100, (5.0, 5.0, 10.0, 10.0), 1)
    assert len(find_instances(sure, min_area_ratio=0.0)) == 2


def test_parts_that_touch_at_a_corner_are_one_instance():
    assert len(true_instances(labels_of((1, 5, 5, 4), (1, 9, 9, 4)))) == 1
    assert len(true_instances(labels_of((1, 5, 5, 4), (2, 9, 9, 4)))) == 2


def test_a_structure_nowhere_drawn_does_not_count_and_nothing_at_all_has_no_number():
    truth, found = (
        [true_instances(labels_of((1, 2, 2, 8)))] * 2,
        [true_instances(labels_of((1, 2, 2, 8)))] * 2,
    )
    groups = np.arange(2)
    assert score_instances(truth, found, groups, num_structures=5, config=QUICK)["map"].value == 1.0
    nothing = score_instances([[], []], found, groups, num_structures=1, config=QUICK)["map"]
    assert nothing.value is None
    assert "no image has an instance" in nothing.why
    missed = score_instances(truth, [[], []], groups, num_structures=1, config=QUICK)["map"]
    assert missed.value == 0.0


def test_nothing_is_printed(capsys):
    match_instances([[]], [[]], num_structures=1, kind="mask")
    assert capsys.readouterr().out == ""


def test_as_many_lists_as_images():
    with pytest.raises(ValueError, match="1 lists of detections for 2 images"):
        match_instances([[], []], [[]], num_structures=1, kind="mask")
