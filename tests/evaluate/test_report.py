"""The page about runs and results, from folders that are whole and folders that are not."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_folders import fake_run, made_by, page_of

from usfmae.base.errors import FolderError
from usfmae.evaluate.metrics import confusion_matrix, predicted_classes
from usfmae.evaluate.predictions import PREDICTIONS_FILE, Predictions, write_predictions
from usfmae.evaluate.report import write_report
from usfmae.evaluate.statistics import BootstrapConfig, score_with_intervals
from usfmae.images.picture_tag import picture

BOOTSTRAP = {"num_resamples": 100, "level": 0.95, "method": "percentile", "seed": 0}


def fake_predictions(*, skill: float, classes: tuple[str, ...] = ("benign", "malignant")) -> Predictions:
    """Two images of each of 40 patients; the larger the skill, the more often right."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(40) % len(classes), 2)
    logits = rng.standard_normal((80, len(classes))) + skill * np.eye(len(classes))[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        classes=classes,
        paths=tuple(f"images/{i}.png" for i in range(80)),
        groups=tuple(f"patient-{i // 2}" for i in range(80)),
        folds=("fold-1",) * 40 + ("fold-2",) * 40,
        labels=labels.astype(np.int64),
        probabilities=probabilities,
    )


def fake_result(
    root: Path,
    *,
    init: str = "pretrained",
    skill: float = 1.5,
    classes: tuple[str, ...] = ("benign", "malignant"),
    task: str = "simulated",
    **changes: Any,
) -> Path:
    root.mkdir(parents=True)
    predictions = fake_predictions(skill=skill, classes=classes)
    scored = score_with_intervals(
        predictions.labels,
        predictions.probabilities,
        predictions.group_ids,
        config=BootstrapConfig(**BOOTSTRAP),
    )
    metrics = {name: value.record() for name, value in scored.metrics.items()}
    record = {
        "made_by": made_by("evaluate finetune", {"task": {"label_ratio": 0.1}}), "task": task,
        "method": "finetune", "init": init, "classes": list(classes), "positive": classes[-1],
        "split": {"name": "fold-1 + fold-2", "sha256": "beef" * 16, "num_train": 60, "num_val": 11},
        "metrics": metrics, "metrics_per_patient": metrics,
        "confusion": confusion_matrix(
            predictions.labels, predicted_classes(predictions.probabilities), num_classes=len(classes)
        ).tolist(),
        "num_images": 80, "num_patients": 40, "group_kind": "patient", "seed": 7,
        "weights_sha256": None if init == "scratch" else "cafe" * 16,
        "contamination": {"checked": True, "test_images_in_pool": 0, "of": 80},
        "epochs": 30, "seconds": 3700.0, "peak_memory_gb": 0.987, "bootstrap": BOOTSTRAP,
        "folds": [{"split": f"fold-{i}", "num_test": 40, "metrics": metrics} for i in (1, 2)],
        "notes": ["fold-3 is not here"],
    } | changes  # fmt: skip
    (root / "result.json").write_text(json.dumps(record))
    write_predictions(root / PREDICTIONS_FILE, predictions)
    return root


SAID = (
    "tiny_cpu",
    "1,234",
    "20 of 20",
    "5.50 M",
    "0.80 M",
    "1 min 15 s",
    "1.25 GB",
    "250 images per second",
    "Learning rate (1e-3)",
    "9.8.7",
    "abc123def456",
    "numpy 2.4.1",
    "&#x27;a folder/x&#x27;",
    "2026-01-02T03:04:05",
    "1 h 1 min",
    "0.99 GB",
    "fold-3 is not here",
    "0 of 80 test images are in the pretraining pool",
    "10\u00a0% of the labels",
    "cafecafecafe",
    "beefbeefbeef",
    "80 images of 40 patients",
)


