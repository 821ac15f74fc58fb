"""Which finished fine-tunings can be tested again, and which of them are one contender."""

import shutil

import pytest
from small_finetune import FOLDS, tuned

from usfmae.base.errors import FolderError
from usfmae.base.files import read_json, write_json
from usfmae.datasets.fake import fake_dataset
from usfmae.evaluate.frozen import KnnConfig, evaluate_knn
from usfmae.evaluate.kept_classifiers import contenders_of, read_kept
from usfmae.evaluate.protocol import TaskConfig, load_task


def test_names_are_as_short_as_they_can_be(cells, kept, tmp_path):
    way = shutil.copytree(cells[0], cells[0].parents[1] / "finetune-0.1" / "seed-0", dirs_exist_ok=True)
    again = shutil.copytree(kept, tmp_path / "kept")
    names = [one.name for one in contenders_of([read_kept(path) for path in (*cells, way, kept, again)])]
    assert names == ["MAE finetune", "MAE finetune-0.1", "kept (1)", "kept (2)"]


def test_splits_and_seeds_of_one_recipe_are_one_contender(kept, cells, seeds):
    lots = contenders_of([read_kept(path) for path in (seeds[1], *cells, kept, seeds[0])])
    assert [one.name for one in lots] == ["s2 + s1", "MAE", "kept"]
    assert [list(one.by_seed) for one in lots] == [[1, 2], [0], [0]]
    assert [result.path for result in lots[0].results] == seeds
    assert [result.splits for result in lots[1].results] == [(fold,) for fold in FOLDS]


def test_a_result_from_before_a_setting_came_in_was_made_with_its_default(cells, tmp_path):
    root = tmp_path / "comparison"
    shutil.copytree(cells[0].parents[5], root)
    older = [root / cell.relative_to(cells[0].parents[5]) for cell in cells]
    for name in ("run.json", "result.json"):
        record = read_json(older[1] / name)
        del record["made_by"]["settings"]["moment_images"]
        write_json(older[1] / name, record)
    assert [one.name for one in contenders_of([read_kept(path) for path in older])] == ["MAE"]


def test_a_seed_that_lacks_a_split_is_refused(kept, seeds, weights, fake_bus_bra, tmp_path):
    one = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(2,)))
    half = tuned(one, weights, tmp_path / "half", seed=1)
    hint = refused("half: its seed 1 was not tested on fold-3, other seeds", kept, half)
    assert "same splits of every seed" in hint


def test_other_settings_are_another_curve(kept, weights, fake_bus_bra, tmp_path):
    one = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(4,)))
    other = tuned(one, weights, tmp_path / "other", label_smoothing=0.0)
    same = tuned(one, weights, tmp_path / "same", threads=2)
    lots = contenders_of([read_kept(path) for path in (kept, other, same)])
    assert [one.name for one in lots] == ["kept + same", "other"]


def refused(match, *paths):
    with pytest.raises(FolderError, match=match) as caught:
        contenders_of([read_kept(path) for path in paths])
    return caught.value.hint


def test_what_is_no_finished_fine_tuning_is_refused(task, weights, kept, cells, tmp_path):
    evaluate_knn(task, weights, out=tmp_path / "knn", config=KnnConfig(task=task.config))
    assert "finetune" in refused("made by `evaluate knn`, which keeps no classifier", tmp_path / "knn")
    write_json(tmp_path / "run" / "run.json", {"made_by": {"stage": "pretrain"}})
    refused("made by `pretrain`", tmp_path / "run")
    assert "cells/TASK/SPLIT" in refused("is a comparison", cells[0].parents[5])
    (tmp_path / "bare").mkdir()
    refused(r"holds no run\.json, so it is no result", tmp_path / "bare")
    assert "typing slip" in refused("no such folder", tmp_path / "nowhere")
    half = shutil.copytree(kept, tmp_path / "half")
    (half / "result.json").unlink()
    write_json(half / "run.json", {**read_json(half / "run.json"), "status": "stopped"})
    assert "--resume" in refused(r"is not finished \(stopped\)", half)
    bereft = shutil.copytree(kept, tmp_path / "bereft")
    (bereft / "folds/fold-3/classifier.safetensors").unlink()
    refused(r"1 of 2 classifiers are missing \(first: that of fold-3\)", bereft)


def test_a_result_given_twice_and_results_of_two_tasks_are_refused(kept, weights, tmp_path):
    refused("was given twice", kept, kept)
    root = fake_dataset("folder", tmp_path / "labelled", num_patients=18)
    folder = tuned(load_task("folder", root, config=TaskConfig(size_px=32)), weights, tmp_path / "of-folder")
    assert "once for each task" in refused("kept is of bus-bra and .*of-folder of folder", kept, folder)
