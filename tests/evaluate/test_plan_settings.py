import pytest
from small_entries import RIGHT, entry, plan

from usfmae.evaluate.plan import PlanEncoder, PlanTask
from usfmae.evaluate.plan_settings import (
    ITS_OWN,
    changing_settings,
    commits_of,
    image_sides,
    settings_by_way,
)


def lr(rate, **more):
    return {"optim": {"lr_per_256": rate}, **more}


def test_contenders_are_told_apart_by_what_their_cells_record_not_by_the_plan():
    entries = [entry(RIGHT), entry(RIGHT, encoder="theirs", settings=lr(0.008, image_px=96))]
    (found,) = settings_by_way(plan(), entries)
    assert found.differing["optim.lr_per_256"] == {"ours": "0.0016", "theirs": "0.008"}
    assert found.differing["image_px"] == {"ours": "128", "theirs": "96"}
    assert found.same["task.size_px"] == "256"
    # What makes a cell this one, and what changes speed alone, is no setting.
    assert not {"seed", "threads", "encoder", "task.folds"} & {*found.same, *found.differing}


def test_the_shape_of_a_random_start_is_said_only_where_it_is_used():
    contenders = (PlanEncoder(name="ours"), PlanEncoder(name="theirs", like="some/run"))
    entries = [entry(RIGHT), entry(RIGHT, encoder="theirs")]
    (found,) = settings_by_way(plan(encoders=contenders), entries)
    assert found.differing["network.image_px"] == {"ours": "128", "theirs": "not used"}
    pretrained = [entry(RIGHT, encoder=name, init="pretrained") for name in ("ours", "theirs")]
    (found,) = settings_by_way(plan(), pretrained)
    assert not [name for name in (*found.same, *found.differing) if name.startswith("network.")]


def test_tasks_stand_apart_only_where_their_settings_do():
    tasks = (PlanTask(name="bus-bra"), PlanTask(name="mmotu-2d", settings=("task.size_px=128",)))
    small = {"task": {"folds": ["a"], "size_px": 128}}
    both = [
        entry(RIGHT, encoder=name, task=task, settings=settings)
        for name in ("ours", "theirs")
        for task, settings in (("bus-bra", None), ("mmotu-2d", small))
    ]
    found = settings_by_way(plan(tasks=tasks), both)
    assert [(one.tasks, one.same["task.size_px"]) for one in found] == [
        (("bus-bra",), "256"),
        (("mmotu-2d",), "128"),
    ]
    alike = [entry(RIGHT, encoder=one.encoder, task=one.task) for one in both]
    (found,) = settings_by_way(plan(tasks=tasks), alike)
    assert found.tasks == ("bus-bra", "mmotu-2d")


def test_a_setting_that_changes_between_a_contenders_own_cells_is_named():
    one = entry(RIGHT, RIGHT)
    assert changing_settings(plan(), [one]) == []
    one.results[3]["made_by"]["settings"]["optim"]["lr_per_256"] = 0.01
    (words,) = changing_settings(plan(), [one])
    assert words.startswith("ours, knn on bus-bra: optim.lr_per_256 is not the same in all of its cells")
    assert "(0.0016 / 0.01)" in words


def test_a_setting_that_older_cells_do_not_know_is_no_change():
    one = entry(RIGHT, RIGHT)
    del one.results[0]["made_by"]["settings"]["optim"]
    assert changing_settings(plan(), [one]) == []


def test_cells_are_counted_by_the_code_that_made_them():
    two = entry(RIGHT, RIGHT)
    two.results[0]["made_by"]["commit"] = "c0"
    assert commits_of([two, entry(RIGHT, commit=None)]) == {"c1": 3, "not recorded": 2, "c0": 1}


@pytest.mark.parametrize(
    ("like", "result", "sides"),
    [
        (None, {}, ["128"]),
        (None, {"settings": {"image_px": 64}}, ["64"]),
        (None, {"image_px": 32, "settings": {"image_px": 64}}, ["32"]),
        (None, {"image_px": [64, 96]}, ["[64, 96]"]),
        ("no/such/run", {}, [ITS_OWN]),
        (None, {"init": "pretrained"}, [ITS_OWN]),
        (None, {"network": "resnet-50"}, [ITS_OWN]),
    ],
)
def test_the_image_side_is_what_the_network_saw(like, result, sides):
    contender = PlanEncoder(name="ours", weights="no/such/{split}", like=like)
    made = plan(encoders=(contender, PlanEncoder(name="theirs")))
    assert image_sides(made, entry(RIGHT, **result)) == sides


def test_a_side_that_is_not_recorded_is_read_off_the_weights_if_they_are_the_same(weights):
    contender = PlanEncoder(name="ours", weights=str(weights))
    made = plan(encoders=(contender, PlanEncoder(name="theirs")))
    other = entry(RIGHT, init="pretrained", weights_sha256="beef")
    assert image_sides(made, other) == [ITS_OWN]
    like = PlanEncoder(name="ours", like=str(weights))
    assert image_sides(plan(encoders=(like, contender.model_copy(update={"name": "b"}))), entry(RIGHT)) == [
        "16"
    ]
