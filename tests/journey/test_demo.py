"""The first command of the README, small."""

from pathlib import Path

import pytest

from usfmae.base.files import read_json
from usfmae.cli.main import main
from usfmae.datasets.fake import fake_dataset
from usfmae.engine.metrics_log import read_metrics


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo on a few of somebody's own labelled images."""
    root = tmp_path_factory.mktemp("demo")
    labelled = fake_dataset("folder", root / "labelled", num_patients=24)
    assert main(["demo", "--images", str(labelled), "--out", str(root / "out"), "--size", "0.001"]) == 0
    return root


def test_a_demo_pretrains_and_compares_with_a_start_from_scratch(demo):
    out = demo / "out"
    results = {name: read_json(out / "results" / name / "result.json") for name in ("pretrained", "scratch")}
    assert results["pretrained"]["weights_sha256"] is not None
    assert results["scratch"]["weights_sha256"] is None
    for result in results.values():
        assert 0 <= result["metrics"]["macro_f1"]["value"] <= 1
    assert results["pretrained"]["split"] == results["scratch"]["split"]
    losses = [line["loss"] for line in read_metrics(out / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert losses
    page = (out / "report.html").read_text()
    assert "pretrained" in page
    assert "scratch" in page


def test_a_finished_demo_is_gone_on_with_and_not_made_again(demo, capsys):
    words = ["demo", "--images", str(demo / "labelled"), "--out", str(demo / "out"), "--size", "0.001"]
    before = read_json(demo / "out" / "demo.json")
    assert main([*words, "--resume"]) == 0
    assert "open " in capsys.readouterr().out
    assert read_json(demo / "out" / "demo.json") == before
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_demo_draws_its_own_patients(tmp_path, monkeypatch):
    # On one core no processes are started to draw, which would import for 8 s.
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert main(["demo", "--out", str(tmp_path / "out"), "--size", "0.001"]) == 0
    record = read_json(tmp_path / "out" / "corpus" / "corpus.json")
    assert record["num_images"] == 48  # 12 patients, four planes each, all of them kept
    assert {held["found_in_pool"] for held in record["held_out"].values()} == {0}
    assert read_json(tmp_path / "out" / "results" / "scratch" / "result.json")["split"]["num_test"] > 0
