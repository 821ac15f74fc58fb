from dataclasses import replace

import numpy as np
import pytest

from usfmae.base.config import Config
from usfmae.base.errors import FolderError
from usfmae.base.files import read_json
from usfmae.evaluate.result import FoldResult, finish_result, fold_predictions, open_result
from usfmae.evaluate.statistics import BootstrapConfig


class Settings(Config):
    """Stands for the config of an evaluation."""

    rate: float = 0.5
    threads: int | None = None


def opened(task, out, *, settings=None, weights="abc", resume=False, overwrite=False):
    return open_result(
        out,
        task,
        stage="evaluate test",
        settings=settings or Settings(),
        inputs={"weights": weights},
        facts={"method": "test", "init": "pretrained"},
        resume=resume,
        overwrite=overwrite,
    )


def finished(task, out, *, skill=1.0):
    rng = np.random.default_rng(0)
    folds = []
    for split in task.splits:
        noise = rng.random((len(split.test), len(task.classes)))
        probabilities = noise + skill * np.eye(len(task.classes))[task.labels[split.test]]
        folds.append(
            FoldResult(
                split, fold_predictions(task, split, probabilities / probabilities.sum(1, keepdims=True))
            )
        )
    record = opened(task, out)
    return finish_result(
        out, task, folds, record=record, bootstrap=BootstrapConfig(num_resamples=100), facts={"seed": 3}
    )


def test_perfect_predictions_score_one_everywhere(task, tmp_path):
    result = finished(task, tmp_path / "r", skill=10.0)
    for metrics in (result["metrics"], result["metrics_per_patient"], result["f1_per_class"]):
        assert all(metric["value"] == metric["low"] == metric["high"] == 1 for metric in metrics.values())
    assert np.count_nonzero(np.array(result["confusion"]) - np.diag(np.diag(result["confusion"]))) == 0
    assert result["seed"] == 3


def test_images_with_a_near_duplicate_in_training_are_reported_with_and_without(task, tmp_path):
    known = task.splits[0].test[:2]
    leaky = replace(task, splits=(replace(task.splits[0], known_leaks=known),))
    result = finished(leaky, tmp_path / "a")
    assert result["num_near_duplicates"] == 2
    assert set(result["metrics_without_near_duplicates"]) == set(result["metrics"])
    assert "metrics_without_near_duplicates" not in finished(task, tmp_path / "b")


def test_clusters_and_files_are_not_called_patients(task, tmp_path):
    result = finished(replace(task, group_kind="file"), tmp_path / "r")
    assert result["metrics_per_patient"] == {}
    assert result["bootstrap"]["over"] == "file"


def test_a_patient_of_several_classes_is_counted(task, tmp_path):
    labels = task.labels.copy()
    groups = [item.group for item in task.items]
    tested = task.splits[0].test.tolist()
    pair = next(
        [i for i in tested if groups[i] == g] for g in groups if sum(groups[i] == g for i in tested) == 2
    )
    labels[pair] = [0, 1]
    result = finished(replace(task, labels=labels), tmp_path / "r")
    assert result["num_patients_of_several_classes"] == 1


def test_a_folder_is_claimed_before_anything_is_done(task, tmp_path):
    opened(task, tmp_path / "r")
    record = read_json(tmp_path / "r/run.json")
    assert record["status"] == "running"
    assert record["made_by"]["inputs"] == {"task": task.sha256(), "weights": "abc"}
    with pytest.raises(FolderError, match="exists already"):
        opened(task, tmp_path / "r")
    assert opened(task, tmp_path / "r", resume=True) == record


def test_a_resume_keeps_settings_and_inputs(task, tmp_path):
    opened(task, tmp_path / "r")
    opened(task, tmp_path / "r", settings=Settings(threads=7), resume=True)
    with pytest.raises(FolderError, match=r"\(rate 0\.5 -> 0\.7\)"):
        opened(task, tmp_path / "r", settings=Settings(rate=0.7), resume=True)
    with pytest.raises(FolderError, match=r"\(the weights\)"):
        opened(task, tmp_path / "r", weights="other", resume=True)
    darker = replace(task, images=task.images // 2)
    with pytest.raises(FolderError, match=r"\(the task\)"):
        opened(darker, tmp_path / "r", resume=True)
    opened(darker, tmp_path / "r", weights="other", overwrite=True)


class Newer(Settings):
    """The same evaluation after a setting came in."""

    added: int = 1


def test_a_folder_from_before_a_setting_was_made_with_its_default(task, tmp_path):
    opened(task, tmp_path / "r")
    opened(task, tmp_path / "r", settings=Newer(), resume=True)
    with pytest.raises(FolderError, match=r"other settings or inputs \(added 1 -> 2\)"):
        opened(task, tmp_path / "r", settings=Newer(added=2), resume=True)
