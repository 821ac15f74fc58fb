"""Fine-tuned classifiers on shifted pictures: their answers, the errors, the page."""

import csv
import re
import shutil

import cv2
import numpy as np
import pytest
from fake_folders import page_of
from small_finetune import FOLDS, tuned

from usfmae.base.errors import DatasetError, FolderError, WeightsError
from usfmae.base.files import read_json, write_json
from usfmae.cli.main import main
from usfmae.evaluate.fold_training import class_probabilities
from usfmae.evaluate.metrics import predicted_classes
from usfmae.evaluate.predictions import fold_ids, read_predictions
from usfmae.evaluate.protocol import TaskConfig, load_task
from usfmae.evaluate.shifts import evaluate_shifts
from usfmae.evaluate.shifts_config import ShiftsConfig
from usfmae.evaluate.shifts_page import write_shifts_page
from usfmae.evaluate.statistics import BootstrapConfig, paired_difference
from usfmae.images.shifts import SHIFTS
from usfmae.models.classifier import load_classifier, save_classifier

FEW = ShiftsConfig(
    gain=(-12, 6), contrast=(), blur=(2,), crop=(), bootstrap=BootstrapConfig(num_resamples=100), threads=1
)


@pytest.fixture(scope="module")
def shifted(kept, fake_bus_bra, tmp_path_factory):
    """Folder, record and example of a call."""
    out = tmp_path_factory.mktemp("shifts") / "out"
    record, picture = evaluate_shifts([kept], fake_bus_bra, out=out, config=FEW)
    write_shifts_page(out, record, picture)
    return out, record, picture


def rows_of(record, contender=0):
    return {(row["shift"], row["amount"]): row for row in record["contenders"][contender]["rows"]}


def test_the_pictures_as_they_are_give_the_result_again(shifted, kept):
    _, record, _ = shifted
    (one,) = record["contenders"]
    result = read_json(kept / "result.json")
    assert one["largest_difference"] < 1e-6
    assert one["same_task"]
    assert (one["num_images"], one["num_patients"]) == (result["num_images"], result["num_patients"])
    for key in (("gain", 0.0), ("blur", 0.0)):
        row = rows_of(record)[key]
        for name in ("macro_f1", "auroc"):
            assert row["metrics"][name] == pytest.approx(result["metrics"][name])
            assert row["difference"][name] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert row["changed_ratio"] == 0


def test_each_split_is_answered_by_its_own_classifier(shifted, kept, task):
    _, record, _ = shifted
    said = read_predictions(kept / "predictions.csv")
    parts = []
    for split in task.splits:
        loaded = load_classifier(kept / f"folds/{split.name}/classifier.safetensors")
        darker = SHIFTS["gain"].apply(task.images[split.test], -12.0)
        parts.append(class_probabilities(loaded.network, darker, input_spec=loaded.input_spec))
    found = np.concatenate(parts)
    expected = paired_difference(
        said.labels,
        said.probabilities,
        found,
        said.group_ids,
        config=FEW.bootstrap,
        positive=task.positive,
        folds=fold_ids(said),
    )
    row = rows_of(record)["gain", -12.0]
    for name in ("macro_f1", "auroc"):
        assert row["difference"][name] == pytest.approx(expected[name].record(), abs=1e-6)
    otherwise = predicted_classes(found) != predicted_classes(said.probabilities)
    assert row["changed_ratio"] == pytest.approx(otherwise.mean())


def test_a_difference_is_that_of_the_metrics(shifted):
    rows = rows_of(shifted[1])
    assert set(rows) == {("gain", -12.0), ("gain", 0.0), ("gain", 6.0), ("blur", 0.0), ("blur", 2.0)}
    for (shift, _), row in rows.items():
        for name, change in row["difference"].items():
            before = rows[shift, 0.0]["metrics"][name]["value"]
            assert change["value"] == pytest.approx(row["metrics"][name]["value"] - before)
            assert change["low"] <= change["value"] <= change["high"]


