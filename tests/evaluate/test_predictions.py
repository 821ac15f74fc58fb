import numpy as np
import pytest

from usfmae.base.errors import FolderError
from usfmae.evaluate.predictions import Predictions, per_group, pooled, read_predictions, write_predictions

CLASSES = ("benign", "malignant")


def table(rows, classes=CLASSES):
    """Rows of (path, group, label, probability of the last class)."""
    last = np.array([row[3] for row in rows], dtype=float)
    others = np.repeat((1 - last)[:, None] / (len(classes) - 1), len(classes) - 1, axis=1)
    return Predictions(
        classes=classes,
        paths=tuple(row[0] for row in rows),
        groups=tuple(row[1] for row in rows),
        folds=("fold-1",) * len(rows),
        labels=np.array([row[2] for row in rows]),
        probabilities=np.concatenate([others, last[:, None]], axis=1),
    )


def test_a_file_gives_back_every_bit(tmp_path):
    rng = np.random.default_rng(0)
    rows = [(f"Bilder, alt/ä {i}.png", f"p{i // 2}", i % 2, rng.random() ** 20) for i in range(30)]
    before = table(rows)
    write_predictions(tmp_path / "predictions.csv", before)
    after = read_predictions(tmp_path / "predictions.csv")
    assert (after.classes, after.paths, after.groups, after.folds) == (
        before.classes,
        before.paths,
        before.groups,
        before.folds,
    )
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)


def test_the_file_speaks_for_itself(tmp_path):
    write_predictions(tmp_path / "predictions.csv", table([("a.png", "p1", 1, 0.75)]))
    assert (tmp_path / "predictions.csv").read_text().splitlines() == [
        "path,group,fold,label,prob_benign,prob_malignant",
        "a.png,p1,fold-1,malignant,0.25,0.75",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no table of predictions"),
        ("path,label\na.png,benign\n", "header"),
        ("path,group,fold,label,prob_benign,prob_malignant\n", "rows are missing"),
        ("path,group,fold,label,prob_benign,prob_malignant\na,p,f,odd,1,0\n", "no table of predictions"),
        ("path,group,fold,label,prob_benign,prob_malignant\na,p,f,benign,1,x\n", "no table of predictions"),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(FolderError, match=message):
        read_predictions(tmp_path / "predictions.csv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FolderError, match=r"predictions\.csv: no such file"):
        read_predictions(tmp_path / "predictions.csv")


def test_a_patient_is_the_mean_of_its_images():
    patients, mixed = per_group(
        table([("a1", "a", 1, 0.9), ("b1", "b", 0, 0.2), ("a2", "a", 1, 0.3), ("a3", "a", 1, 0.6)])
    )
    assert patients.paths == ("a", "b")
    assert patients.labels.tolist() == [1, 0]
    np.testing.assert_allclose(patients.probabilities, [[0.4, 0.6], [0.8, 0.2]])
    assert mixed == 0


def test_a_patient_with_two_findings_takes_the_worst():
    rows = [("a1", "a", 0, 0.1), ("a2", "a", 0, 0.1), ("a3", "a", 1, 0.1), ("b1", "b", 0, 0.1)]
    worst, mixed = per_group(table(rows), positive=1)
    assert (worst.labels.tolist(), mixed) == ([1, 0], 1)
    most_frequent, mixed = per_group(table(rows), positive=None)
    assert (most_frequent.labels.tolist(), mixed) == ([0, 0], 1)


def test_folds_pool_in_order():
    both = pooled([table([("a", "p", 0, 0.1)]), table([("b", "q", 1, 0.7), ("c", "q", 1, 0.8)])])
    assert both.paths == ("a", "b", "c")
    assert both.group_ids.tolist() == [0, 1, 1]
    assert both.probabilities[:, 1].tolist() == pytest.approx([0.1, 0.7, 0.8])
    assert both.rows([2, 0]).paths == ("c", "a")


def test_an_image_is_tested_once():
    with pytest.raises(ValueError, match="1 images are tested in more than one fold"):
        pooled([table([("a", "p", 0, 0.1)]), table([("a", "p", 0, 0.1)])])
    with pytest.raises(ValueError, match="same classes"):
        pooled([table([("a", "p", 0, 0.1)]), table([("b", "p", 0, 0.1)], classes=("x", "y"))])