def test_the_report_names_every_number_it_was_given(tmp_path):
    run, result = fake_run(tmp_path / "run-a"), fake_result(tmp_path / "result-a")
    page = page_of(write_report(tmp_path / "report.html", title="All", runs=[run], results=[result]))
    for said in SAID:
        assert said in page, said
    record = json.loads((result / "result.json").read_text())
    for metric in record["metrics"].values():
        assert (
            f"<b>{metric['value']:.3f}</b> <small>[{metric['low']:.3f}, {metric['high']:.3f}]</small>" in page
        )
    for row in record["confusion"]:
        for cell in row:
            assert f"<b>{cell}</b>" in page
    assert f"{1 / 2:.3f}" in page  # first loss
    assert "<b>0.500</b> → <b>0.700</b>" in page  # kNN


def test_the_page_loads_nothing_from_elsewhere(tmp_path):
    run, result = fake_run(tmp_path / "run"), fake_result(tmp_path / "result")
    page = page_of(write_report(tmp_path, title="Alone", runs=[run], results=[result]))
    assert not re.search(r"https?:|(src|href)=\"(?!data:)|<script|<link|@import|url\(", page)
    assert set(re.findall(r'src="([^,]+),', page)) == {"data:image/png;base64"}


def test_the_same_folders_give_the_same_bytes(tmp_path):
    run, result = fake_run(tmp_path / "run"), fake_result(tmp_path / "result")
    pages = [
        write_report(tmp_path / name, title="Twice", runs=[run], results=[result]).read_bytes()
        for name in ("one.html", "two.html")
    ]
    assert pages[0] == pages[1]


def test_a_folder_gets_its_report_inside(tmp_path):
    assert write_report(tmp_path, title="x") == tmp_path / "report.html"


def test_names_cannot_smuggle_html(tmp_path):
    evil = "<b onclick='x'>&"
    run = fake_run(tmp_path / "run <i>")
    result = fake_result(
        tmp_path / "result", task=evil, classes=(evil, "b</table>"), init="from <i>", notes=[evil],
        contamination={"checked": False, "why": evil},
    )  # fmt: skip
    page = page_of(write_report(tmp_path / "report.html", title=evil, runs=[run], results=[result]))
    assert "onclick=" not in page.replace("onclick=&#x27;", "")
    assert "<b onclick" not in page
    assert "b</table>" not in page
    assert "<i>" not in page


def test_pretraining_is_compared_with_scratch_on_the_same_patients(tmp_path):
    better = fake_result(tmp_path / "pretrained", skill=2.5)
    worse = fake_result(tmp_path / "scratch", init="scratch", skill=0.5)
    page = page_of(write_report(tmp_path / "r.html", title="x", results=[better, worse]))
    values = {
        name: json.loads((folder / "result.json").read_text())["metrics"]["macro_f1"]["value"]
        for name, folder in (("after", better), ("before", worse))
    }
    difference = values["after"] - values["before"]
    assert f"gains <b>{difference:.3f}</b> Macro-F1" in page
    assert f"{values['before']:.3f} → {values['after']:.3f}, on the same patients." in page
    assert "may be chance" not in page


def test_equal_results_are_called_chance(tmp_path):
    first, second = fake_result(tmp_path / "a"), fake_result(tmp_path / "b", init="scratch")
    page = page_of(write_report(tmp_path / "r.html", title="x", results=[first, second]))
    assert "gains <b>0.000</b> Macro-F1 [+0.000, +0.000]" in page
    assert "may be chance" in page


def test_results_on_other_images_or_labels_are_not_paired(tmp_path):
    first = fake_result(tmp_path / "a")
    other = fake_result(tmp_path / "b", init="scratch", made_by=made_by("evaluate finetune"))
    assert "on the same patients." not in page_of(
        write_report(tmp_path / "r.html", title="x", results=[first, other])
    )


def test_many_classes_get_one_curve_and_a_square_matrix(tmp_path):
    result = fake_result(tmp_path / "a", classes=("one", "two", "three", "four"), positive=None)
    page = page_of(write_report(tmp_path / "r.html", title="x", results=[result]))
    assert "each class against the rest" in page
    assert page.count("--share:") == 16