def test_the_table_has_a_row_per_amount_with_the_numbers_of_the_json(shifted):
    out, record, _ = shifted
    assert read_json(out / "shifts.json") == record
    with (out / "shifts.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["shift"], float(row["amount"])) for row in table] == list(rows_of(record))
    for row in table:
        known = rows_of(record)[row["shift"], float(row["amount"])]
        assert row["contender"] == "kept"
        assert row["unit"] == {"gain": "dB", "blur": "px"}[row["shift"]]
        assert float(row["auroc_low"]) == known["metrics"]["auroc"]["low"]
        assert float(row["macro_f1_difference"]) == known["difference"]["macro_f1"]["value"]
        assert float(row["macro_f1_difference_high"]) == known["difference"]["macro_f1"]["high"]
        assert row["macro_f1_ahead"] == ""  # of nobody


def test_what_was_made_says_from_what(shifted, kept, task):
    _, record, _ = shifted
    made = record["made_by"]
    assert made["stage"] == "evaluate shifts"
    assert made["inputs"]["task"] == task.sha256()
    hashes = {load_classifier(kept / f"folds/{fold}/classifier.safetensors").sha256 for fold in FOLDS}
    assert hashes == set(made["inputs"].values()) - {task.sha256()}
    assert made["settings"]["gain"] == [-12.0, 6.0]


def test_results_of_one_name_have_their_classifiers_hashed_apart(kept, fake_bus_bra, tmp_path):
    again = shutil.copytree(kept, tmp_path / "kept")
    record, _ = evaluate_shifts([kept, again], fake_bus_bra, out=tmp_path / "out", config=FEW)
    assert set(record["made_by"]["inputs"]) == {
        "task", *(f"classifier of kept ({k}), kept {fold}" for k in (1, 2) for fold in FOLDS)
    }  # fmt: skip


def test_splits_of_one_encoder_become_one_curve(shifted, kept, cells, fake_bus_bra, tmp_path):
    record, _ = evaluate_shifts([*cells, kept], fake_bus_bra, out=tmp_path / "out", config=FEW)
    joined, whole = record["contenders"]
    assert (joined["name"], whole["name"]) == ("MAE", "kept")
    assert joined["splits"] == whole["splits"] == list(FOLDS)
    assert joined["results"][1] == "bus-bra/fold-3/MAE/finetune/seed-0"
    assert rows_of(record, 0) == rows_of(shifted[1])
    for key, row in rows_of(record, 1).items():
        assert row | {"ahead": None} == rows_of(record, 0)[key]
        assert row["ahead"]["auroc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert len(record["notes"]) == 1
    page = page_of(write_shifts_page(tmp_path / "out", record, shifted[2]))
    assert [page.count(f"<td>{name}</td>") for name in ("MAE", "kept")] == [5, 5]
    assert page.count('class="line c1"') == 2 * len(record["shifts"]) * 2  # a curve and its key, two metrics


def test_other_test_images_are_said_beside_the_curves(cells, kept, fake_bus_bra, tmp_path):
    record, _ = evaluate_shifts([kept, cells[0]], fake_bus_bra, out=tmp_path / "out", config=FEW)
    assert [one["splits"] for one in record["contenders"]] == [list(FOLDS), ["fold-2"]]
    assert any("Not all were tested on the same images: MAE" in note for note in record["notes"])
    assert all(row["ahead"] is None for one in record["contenders"] for row in one["rows"])


def test_seeds_become_one_curve_of_their_mean_and_are_set_against_the_first(
    kept, seeds, fake_bus_bra, tmp_path
):
    record, _ = evaluate_shifts([kept, *seeds], fake_bus_bra, out=tmp_path / "out", config=FEW)
    plain, joined = record["contenders"]
    assert (plain["seeds"], joined["seeds"]) == ([0], [1, 2])
    assert joined["splits"] == plain["splits"] == list(FOLDS)
    alone = [
        rows_of(evaluate_shifts([seed], fake_bus_bra, out=tmp_path / seed.name, config=FEW)[0])
        for seed in seeds
    ]
    for key, row in rows_of(record, 1).items():
        for name in ("macro_f1", "auroc"):
            mean = np.mean([rows[key]["metrics"][name]["value"] for rows in alone])
            assert row["metrics"][name]["value"] == pytest.approx(mean)
            change = np.mean([rows[key]["difference"][name]["value"] for rows in alone])
            assert row["difference"][name]["value"] == pytest.approx(change)
            ahead = mean - rows_of(record)[key]["metrics"][name]["value"]
            assert row["ahead"][name]["value"] == pytest.approx(ahead)
            assert row["ahead"][name]["low"] <= ahead <= row["ahead"][name]["high"]
        assert row["changed_ratio"] == pytest.approx(np.mean([rows[key]["changed_ratio"] for rows in alone]))
    page = page_of(write_shifts_page(tmp_path / "out", record, np.zeros((32, 32), np.uint8)))
    assert "<td>1, 2</td>" in page
    assert page.count(">Ahead of kept</th>") == 2 * len(record["shifts"])
    assert re.search(r"Against <b>kept</b> under the same amount: clearly ahead in \d of 3, clearly", page)


def test_a_mean_over_mirror_images_is_made_as_the_result_made_it(weights, fake_bus_bra, tmp_path):
    one = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(2,)))
    mirrored = tuned(one, weights, tmp_path / "r", mirror_test=True)
    record, _ = evaluate_shifts([mirrored], fake_bus_bra, out=tmp_path / "out", config=FEW)
    assert record["contenders"][0]["largest_difference"] < 1e-6


