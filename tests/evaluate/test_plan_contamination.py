"""What is said of encoders that may have seen test images, and which plans are stopped for it."""

import cv2
import numpy as np
import pytest

from usfmae.base.errors import LeakError, SettingError
from usfmae.evaluate.contamination import PretrainingPool, check_contamination, joint_pool
from usfmae.evaluate.known_pools import known_of
from usfmae.evaluate.plan import Cell, Plan, PlanEncoder, PlanTask, PlanWay
from usfmae.evaluate.plan_contamination import (
    Seen,
    look_for_test_images,
    refuse_contamination,
    seen_sentences,
    seen_words,
    words_of_encoder,
)
from usfmae.evaluate.plan_findings import findings_record
from usfmae.evaluate.plan_gather import gather
from usfmae.evaluate.plan_run import PlanRun
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.images.fingerprint import content_hash, fingerprint
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frame

NOTHING = np.zeros((0, 22, 22), np.uint8)


def cell(name="ours", task="bus-bra", split="fold-2", seed=0, **given):
    return Cell(PlanTask(name=task), split, PlanEncoder(name=name, **given), PlanWay(method="knn"), seed)


def plan_of(**changes):
    given = {
        "tasks": (PlanTask(name="bus-bra"),),
        "encoders": (PlanEncoder(name="ours"), PlanEncoder(name="theirs")),
        "ways": (PlanWay(method="knn"),),
    }
    return Plan(**(given | changes))


def looked(cells, task=None, pool=None):
    return look_for_test_images(cells, task_of=lambda _: task, pool_of=lambda _: pool)


def file_pixels(task, index):
    return read_frame(task.items[index].path, 0)


def test_test_images_are_prepared_as_those_of_a_pool_of_another_size_and_fit(task):
    tested = int(task.splits[0].test[0])
    theirs = prepare(file_pixels(task, tested), size_px=48, fit="stretch")
    pool = PretrainingPool(frozenset({content_hash(theirs)}), NOTHING, "a", ways=((48, "stretch"),))
    found = check_contamination(task, "pretrained", pool)
    assert (found["checked"], found["test_images_in_pool"]) == (True, 1)
    assert found["first"] == task.items[tested].name
    # Joined with a pool that holds another test image at the task's own size.
    other = int(task.splits[1].test[0])
    ours = PretrainingPool(frozenset({content_hash(task.images[other])}), NOTHING, "b", ways=((32, "pad"),))
    both = check_contamination(task, "pretrained", joint_pool([pool, ours]))
    assert both["test_images_in_pool"] == 2


