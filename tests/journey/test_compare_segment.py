"""A comparison through the command line, with a segmentation for the paper's segmentation numbers."""

import pytest
from small_networks import small_networks

from usfmae.base.files import read_json, write_json
from usfmae.cli.main import main
from usfmae.datasets.fake import fake_dataset

PLAN = """
tasks: [{name: bus-bra, folds: [2, 3]}]
encoders: [{name: ours}, {name: other}]
ways: [{method: knn}, {method: knn, label_ratio: 0.5}]
seeds: [0]
settings: [task.size_px=32, network.image_px=16, network.patch_px=8, threads=1, k=3]
bootstrap: {num_resamples: 100}
"""


@pytest.fixture
def words(tmp_path):
    fake_dataset("bus-bra", tmp_path / "data/bus-bra", num_patients=30, variant="without-fold-1")
    (tmp_path / "plan.yaml").write_text(PLAN)
    folders = ("--data", tmp_path / "data", "--out", tmp_path / "out", "--segment", tmp_path / "segment")
    return [str(word) for word in ("evaluate", "compare", tmp_path / "plan.yaml", *folders)]


def test_a_segmentation_is_told_apart_at_once_and_stands_on_the_card(words, tmp_path, capsys):
    (tmp_path / "segment").mkdir()
    write_json(tmp_path / "segment/result.json", {"method": "knn", "task": "mmotu-2d"})
    assert main(words) != 0
    assert "no result of usfmae evaluate segment" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

    settings = {"image_px": 96, "batch": 32}
    result = {
        "made_by": {"settings": settings, "commit": "c1"}, "method": "segment", "task": "mmotu-2d", "seed": 0,
        "split": {"name": "official", "sha256": "d" * 64, "num_train": 675, "num_test": 203},
        "metrics": {"map": {"value": 0.285, "low": 0.231, "high": 0.341}}, "epochs": 8.0,
    }  # fmt: skip
    write_json(tmp_path / "segment/result.json", result)
    with small_networks():
        assert main(words) == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "<b>0.285</b> <small>[0.231, 0.341]</small>" in page
    assert "8 epochs, batch 32<br>image side 96 px" in page
    rows = read_json(tmp_path / "out/comparison.json")["reproduction"]
    assert [row["gap"] for row in rows if row["metric"] == "map"] == [pytest.approx(0.285 - 0.510)]
    # Two ways with one seed; with half of the labels that is one draw, and nobody is said to be ahead.
    assert "1 difference in Macro-F1 rests on one seed and few labels (knn 50%)" in page
