import numpy as np
import pytest

from usfmae.evaluate.metrics import METRICS
from usfmae.evaluate.statistics import BootstrapConfig, score_with_intervals
from usfmae.evaluate.subgroups import score_subgroups

CONFIG = BootstrapConfig(num_resamples=200)


def guesses(num_images, *, num_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    probabilities = rng.dirichlet(np.ones(num_classes), num_images)
    probabilities[np.arange(num_images), labels] += 0.3
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True), np.arange(num_images) // 2


def parted(values, *, num_classes=2, column="device"):
    labels, probabilities, groups = guesses(len(values), num_classes=num_classes)
    return score_subgroups(labels, [probabilities], groups, values, column=column, config=CONFIG)


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


def test_words_that_begin_with_a_number_stand_in_its_order():
    found = parted(["none", "10 to 100 %", "0 to 4 %", "4 to 10 %"] * 20)
    assert [part.name for part in found.parts] == ["0 to 4 %", "4 to 10 %", "10 to 100 %", "none"]


def test_a_part_with_few_patients_of_a_class_says_so():
    labels = np.array([0] * 60 + [1] * 12)  # 30 patients of one class, 6 of the other
    probabilities = np.full((72, 2), 0.5)
    found = score_subgroups(
        labels, [probabilities], np.arange(72) // 2, ["2"] * 72, column="BIRADS", config=CONFIG
    )
    assert found.parts[0].warning == "only 6 patients of a class"


def test_small_parts_and_parts_without_a_class_say_so():
    labels = np.array([0, 1] * 20 + [0, 1] * 19 + [1] * 40 + [1])
    probabilities = np.eye(2)[labels] * 0.4 + 0.3
    groups = np.concatenate([np.arange(40) // 2, 100 + np.arange(38) // 2, 200 + np.arange(40), [300]])
    values = ["enough"] * 40 + ["few"] * 38 + ["one class"] * 40 + ["lone"]
    parts = score_subgroups(labels, [probabilities], groups, values, column="device", config=CONFIG).parts
    warnings = {part.name: part.warning for part in parts}
    assert warnings == {
        "enough": "",
        "few": "only 19 patients",
        "lone": "only 1 patient; no image of 1 of 2 classes",
        "one class": "no image of 1 of 2 classes",
    }
    auroc = next(part for part in parts if part.name == "one class").metrics["auroc"]
    assert auroc.record()["why"] == "not defined: a class has no image here"


def test_values_for_other_images_are_refused():
    labels, probabilities, groups = guesses(10)
    with pytest.raises(ValueError, match="device: 9 values for 10 images"):
        score_subgroups(labels, [probabilities], groups, ["GE"] * 9, column="device", config=CONFIG)


def test_a_number_of_several_seeds_is_their_mean_on_shared_draws():
    labels, first, groups = guesses(60)
    _, second, _ = guesses(60, seed=5)
    values = ["GE"] * 60
    both = score_subgroups(labels, [first, second], groups, values, column="device", config=CONFIG)
    alone = [
        score_subgroups(labels, [one], groups, values, column="device", config=CONFIG)
        for one in (first, second)
    ]
    means = [one.parts[0].metrics["auroc"] for one in alone]
    found = both.parts[0].metrics["auroc"]
    assert found.value == pytest.approx((means[0].value + means[1].value) / 2)
    assert found.low < found.value < found.high


def test_groups_that_are_no_patients_are_not_called_so():
    labels, probabilities, groups = guesses(10)
    found = score_subgroups(
        labels, [probabilities], groups, ["7"] * 10, column="grade", config=CONFIG, group_kind="clip"
    )
    assert found.parts[0].warning.startswith("only 5 clips")
