import numpy as np
import pytest

from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.statistics import BootstrapConfig, score_with_intervals
from usfmae.evaluate.subgroups import score_subgroups, thirds

CONFIG = BootstrapConfig(num_resamples=200)


def guesses(num_images, *, num_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    probabilities = rng.dirichlet(np.ones(num_classes), num_images)
    probabilities[np.arange(num_images), labels] += 0.3
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True), np.arange(num_images) // 2


def parted(values, *, num_classes=2, column="device"):
    labels, probabilities, groups = guesses(len(values), num_classes=num_classes)
    return score_subgroups(labels, probabilities, groups, values, column=column, config=CONFIG)


def test_a_part_has_the_metrics_of_its_images_alone():
    values = ["GE", "Toshiba", "GE", "GE"] * 25
    found = parted(values)
    labels, probabilities, groups = guesses(100)
    rows = np.array(values) == "GE"
    alone = score_with_intervals(labels[rows], probabilities[rows], groups[rows], config=CONFIG)
    assert found.parts[0].metrics == alone.metrics
    assert tuple(found.parts[0].metrics) == METRICS
    assert found.parts[0].num_groups == 50
    assert found.parts[0].warning == ""
    assert "warning" not in found.parts[0].record()


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_images_of_all_parts_are_the_whole(num_classes):
    values = [["2", "3", "10", None, "", " 3 "][number % 6] for number in range(120)]
    found = parted(values, num_classes=num_classes, column="birads")
    assert [part.name for part in found.parts] == ["2", "3", "10", "unknown"]
    assert [part.num_images for part in found.parts] == [20, 40, 20, 40]
    assert sum(sum(part.num_per_class) for part in found.parts) == 120
    record = found.record()
    assert record["column"] == "birads"
    assert len(record["parts"]) == 4


def test_the_unknown_come_last():
    found = parted(["zonare", None, "GE"] * 20)
    assert [part.name for part in found.parts] == ["GE", "zonare", "unknown"]


def test_small_parts_and_parts_without_a_class_say_so():
    labels = np.array([0, 1] * 20 + [0, 1] * 19 + [1] * 40 + [1])
    probabilities = np.eye(2)[labels] * 0.4 + 0.3
    groups = np.concatenate([np.arange(40) // 2, 100 + np.arange(38) // 2, 200 + np.arange(40), [300]])
    values = ["enough"] * 40 + ["few"] * 38 + ["one class"] * 40 + ["lone"]
    parts = score_subgroups(labels, probabilities, groups, values, column="device", config=CONFIG).parts
    warnings = {part.name: part.warning for part in parts}
    assert warnings == {
        "enough": "",
        "few": "only 19 patients",
        "lone": "only 1 patient; no image of 1 of 2 classes",
        "one class": "no image of 1 of 2 classes",
    }
    auroc = next(part for part in parts if part.name == "one class").metrics["auroc"]
    assert auroc.record()["why"] == "not defined: a class has no image here"


def test_thirds_by_hand():
    sizes = np.array([5.0, 1, np.nan, 9, 2, 7, 3])  # known: 1 2 | 3 5 | 7 9
    small, middle, large = "1: up to 2 mm", "2: up to 5 mm", "3: up to 9 mm"
    assert thirds(sizes, unit="mm") == [middle, small, None, large, small, large, middle]


def test_equal_measures_stay_in_one_third():
    assert thirds(np.array([4.0, 4, 4, 4, 8, 9]), unit="mm") == ["1: up to 4 mm"] * 4 + ["2: up to 9 mm"] * 2
    assert thirds(np.full(3, 4.0), unit="mm") == ["1: up to 4 mm"] * 3
    assert thirds(np.full(3, np.nan), unit="mm") == [None] * 3


def test_thirds_of_many_different_measures_are_even():
    sizes = np.random.default_rng(0).random(300) * 40
    found = parted(thirds(sizes, unit="mm"), column="lesion size")
    assert [part.num_images for part in found.parts] == [100, 100, 100]
    assert [part.name[:2] for part in found.parts] == ["1:", "2:", "3:"]


def test_values_for_other_images_are_refused():
    labels, probabilities, groups = guesses(10)
    with pytest.raises(ValueError, match="device: 9 values for 10 images"):
        score_subgroups(labels, probabilities, groups, ["GE"] * 9, column="device", config=CONFIG)
