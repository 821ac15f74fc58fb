import json

import pytest

from usfmae.evaluate.report_adaptation import adaptation_section
from usfmae.evaluate.report_folders import RunFolder


def scored(value, low, high):
    return {"value": value, "low": low, "high": high}


def run_with(tmp_path, *, old_change, per_batch=77, **more):
    pools = {
        "new": {"folder": "corpora/clinic <b>", "num_images": 256, "num_groups": 31,
                "before": scored(0.9, 0.85, 0.95), "after": scored(0.7, 0.65, 0.75),
                "change": scored(-0.2, -0.25, -0.15)},
        "old": {"folder": "corpora/public", "num_images": 200, "num_groups": 20,
                "before": scored(0.6, 0.5, 0.7), "after": scored(0.65, 0.6, 0.7), "change": old_change},
    }  # fmt: skip
    record = {"replay": {"images_per_batch": per_batch}, "adaptation": {**pools, **more}}
    return RunFolder(tmp_path, json.loads(json.dumps(record)), [], [])


def test_a_gain_and_a_loss_are_said_in_one_sentence(tmp_path):
    page = adaptation_section(run_with(tmp_path, old_change=scored(0.05, 0.01, 0.09)))
    assert "fell by <b>0.200</b> (better) on the new pool and rose by <b>0.050</b> (worse) on the old" in page
    assert "with 77 of its images in every batch" in page
    assert "256 images of 31 groups (new) and 200 images of 20 groups (old)" in page
    assert "clinic &lt;b&gt;" in page


def test_it_is_said_whether_images_were_held_out(tmp_path):
    page = adaptation_section(run_with(tmp_path, old_change=scored(0, -1, 1), held_out=True))
    assert "Those of the new pool were held out of training" in page
    page = adaptation_section(run_with(tmp_path, old_change=scored(0, -1, 1), held_out=False))
    assert "expect less of a gain" in page


def test_a_change_whose_interval_holds_zero_is_not_called_one(tmp_path):
    page = adaptation_section(run_with(tmp_path, old_change=scored(0.05, -0.01, 0.09), per_batch=0))
    assert "did not change measurably (+0.050) on the old one, which was not shown again" in page


def test_a_change_without_an_interval_says_so(tmp_path):
    page = adaptation_section(run_with(tmp_path, old_change=scored(0.05, None, None)))
    assert "changed by +0.050 (no interval) on the old one" in page


def test_labelled_sets_stand_below_the_losses(tmp_path):
    watched = [{"task": "busi", "metric": "knn_macro_f1",
                "before": scored(0.6, 0.5, 0.7), "after": scored(0.55, 0.45, 0.65)}]  # fmt: skip
    page = adaptation_section(run_with(tmp_path, old_change=scored(0, -1, 1), watched=watched))
    assert "kNN macro-F1 on busi" in page
    assert "<td>-0.050</td>" in page


@pytest.mark.parametrize("record", [{}, {"replay": None}])
def test_a_run_without_an_old_pool_has_no_such_part(tmp_path, record):
    assert adaptation_section(RunFolder(tmp_path, record, [], [])) == ""


def test_a_run_that_goes_on_or_is_damaged_is_still_shown(tmp_path):
    going_on = RunFolder(tmp_path, {"replay": {"images_per_batch": 2}}, [], [])
    assert "Measured when the run ends" in adaptation_section(going_on)
    lost = RunFolder(tmp_path, {"replay": {"x": 1}, "adaptation": {}, "status": "finished"}, [], [])
    assert "losses before or after are missing" in adaptation_section(lost)
    damaged = RunFolder(tmp_path, {"replay": {}, "adaptation": {"new": {}}}, [], [])
    assert adaptation_section(damaged) == ""
    damaged = RunFolder(tmp_path, {"replay": {"x": 1}, "adaptation": {"new": {}}}, [], [])
    assert "is not known on the new pool" in adaptation_section(damaged)