def test_near_duplicates_are_counted_and_said_and_do_not_stop_a_plan(task, weights):
    tested = int(task.splits[0].test[0])
    small = cv2.resize(file_pixels(task, tested).pixels, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    pool = PretrainingPool(frozenset(), fingerprint(small)[None], "a", ways=((48, "pad"),))
    seen = looked([cell(weights=str(weights))], task, pool)
    (one,) = seen
    num = sum(len(split.test) for split in task.splits)
    assert (one.kind, one.num_exact, one.num_near, one.num_images) == ("looked for", 0, 1, num)
    refuse_contamination(plan_of(), seen, unfinished=[one.cell])
    assert seen_words(seen) == {"ours": {"bus-bra": f"0 exact, 1 near-duplicates of {num} test images"}}
    assert seen_sentences(seen) == [
        f"ours has seen what looks like 1 of {num} test images of bus-bra in pretraining"
    ]


def test_each_kind_of_start_has_its_words(task, weights):
    cells = [
        cell("scratch"),
        cell("imagenet", encoder="efficientnet-lite0", weights="imagenet"),
        cell("clean", weights=str(weights)),
        cell("UltraSam", encoder="ultrasam", weights=str(weights)),
        cell("UltraSam", "feft", encoder="ultrasam", weights=str(weights)),
        cell("SAM", encoder="sam", weights=str(weights)),
        cell("other CNN", encoder="resnet-50", weights=str(weights)),
    ]
    pool = PretrainingPool(frozenset({"0" * 64}), NOTHING, "a")
    assert seen_words(looked(cells, task, pool)) == {
        "scratch": {"bus-bra": "not pretrained on ultrasound here"},
        "imagenet": {"bus-bra": "not pretrained on ultrasound here"},
        "clean": {"bus-bra": "clean"},
        "UltraSam": {
            "bus-bra": "known to have learnt from this set (US-43d: yes; kFold 1 held out as test)",
            "feft": "unchecked: the pool of ultrasam is not at hand",
        },
        "SAM": {"bus-bra": "not pretrained on ultrasound here"},
        "other CNN": {"bus-bra": f"unchecked: {weights}: is no resnet-50: it says that it holds vit"},
    }
    partly = joint_pool([pool], missing=["/elsewhere"])
    assert seen_words(looked(cells[2:3], task, partly)) == {
        "clean": {"bus-bra": "unchecked: part of its pool is not at hand (/elsewhere)"}
    }
    assert words_of_encoder({"a": "clean", "b": "clean"}) == "clean"
    assert words_of_encoder({"a": "clean", "b": "unchecked: x"}) == "a: clean; b: unchecked: x"


def test_published_lists_are_those_of_the_paper():
    learnt = ("bus-bra", "busi", "mmotu-2d", "gist514-db", "hc18")
    assert {known_of("ultrasam", task).kind for task in learnt} == {"learnt"}
    assert known_of("ultrasam", "cactus").kind == "unknown"
    assert known_of("usf-mae", "cactus").why == "OpenUS-46"
    for left_out in ("bus-bra", "mmotu-2d", "gist514-db"):
        assert "holds this set and not" in known_of("usf-mae", left_out).why
    assert known_of("usfm", "busi").kind == "unknown"
    with pytest.raises(ValueError, match="vit is not a published encoder"):
        known_of("vit", "busi")


def test_an_encoder_of_which_nobody_can_say_stops_a_plan_that_does_not_allow_it():
    one = Seen(cell(), "unchecked", "what it was pretrained on is not at hand")
    told = r"whether ours has seen .*first: ours, bus-bra fold-2: unchecked"
    with pytest.raises(SettingError, match=told) as raised:
        refuse_contamination(plan_of(), [one], unfinished=[one.cell])
    assert "--corpus DIR" in raised.value.hint
    refuse_contamination(plan_of(allow_unchecked=True), [one], unfinished=[one.cell])
    # All of its cells were made before this was asked.
    refuse_contamination(plan_of(), [one], unfinished=[cell(split="fold-3"), cell("theirs")])
    known = Seen(cell(), "known", "a list")
    with pytest.raises(SettingError, match="known to have learnt from this set") as raised:
        refuse_contamination(plan_of(), [known], unfinished=[known.cell])
    assert raised.value.hint.startswith("allow_unchecked: true")
    refuse_contamination(plan_of(allow_contamination=True), [known], unfinished=[known.cell])
    with pytest.raises(SettingError, match="unchecked"):
        refuse_contamination(plan_of(allow_contamination=True), [one], unfinished=[one.cell])
    exact = Seen(cell(), "looked for", num_exact=2, num_images=9, first="a.png")
    with pytest.raises(LeakError, match="ours has seen 2 of 9 test images of bus-bra fold-2"):
        refuse_contamination(plan_of(allow_unchecked=True), [exact], unfinished=[])


def test_splits_are_added_and_the_weights_of_several_seeds_are_not():
    ones = [
        Seen(cell(split=split, seed=seed), "looked for", num_exact=exact, num_near=1, num_images=10)
        for split, seed, exact in (("fold-2", 0, 1), ("fold-2", 1, 3), ("fold-3", 0, 2))
    ]
    assert seen_words(ones) == {"ours": {"bus-bra": "5 exact, 2 near-duplicates of 20 test images"}}


def test_a_plan_without_its_pool_stops_before_any_cell_and_a_finished_one_is_shown(
    fake_bus_bra, weights, tmp_path
):
    def planned(*, allow):
        out = tmp_path / "out"
        made = plan_of(
            tasks=(PlanTask(name="bus-bra", folds=(2,)),),
            encoders=(PlanEncoder(name="ours", weights=str(weights)), PlanEncoder(name="scratch")),
            ways=(PlanWay(method="knn", settings=("k=5",)),),
            seeds=(0,),
            settings=("task.size_px=32", "network.image_px=16", "network.patch_px=8", "threads=1"),
            bootstrap=BootstrapConfig(num_resamples=100),
            allow_unchecked=allow,
        )
        return PlanRun(
            made,
            data=fake_bus_bra.parent,
            out=tmp_path / out,
            device="cpu",
            pool_of=lambda _: None,
            threads=1,
        )

    with pytest.raises(SettingError, match="nobody can say whether ours has seen test images"):
        planned(allow=False).run()
    assert not list(tmp_path.glob("out/**/result.json"))
    assert len(planned(allow=True).run().done) == 2
    # A comparison that was made before goes on: nothing is left to refuse.
    later = planned(allow=False)
    assert len(later.run().done) == 2
    findings = gather(later)
    record = findings_record(findings)
    assert record["seen_in_pretraining"] == {
        "ours": "unchecked: what it was pretrained on is not at hand",
        "scratch": "not pretrained on ultrasound here",
    }
    assert record["seen_in_pretraining_by_task"]["scratch"] == {
        "bus-bra": "not pretrained on ultrasound here"
    }
    assert any("whether ours has seen test images of bus-bra" in words for words in findings.contaminated)