def test_amounts_are_shown_on_a_test_image_of_middling_brightness(shifted, task):
    means = task.images[task.splits[0].test].mean(axis=(1, 2))
    assert shifted[2].mean() == sorted(means)[len(means) // 2]


def test_the_page_shows_curves_and_what_an_amount_means(shifted, kept, fake_bus_bra):
    out, _, picture = shifted
    page = page_of(out / "shifts.html")
    assert page.count('class="band c0"') == page.count('class="chance"') == 4  # two shifts, two metrics
    for words in ("\N{MINUS SIGN}12 dB", "+6 dB", "<b>0 dB</b> as it is", "2 px", "Gain (dB)", "Blur (px)"):
        assert words in page
    assert page.count("<img") == 5
    assert "Contrast" not in page
    for folder in (out.parent, kept.parent, fake_bus_bra.parent):
        assert str(folder) not in page
    strip = cv2.imread(str(out / "examples_gain.png"), cv2.IMREAD_GRAYSCALE)
    assert strip.shape == (32, 3 * 32 + 2 * 6)
    np.testing.assert_array_equal(strip[:, 38:70], picture)
    np.testing.assert_array_equal(strip[:, 76:], SHIFTS["gain"].apply(picture[None], 6.0)[0])


def refused(error, match, paths, data, out, config=FEW):
    with pytest.raises(error, match=match) as caught:
        evaluate_shifts(paths, data, out=out, config=config)
    return caught.value.hint


def test_what_cannot_be_tested_again_is_refused_before_anything_is_written(
    kept, shifted, fake_bus_bra, tmp_path
):
    for paths, match in (([shifted[0]], r"holds no run\.json"), ([kept, kept], "was given twice")):
        refused(FolderError, match, paths, fake_bus_bra, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_data_are_refused(kept, fake_bus_bra, tmp_path):
    relabelled = shutil.copytree(fake_bus_bra, tmp_path / "relabelled")
    table = (relabelled / "bus_data.csv").read_text()
    (relabelled / "bus_data.csv").write_text(table.replace("bus_0003-l,3,,benign", "bus_0003-l,3,,malignant"))
    refused(
        DatasetError, r"is not what .*kept was tested on: 9 of its 10 test images of fold-2 .*bus_0003-l",
        [kept], relabelled, tmp_path / "a",
    )  # fmt: skip
    brighter = shutil.copytree(fake_bus_bra, tmp_path / "brighter")
    for path in (brighter / "Images").glob("*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), 255 - image)
    hint = refused(
        DatasetError,
        r"other probabilities than .*kept has in predictions\.csv",
        [kept],
        brighter,
        tmp_path / "b",
    )
    assert "another preparation" in hint


def test_a_classifier_that_was_changed_is_refused(kept, fake_bus_bra, tmp_path):
    changed = shutil.copytree(kept, tmp_path / "changed")
    path = changed / "folds/fold-3/classifier.safetensors"
    loaded = load_classifier(path)
    loaded.network.classifier.bias.data[0] += 0.5
    save_classifier(path, loaded.network, classes=loaded.classes, input_spec=loaded.input_spec)
    refused(DatasetError, "other probabilities than", [changed], fake_bus_bra, tmp_path / "a")
    path.write_bytes(b"no tensors")
    refused(WeightsError, "cannot be read as a classifier", [changed], fake_bus_bra, tmp_path / "b")


def test_data_that_are_a_bit_different_are_noted(kept, fake_bus_bra, tmp_path):
    """A training image has no part in the answers, but the task is no longer the recorded one."""
    record = read_json(kept / "result.json")
    other = shutil.copytree(kept, tmp_path / "other")
    record["made_by"]["inputs"]["task"] = "0" * 64
    write_json(other / "result.json", record)
    found, _ = evaluate_shifts([other], fake_bus_bra, out=tmp_path / "out", config=FEW)
    assert not found["contenders"][0]["same_task"]
    assert any("not to the last bit what other recorded" in note for note in found["notes"])


def test_an_existing_folder_is_kept_unless_asked(shifted, kept, fake_bus_bra, tmp_path):
    out = shutil.copytree(shifted[0], tmp_path / "out")
    hint = refused(FolderError, "exists already", [kept], fake_bus_bra, out)
    assert "--overwrite" in hint
    assert "--resume" not in hint
    evaluate_shifts([kept], fake_bus_bra, out=out, config=FEW, overwrite=True)
    assert not (out / "shifts.html").exists()
    with pytest.raises(FolderError, match=r"holds no shifts\.json"):
        evaluate_shifts([kept], fake_bus_bra, out=kept, config=FEW, overwrite=True)
    assert (kept / "result.json").exists()


def shifts(*words) -> int:
    return main(["evaluate", "shifts", *map(str, words)])


def test_through_the_command_line(kept, cells, fake_bus_bra, tmp_path, capsys):
    words = (*cells, kept, "--data", fake_bus_bra, "--out", tmp_path / "out", "--shift", "gain=-6,6")
    words = (*words, "--shift", "crop=0.8", "--set", "bootstrap.num_resamples=100", "--set", "threads=1")
    assert shifts(*words) == 0
    said = capsys.readouterr().out
    assert f"open {tmp_path / 'out/shifts.html'}" in said
    assert [line.split()[:3] for line in said.splitlines() if line.startswith("kept")] == [
        ["kept", "gain", "\N{MINUS SIGN}6"], ["kept", "gain", "0"], ["kept", "gain", "+6"],
        ["kept", "crop", "0.8"], ["kept", "crop", "1"],
    ]  # fmt: skip
    record = read_json(tmp_path / "out/shifts.json")
    assert [(shift["name"], shift["amounts"]) for shift in record["shifts"]] == [
        ("gain", [-6.0, 0.0, 6.0]), ("crop", [0.8, 1.0]),
    ]  # fmt: skip
    assert shifts(*words) == 2
    assert "exists already" in capsys.readouterr().err
    assert shifts(*words, "--overwrite") == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            ("--shift", "gian=6"),
            ("--shift gian: is not one of gain, contrast, blur, crop", "did you mean gain?"),
        ),
        (("--set", "gian=6"), ("--set gian: no such setting", "did you mean gain?")),
        (("--shift", "gain=loud"), ("gain: amounts are numbers with commas between them",)),
        (("--shift", "gain=90"), ("gain: +90 dB is not between -60 and 60",)),
        (("--shift", "contrast=0"), ("contrast: 0 dB is not between 10 and 200",)),
        (("--shift", "blur=-1"), ("blur: \N{MINUS SIGN}1 px is not between 0 and 64",)),
        (("--shift", "gain=0"), ("no amount of any shift is left to try",)),
    ],
)
def test_shifts_that_cannot_be_are_named(kept, fake_bus_bra, tmp_path, capsys, asked, said):
    assert shifts(kept, "--data", fake_bus_bra, "--out", tmp_path / "out", *asked) == 2
    error = capsys.readouterr().err
    assert all(words in error for words in said), error
    assert not (tmp_path / "out").exists()
