import pytest
from small_entries import RIGHT, entry, findings, plan, with_errors

from usfmae.base.errors import SettingError
from usfmae.evaluate.plan_findings import findings_record
from usfmae.evaluate.reproduction import plan_sha256, reproduction_card, with_segmentations

SEGMENTED = {
    "made_by": {"settings": {"image_px": None, "batch": 32}, "commit": "c1"},
    "task": "mmotu-2d",
    "method": "segment",
    "seed": 3,
    "epochs": 8.0,
    "split": {"name": "official", "sha256": "d" * 64, "num_train": 675, "num_test": 203},
    "group_kind": "near-duplicate cluster",
    "metrics": {"map": {"value": 0.285, "low": 0.231, "high": 0.341}, "map50": {"value": 0.542}},
    "notes": ["carved"],
}


def rows_of(card, task="mmotu-2d"):
    return {row.published.metric: row for row in card if row.published.task == task}


def test_the_papers_segmentation_is_on_the_card_and_says_which_command_makes_ours():
    rows = rows_of(reproduction_card([], "ours"))
    assert (rows["map"].published.value, rows["map50"].published.value) == (0.510, 0.779)
    for name in ("map", "map50"):
        assert rows[name].notes == ("not run in this plan: usfmae evaluate segment",)
        assert rows[name].record(plan())["ours"] is None


def test_a_segmentation_takes_its_place_on_the_card():
    rows = rows_of(with_segmentations(reproduction_card([], "ours"), [SEGMENTED]))
    found = rows["map"].record(plan())
    assert found["ours"]["low"] == 0.231
    assert found["gap"] == pytest.approx(0.285 - 0.510)
    assert rows["map50"].gap == pytest.approx(0.542 - 0.779)
    assert (found["way"], found["seeds"], found["notes"]) == ("segment", [3], ["carved"])
    assert found["protocol"]["splits"] == ["official"]
    assert found["split_sha256"] == ["d" * 12]
    assert found["plan_sha256"] is None  # no plan has made it
    assert rows["macro_f1"].segment is None


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([SEGMENTED | {"method": "knn"}], "mmotu-2d: made by knn, no result of usfmae evaluate segment"),
        ([SEGMENTED, SEGMENTED], "two segmentations were given"),
        ([SEGMENTED | {"task": "bus-bra"}], "bus-bra: the paper has no segmentation of it"),
    ],
)
def test_a_result_that_has_no_place_on_the_card_is_named(results, message):
    with pytest.raises(SettingError, match=message):
        with_segmentations(reproduction_card([], "ours"), results)


def test_a_row_says_how_ours_was_made():
    one = entry(
        RIGHT, with_errors(2), group_kind="patient", epochs=3.0, weights_sha256="beef", settings={"batch": 16}
    )
    row = rows_of(reproduction_card([one], "ours"), "bus-bra")["macro_f1"]
    assert row.protocol(plan()) == {
        "splits": ["a", "b"],
        "groups": "patient",
        "num_train": [16],
        "num_test": [4],
        "epochs": [3.0],
        "batch": [16],
        "image_px": ["128"],
        "seeds": [0, 1],
        "weights_sha256": ["beef"],
        "commits": ["c1"],
    }
    assert set(row.prediction_hashes) == {"a, seed 0", "b, seed 0", "a, seed 1", "b, seed 1"}
    # The second seed errs in split b alone.
    assert row.prediction_hashes["a, seed 0"] == row.prediction_hashes["a, seed 1"]
    assert row.prediction_hashes["b, seed 0"] != row.prediction_hashes["b, seed 1"]
    assert row.split_hashes == ["a" * 12, "b" * 12]


def test_a_number_that_was_not_fine_tuned_says_so():
    words = "the paper's network was fine-tuned, ours was not: knn"
    (row,) = rows_of(reproduction_card([entry(RIGHT)], "ours"), "bus-bra").values()
    assert row.notes == (words,)
    (row,) = rows_of(reproduction_card([entry(RIGHT, way="finetune")], "ours"), "bus-bra").values()
    assert row.notes == ()


def test_the_hash_of_a_plan_changes_with_any_setting_of_it():
    assert plan_sha256(plan()) == plan_sha256(plan())
    assert plan_sha256(plan()) != plan_sha256(plan(seeds=(0, 1)))
    record = findings_record(findings([entry(RIGHT)]))
    assert record["reproduction"][0]["plan_sha256"] == plan_sha256(plan())
