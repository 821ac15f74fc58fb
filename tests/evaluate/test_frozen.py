from dataclasses import replace

import numpy as np
import pytest

from usfmae.base.errors import FolderError, WeightsError
from usfmae.base.files import read_json
from usfmae.datasets.duplicates import NEAR_DUPLICATE_LIKENESS
from usfmae.evaluate.contamination import PretrainingPool
from usfmae.evaluate.frozen import KnnConfig, LinearProbeConfig, evaluate_knn, evaluate_linear_probe
from usfmae.evaluate.metrics import METRICS, score
from usfmae.evaluate.predictions import fold_ids, read_predictions
from usfmae.evaluate.report import write_report
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.images.fingerprint import content_hash, fingerprint
from usfmae.images.read import read_frame

FAST = BootstrapConfig(num_resamples=100)


def knn(task, weights, out, **options):
    config = options.pop("config", None) or KnnConfig(task=task.config, bootstrap=FAST, k=5, threads=1)
    return evaluate_knn(task, weights, out=out, config=config, **options)


def test_the_result_is_the_score_of_its_predictions(task, weights, tmp_path):
    result = knn(task, weights, tmp_path / "r")
    assert result == read_json(tmp_path / "r/result.json")
    predictions = read_predictions(tmp_path / "r/predictions.csv")
    plain = score(predictions.labels, predictions.probabilities, positive=1, folds=fold_ids(predictions))
    for name in METRICS:
        found = result["metrics"][name]
        assert found["value"] == pytest.approx(plain[name])
        assert found["low"] <= found["value"] <= found["high"]
    assert sum(map(sum, result["confusion"])) == len(predictions) == result["num_images"]
    assert result["num_patients"] == len(set(predictions.groups))
    assert set(result["metrics_per_patient"]) == set(METRICS)


def test_the_page_parts_the_test_images_by_what_the_set_says_of_them(task, weights, tmp_path):
    knn(task, weights, tmp_path / "r")
    text = write_report(tmp_path / "report.html", title="kNN", results=[tmp_path / "r"]).read_text()
    assert "<small>BIRADS</small> 5" in text
    assert "<em>only" in text
    lines = (tmp_path / "r/columns.csv").read_text().splitlines()
    predictions = read_predictions(tmp_path / "r/predictions.csv")
    assert lines[0] == "path,BIRADS,outlined size"
    assert [line.split(",")[0] for line in lines[1:]] == list(predictions.paths)
    birads = {item.name: item.extras["BIRADS"] for item in task.items}
    assert [line.split(",")[1] for line in lines[1:]] == [birads[path] for path in predictions.paths]
    (tmp_path / "r/columns.csv").write_text("\n".join(lines[:-1]) + "\n")
    page = write_report(tmp_path / "report.html", title="kNN", results=[tmp_path / "r"])
    assert "There are no results by subgroup" in page.read_text()


def test_the_result_says_what_it_rests_on(task, weights, tmp_path):
    result = knn(task, weights, tmp_path / "r")
    assert (result["task"], result["method"], result["init"]) == ("bus-bra", "knn", "pretrained")
    assert result["classes"] == ["benign", "malignant"]
    assert result["positive"] == "malignant"
    assert result["group_kind"] == "patient"
    assert len(result["weights_sha256"]) == 64
    assert result["image_px"] == 16  # of the weights; the settings leave it open
    assert result["made_by"]["inputs"]["weights"] == result["weights_sha256"]
    assert result["made_by"]["settings"]["k"] == 5
    assert [fold["split"] for fold in result["folds"]] == ["fold-2", "fold-3"]
    assert result["split"]["name"] == "fold-2 + fold-3"
    assert result["split"]["num_test"] == sum(fold["num_test"] for fold in result["folds"])
    assert any("fold 1 is not here" in note for note in result["notes"])
    assert read_json(tmp_path / "r/run.json")["status"] == "finished"
    assert (tmp_path / "r/splits/fold-3.json").exists()


def test_test_images_in_the_pool_are_counted(task, weights, tmp_path):
    unknown = knn(task, weights, tmp_path / "a")["contamination"]
    assert unknown == {"checked": False, "why": "no corpus was given to compare with"}
    tested = [index for split in task.splits for index in split.test.tolist()]
    nothing = np.zeros((0, 22, 22), np.uint8)
    pool = PretrainingPool(
        frozenset({content_hash(task.images[index]) for index in tested[:3]} | {"0" * 64}), nothing
    )
    found = knn(task, weights, tmp_path / "b", pretraining_pool=pool)["contamination"]
    assert (found["test_images_in_pool"], found["of"]) == (3, len(tested))
    assert found["first"] in {task.items[index].name for index in tested[:3]}
    other = PretrainingPool(frozenset({"0" * 64}), nothing, "abc")
    clean = knn(task, weights, tmp_path / "c", pretraining_pool=other)["contamination"]
    assert clean == {
        "checked": True, "test_images_in_pool": 0, "near_duplicates_in_pool": 0, "of": len(tested),
        "least_likeness": NEAR_DUPLICATE_LIKENESS, "corpus_sha256": "abc",
    }  # fmt: skip
    scratch = knn(task, "scratch", tmp_path / "d", like=weights, pretraining_pool=pool)
    assert scratch["contamination"] == {"checked": False, "why": "a random start has seen no images"}
    assert (scratch["init"], scratch["weights_sha256"]) == ("scratch", None)


