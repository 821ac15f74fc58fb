import numpy as np
import pytest

from usfmae.base.errors import FolderError
from usfmae.base.files import write_json
from usfmae.evaluate.compare import compare_results
from usfmae.evaluate.predictions import Predictions, write_predictions
from usfmae.evaluate.statistics import BootstrapConfig

CLASSES = ("malignant", "benign")


def fake_result(folder, *, right, order=None, classes=CLASSES, num_images=60, positive="malignant"):
    """A result whose first `right` images of each class are classified rightly."""
    labels = np.arange(num_images) % 2
    good = np.arange(num_images) // 2 < right
    rows = order if order is not None else np.arange(num_images)
    predictions = Predictions(
        classes=classes,
        paths=tuple(f"{index}.png" for index in rows),
        groups=tuple(f"p{index // 4}" for index in rows),
        folds=("fold-1",) * len(rows),
        labels=labels[rows],
        probabilities=np.eye(2)[np.where(good, labels, 1 - labels)][rows],
    )
    write_predictions(folder / "predictions.csv", predictions)
    write_json(folder / "result.json", {"positive": positive, "metrics": {"accuracy": {"value": right / 30}}})
    return folder


def test_the_gain_is_the_difference_with_its_interval(tmp_path):
    first, second = fake_result(tmp_path / "a", right=18), fake_result(tmp_path / "b", right=27)
    found = compare_results(first, second)
    gain = found["difference"]["accuracy"]
    assert gain["value"] == pytest.approx(0.3)
    assert 0 < gain["low"] < 0.3 < gain["high"] < 0.6
    assert (found["num_images"], found["num_patients"]) == (60, 15)
    assert found["second"] == {"folder": str(second), "metrics": {"accuracy": {"value": 0.9}}}


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    first = fake_result(tmp_path / "a", right=18)
    second = fake_result(tmp_path / "b", right=27)
    shuffled = fake_result(tmp_path / "c", right=27, order=np.random.default_rng(0).permutation(60))
    config = BootstrapConfig(num_resamples=200)
    plain = compare_results(first, second, bootstrap=config)["difference"]
    assert compare_results(first, shuffled, bootstrap=config)["difference"] == plain


def test_the_positive_class_is_that_of_the_result(tmp_path):
    labels_swapped = [
        compare_results(
            fake_result(tmp_path / f"{name}-a", right=18, positive=name),
            fake_result(tmp_path / f"{name}-b", right=30, positive=name),
        )["difference"]
        for name in CLASSES
    ]
    assert labels_swapped[0]["sensitivity"]["low"] == pytest.approx(labels_swapped[1]["specificity"]["low"])


def test_results_on_other_images_are_not_compared(tmp_path):
    first = fake_result(tmp_path / "a", right=18)
    fewer = fake_result(tmp_path / "b", right=18, order=np.arange(58))
    with pytest.raises(
        FolderError, match=r"not tested on the same images: 2 are in one only \(first: 58\.png\)"
    ):
        compare_results(first, fewer)
    other = fake_result(tmp_path / "c", right=18, classes=("benign", "malignant"))
    with pytest.raises(FolderError, match="tells apart benign, malignant"):
        compare_results(first, other)
    with pytest.raises(FolderError, match="no such file"):
        compare_results(first, tmp_path / "nothing")


def test_an_image_that_has_two_rows_is_not_compared(tmp_path):
    first = fake_result(tmp_path / "a", right=18)
    twice = fake_result(tmp_path / "b", right=18, order=np.append(np.arange(60), 7))
    for pair in ((first, twice), (twice, first)):
        with pytest.raises(FolderError, match="b: 1 rows are of an image that has one already"):
            compare_results(*pair)


def test_results_with_other_labels_are_not_compared(tmp_path):
    first = fake_result(tmp_path / "a", right=30)
    second = fake_result(tmp_path / "b", right=30)
    text = (
        (second / "predictions.csv")
        .read_text()
        .replace("3.png,p0,fold-1,benign", "3.png,p0,fold-1,malignant")
    )
    (second / "predictions.csv").write_text(text)
    with pytest.raises(FolderError, match=r"true class of 1 images \(first: 3\.png\)"):
        compare_results(first, second)
