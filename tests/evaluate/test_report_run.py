"""The part of the page about one pretraining run."""

import json

import numpy as np
from fake_folders import fake_run, page_of

from usfmae.evaluate.report import write_report
from usfmae.evaluate.report_folders import read_run


def test_a_run_shows_its_verdict_meters_and_a_rank_that_is_no_ratio(tmp_path):
    run = fake_run(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    verdict = {"verdict": "still rising (+0.080 over the last third)", "state": "still rising"}
    (run / "run.json").write_text(json.dumps(record | {"verdicts": {"<simulated>": verdict}}))
    with (run / "metrics.jsonl").open("a") as file:
        for step in (0, 10, 20):
            line = {"kind": "watch", "step": step, "epoch": step / 5, "task": "simulated"}
            file.write(json.dumps(line | {"metric": "feature_rank", "value": 20 + step}) + "\n")
        train = {"kind": "train", "step": 21, "epoch": 4.2, "loss": 0.04, "data_wait": 0.25, "mfu": 0.4}
        file.write(json.dumps(train) + "\n")
        for step in range(9):
            file.write(json.dumps({"kind": "bad_step", "step": step + 1, "at": step, "loss": "nan"}) + "\n")
        file.write(json.dumps({"kind": "spike", "step": 20, "at": 17, "loss": 2.5, "median": 0.5}) + "\n")
    page = page_of(write_report(tmp_path / "r.html", title="x", runs=[run]))
    assert "<b>9</b> updates were left out" in page
    assert "step 0, 1, 2, 3, 4, 5, 6, 7 ...." in page
    assert "<b>1</b> jumps of the loss, the first batches in spikes/: step 17 (2.500)." in page
    assert "<b>&lt;simulated&gt;</b>: still rising (+0.080 over the last third)." in page
    assert "A learning rate that runs out flattens every curve" in page
    assert "Effective rank of the features on simulated: <b>20.000</b> → <b>40.000</b>." in page
    assert ">35</text>" in page  # a tick of the rank's axis
    for name in ("Norm of the gradient", "Images per second", "Waiting for data", "Utilisation"):
        assert name in page
    assert "Utilisation" not in page_of(
        write_report(tmp_path / "r.html", title="x", runs=[fake_run(tmp_path / "b")])
    )


def test_a_run_that_was_taught_shows_by_whom_and_the_parts_of_its_loss(tmp_path):
    run = fake_run(tmp_path / "run")
    plain = page_of(write_report(tmp_path / "r.html", title="x", runs=[run]))
    assert "Teacher" not in plain
    assert "before its weight" not in plain
    record = json.loads((run / "run.json").read_text())
    facts = {"kind": "file", "encoder": "<dinov2>", "trained_on": None, "sha256": "0"}
    (run / "run.json").write_text(json.dumps(record | {"teacher": facts}))
    with (run / "metrics.jsonl").open("a") as file:
        for step in (21, 22):
            line = {"kind": "train", "step": step, "epoch": step / 5, "loss": 1.0, "loss_features": 0.5}
            file.write(json.dumps(line | {"loss_pixels": 0.5}) + "\n")
    page = page_of(write_report(tmp_path / "r.html", title="x", runs=[run]))
    assert "<dt>Teacher</dt><dd>&lt;dinov2&gt;</dd>" in page
    for word in ("Features, before its weight", "Pixels, before its weight", "Loss (sum of weighted parts)"):
        assert word in page
    for facts, said in (
        ({"kind": "self"}, "its own average"),
        ({"kind": "efficientnet-lite0", "encoder": "efficientnet-lite0", "trained_on": "ImageNet"},
         "efficientnet-lite0 (ImageNet)"),
    ):  # fmt: skip
        (run / "run.json").write_text(json.dumps(record | {"teacher": facts}))
        assert f"<dd>{said}</dd>" in page_of(write_report(tmp_path / "r.html", title="x", runs=[run]))


def test_of_many_looks_five_are_read_the_first_and_the_last_among_them(tmp_path):
    run = fake_run(tmp_path / "run", pictures=False)
    (run / "pictures").mkdir()
    dark = np.zeros((1, 8, 8), np.uint8)
    for step in range(30):
        np.savez(run / f"pictures/step_{step:08d}.npz", visible=dark, reconstructed=dark, original=dark)
    assert [look.step for look in read_run(run).pictures] == [0, 2, 7, 16, 29]


def test_a_loss_of_parts_has_a_curve_of_each(tmp_path):
    run = fake_run(tmp_path / "run")
    assert "Loss (mean square, hidden patches)" in page_of(
        write_report(tmp_path / "r.html", title="x", runs=[run])
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "train":
            line |= {"loss_pixels": 0.5, "loss_<variance>": 0.25}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = page_of(write_report(tmp_path / "r.html", title="x", runs=[run]))
    assert "Loss (mean square, hidden patches)" not in page
    for said in ("Loss (sum of weighted parts)", "Pixels, before its weight", "&lt;variance&gt;, before its"):
        assert said in page