def test_test_images_that_were_seen_in_disguise_are_counted_apart(task, weights, tmp_path):
    tested = [index for split in task.splits for index in split.test.tolist()]
    mirrored = [
        fingerprint(np.ascontiguousarray(read_frame(task.items[index].path).pixels[:, ::-1]))
        for index in tested[:2]
    ]
    same = content_hash(task.images[tested[0]])
    pool = PretrainingPool(frozenset({same}), np.array(mirrored))
    found = knn(task, weights, tmp_path / "r", pretraining_pool=pool)["contamination"]
    assert (found["test_images_in_pool"], found["near_duplicates_in_pool"]) == (1, 1)
    assert found["first"] == task.items[tested[0]].name
    assert found["first_near"] == task.items[tested[1]].name


def test_a_linear_probe_tells_the_fake_lesions_apart(task, weights, tmp_path):
    config = LinearProbeConfig(task=task.config, bootstrap=FAST, threads=1, pool="mean+cls")
    result = evaluate_linear_probe(task, weights, out=tmp_path / "r", config=config)
    assert result["metrics"]["auroc"]["value"] > 0.8
    for fold in result["folds"]:
        assert fold["cv_log_loss"][f"{fold['c']:g}"] == min(fold["cv_log_loss"].values())
        assert fold["c_chosen_by"] == "cross-validation inside the training images, 5 parts of whole groups"


def test_validation_images_have_no_part_in_the_penalty(task, weights, tmp_path):
    config = LinearProbeConfig(task=task.config, bootstrap=FAST, threads=1)
    before = evaluate_linear_probe(task, weights, out=tmp_path / "a", config=config)["folds"]
    watched = np.unique(np.concatenate([split.val for split in task.splits]))
    only = np.setdiff1d(watched, np.concatenate([split.train for split in task.splits]))
    mixed = replace(task, labels=task.labels.copy())
    mixed.labels[only] = 1 - mixed.labels[only]
    after = evaluate_linear_probe(mixed, weights, out=tmp_path / "b", config=config)["folds"]
    assert [fold["cv_log_loss"] for fold in after] == [fold["cv_log_loss"] for fold in before]


def test_a_page_says_where_no_penalty_could_be_chosen(task, weights, tmp_path):
    # One patient of each class is left to learn from in the first split.
    first, second = task.splits
    by_class = {int(task.labels[index]): int(index) for index in first.train}
    alone = replace(first, train=np.array(sorted(by_class.values())))
    few = replace(task, splits=(alone, second))
    config = LinearProbeConfig(task=task.config, bootstrap=FAST, threads=1)
    result = evaluate_linear_probe(few, weights, out=tmp_path / "r", config=config)
    assert (result["folds"][0]["c"], result["folds"][0]["cv_log_loss"]) == (0.1, {})
    said = [note for note in result["notes"] if "penalty" in note]
    assert len(said) == 1
    assert said[0].startswith("fold-2: the penalty of the linear probe was not chosen but fixed (C = 0.1)")


def test_a_finished_result_is_returned_and_not_made_again(task, weights, tmp_path):
    first = knn(task, weights, tmp_path / "r")
    assert knn(task, weights, tmp_path / "r", resume=True) == first
    with pytest.raises(FolderError, match="exists already"):
        knn(task, weights, tmp_path / "r")
    other = KnnConfig(task=task.config, bootstrap=FAST, k=3, threads=1)
    with pytest.raises(FolderError, match=r"other settings or inputs \(k 5 -> 3\)"):
        knn(task, weights, tmp_path / "r", config=other, resume=True)
    with pytest.raises(FolderError, match="the weights"):
        knn(task, "scratch", tmp_path / "r", resume=True)
    assert knn(task, weights, tmp_path / "r", config=other, overwrite=True)["made_by"]["settings"]["k"] == 3


def test_missing_weights_leave_no_folder_behind(task, tmp_path):
    with pytest.raises(WeightsError, match="no such weights file"):
        knn(task, tmp_path / "nothing.safetensors", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_validation_images_are_answered_too(task, weights, tmp_path):
    knn(task, weights, tmp_path / "r")
    told = read_predictions(tmp_path / "r/validation_predictions.csv")
    expected = [task.items[i].name for split in task.splits for i in split.val.tolist()]
    assert list(told.paths) == expected
    assert set(told.folds) == {"fold-2", "fold-3"}
    for fold in ("fold-2", "fold-3"):
        tested = {
            task.items[i].name for split in task.splits if split.name == fold for i in split.test.tolist()
        }
        assert not tested & {path for path, name in zip(told.paths, told.folds, strict=True) if name == fold}