def test_the_fitting_of_each_fold_is_drawn_and_nothing_where_nothing_was_fitted(tmp_path):
    result = fake_result(tmp_path / "a")
    assert "While training" not in page_of(write_report(tmp_path / "r.html", title="x", results=[result]))
    lines = [
        {"kind": "train", "step": step, "epoch": step / 2, "loss": 1.0 / step, "fold": f"fold-{fold}"}
        for fold in (1, 2)
        for step in (1, 2, 3)
    ]
    lines.append(
        {"kind": "watch", "step": 3, "epoch": 1.5, "metric": "val_macro_f1", "value": 1, "fold": "fold-1"}
    )
    (result / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = page_of(write_report(tmp_path / "r.html", title="x", results=[result]))
    assert "While training" in page
    assert "fold-2</span>" in page
    assert "Validation macro-F1" in page


def test_a_run_that_goes_on_shows_the_last_logged_step(tmp_path):
    run = fake_run(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(
        json.dumps(record | {"steps_done": 0, "status": "running", "total_steps": 99})
    )
    assert "20 of 99" in page_of(write_report(tmp_path / "r.html", title="x", runs=[run]))


def test_a_result_without_predictions_still_shows_its_numbers(tmp_path):
    result = fake_result(tmp_path / "a")
    (result / PREDICTIONS_FILE).unlink()
    page = page_of(write_report(tmp_path / "r.html", title="x", results=[result]))
    assert "There are no predictions to draw curves from" in page
    assert "Confusion matrix" in page


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("run.json", "not finished, or damaged"),
        ("metrics.jsonl", "so there are no curves"),
        ("pictures/step_00000020.npz", "cannot be read"),
    ],
)
def test_a_damaged_run_is_described_not_refused(tmp_path, lost, said):
    run = fake_run(tmp_path / "run")
    (run / lost).write_bytes(b"\x00half")
    if lost == "metrics.jsonl":
        (run / lost).unlink()
    assert said in page_of(write_report(tmp_path / "r.html", title="x", runs=[run]))


def test_a_run_that_watched_nothing_says_so(tmp_path):
    page = page_of(
        write_report(
            tmp_path / "r.html", title="x", runs=[fake_run(tmp_path / "run", watch=False, pictures=False)]
        )
    )
    assert "No labelled set was watched" in page
    assert "No pictures were kept" in page


def test_an_empty_folder_gives_a_page_and_a_missing_one_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    page = page_of(
        write_report(tmp_path / "r.html", title="x", runs=[tmp_path / "empty"], results=[tmp_path / "empty"])
    )
    assert "not finished, or damaged" in page
    assert "No training step was logged" in page
    with pytest.raises(FolderError, match="no such folder"):
        write_report(tmp_path / "r.html", title="x", runs=[tmp_path / "nowhere"])


def test_a_metric_without_interval_says_why(tmp_path):
    metrics = {
        "auroc": {"value": None, "low": None, "high": None, "why": "not defined: a class has no image here"}
    }
    result = fake_result(tmp_path / "a", metrics=metrics, metrics_per_patient={}, folds=[])
    assert "not defined: a class has no image here" in page_of(
        write_report(tmp_path / "r.html", title="x", results=[result])
    )


def test_an_unchecked_pool_and_a_scratch_start_are_told_apart(tmp_path):
    unchecked = fake_result(tmp_path / "a", contamination={"checked": False, "why": "no corpus was given"})
    scratch = fake_result(tmp_path / "b", init="scratch", contamination=None)
    page = page_of(write_report(tmp_path / "r.html", title="x", results=[unchecked, scratch]))
    assert "was not checked: no corpus was given" in page
    assert "Nothing was pretrained" in page


def test_a_picture_is_png_data_with_an_escaped_name():
    shown = picture(np.zeros((2, 3), np.uint8), said='"><b>')
    assert shown.startswith('<img src="data:image/png;base64,iVBOR')
    assert 'alt="&quot;&gt;&lt;b&gt;" width="3" height="2"' in shown
