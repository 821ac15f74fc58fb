"""Hashes of the images that weights have learnt from: written, read, and looked in for test images."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_shelf import add_hashes, put_on_shelf

from usfmae.base.errors import LeakError, SettingError, WeightsError
from usfmae.base.files import file_sha256
from usfmae.evaluate.contamination import PretrainingPool, check_contamination
from usfmae.evaluate.plan import Cell, Plan, PlanEncoder, PlanTask, PlanWay
from usfmae.evaluate.plan_contamination import look_for_test_images, refuse_contamination, seen_words
from usfmae.evaluate.report_result import notes_list
from usfmae.evaluate.seen_images import SeenImages, read_seen, write_seen
from usfmae.images.fingerprint import content_hash
from usfmae.images.prepare import prepare
from usfmae.images.read import read_frame
from usfmae.models.shipped import card_of

BOTH = {"trained_on": ["bus-bra", "x"], "held_out": ["bus-bra"]}
"""A set of which a part is in the pool and a part was held out, as MMOTU-2D's official split."""


def digest(word):
    return hashlib.sha256(word.encode()).hexdigest()


def other_images(task, num=40):
    return [digest(f"other {k}") for k in range(num)]


def of_test_image(task, *, size_px=32, fit="pad"):
    frame = read_frame(task.items[int(task.splits[0].test[0])].path, 0)
    return content_hash(prepare(frame, size_px=size_px, fit=fit))


def said(task, file, pool=None):
    return check_contamination(task, "pretrained", pool, card=card_of(file))


def plan(task, file, **allowed):
    """What a plan of comparison says of the weights; raises where it stops."""
    encoder = PlanEncoder(name="ours", weights=str(file))
    way = PlanWay(method="knn")
    cell = Cell(PlanTask(name="bus-bra"), task.splits[0].name, encoder, way, 0)
    seen = look_for_test_images([cell], task_of=lambda _: task, pool_of=lambda _: None)
    whole = Plan(
        tasks=(PlanTask(name="bus-bra"),), encoders=(encoder, PlanEncoder(name="b")), ways=(way,), **allowed
    )
    refuse_contamination(whole, seen, unfinished=[cell])
    return seen_words(seen)["ours"]["bus-bra"]


def test_a_hash_is_found_by_its_first_sixteen_digits():
    seen = SeenImages(np.array([1, 0xFFFFFFFFFFFFFFFF], dtype=np.uint64), ())
    assert seen.holds("0000000000000001" + "a" * 48)
    assert seen.holds("f" * 64)
    assert not seen.holds("0000000000000002" + "a" * 48)
    assert not SeenImages(np.array([], dtype=np.uint64), ()).holds("f" * 64)


def test_what_is_written_is_read_and_equal_pools_give_equal_files(tmp_path):
    words = [f"image {k}" for k in range(200)]
    one = add_hashes(put_on_shelf(tmp_path / "a"), [digest(word) for word in [*words, *words[:50]]])
    two = add_hashes(put_on_shelf(tmp_path / "b"), [digest(word) for word in reversed(words)])
    card = card_of(one)
    assert card is not None
    seen = read_seen(card)
    assert seen is not None
    assert all(seen.holds(digest(word)) for word in words)
    assert not any(seen.holds(digest(f"other {k}")) for k in range(200))
    assert (len(seen.hashes), card.content["seen"]["num_images"], seen.ways) == (200, 200, ((32, "pad"),))
    files = [file.with_suffix(".seen.npy").read_bytes() for file in (one, two)]
    assert files[0] == files[1]
    assert len(files[0]) == 128 + 200 * 8


def test_a_file_of_hashes_that_is_missing_or_another_is_refused(tmp_path):
    file = add_hashes(put_on_shelf(tmp_path), [digest("a")])
    card = card_of(file)
    file.with_suffix(".seen.npy").write_bytes(b"cut")
    with pytest.raises(WeightsError, match="damaged or another file than the card of usfmae_s16 names"):
        read_seen(card)
    file.with_suffix(".seen.npy").unlink()
    with pytest.raises(WeightsError, match=r"usfmae_s16\.seen\.npy: is missing"):
        read_seen(card)


def test_a_part_of_the_pools_would_prove_nothing(tmp_path, caplog):
    place = tmp_path / "pool"
    place.mkdir()
    pq.write_table(pa.table({"content_hash": [digest("a")]}), place / "manifest.parquet")
    whole = {
        "folder": "pool", "place": str(place), "size_px": 32, "fit": "pad",
        "manifest_sha256": file_sha256(place / "manifest.parquet"),
    }  # fmt: skip
    file = tmp_path / "w.safetensors"
    assert write_seen(file, [whole]) is not None
    for other in ({**whole, "place": str(tmp_path)}, {**whole, "manifest_sha256": "0" * 64}):
        assert write_seen(file, [whole, {**other, "folder": "elsewhere"}]) is None
        assert not file.with_suffix(".seen.npy").exists()
    assert caplog.text.count("elsewhere: without its manifest.parquet nobody can look for test images") == 2


def test_without_the_pool_test_images_are_looked_for_by_the_hashes_of_the_card(task, tmp_path, caplog):
    caplog.set_level("WARNING", logger="usfmae")
    clean = add_hashes(put_on_shelf(tmp_path / "a", **BOTH), other_images(task))
    found = said(task, clean)
    num = sum(len(split.test) for split in task.splits)
    assert (found["checked"], found["test_images_in_pool"], found["of"]) == (True, 0, num)
    assert found["near_duplicates_in_pool"] is None  # hashes cannot tell
    assert found["corpus_sha256"] == "feed" * 16
    assert caplog.text == ""
    assert "Near-duplicates were not looked for" in notes_list({"contamination": found, "task": "bus-bra"})
    planted = add_hashes(put_on_shelf(tmp_path / "b", **BOTH), [*other_images(task), of_test_image(task)])
    found = said(task, planted)
    assert (found["checked"], found["test_images_in_pool"]) == (True, 1)
    assert found["first"] == task.items[int(task.splits[0].test[0])].name
    assert "was trained on images of bus-bra, says its card" in caplog.text


def test_pictures_are_hashed_as_the_pool_was_prepared(task, tmp_path):
    hashes = [of_test_image(task, size_px=48, fit="stretch")]
    right = add_hashes(put_on_shelf(tmp_path / "a"), hashes, size_px=48, fit="stretch")
    wrong = add_hashes(put_on_shelf(tmp_path / "b"), hashes, size_px=48, fit="pad")
    assert [said(task, file)["test_images_in_pool"] for file in (right, wrong)] == [1, 0]


def test_a_plan_goes_on_by_the_hashes_and_stops_at_a_planted_test_image(task, tmp_path):
    clean = add_hashes(put_on_shelf(tmp_path / "a", **BOTH), other_images(task))
    num = sum(len(split.test) for split in task.splits)
    words = f"0 exact of {num} test images, by the hashes of its card; near-duplicates were not looked for"
    assert plan(task, clean) == words
    planted = add_hashes(put_on_shelf(tmp_path / "b", **BOTH), [*other_images(task), of_test_image(task)])
    with pytest.raises(LeakError, match=rf"ours has seen 1 of {num} test images of bus-bra"):
        plan(task, planted)
    assert plan(task, planted, allow_contamination=True).startswith(f"1 exact of {num} test images")


def test_a_set_among_those_learnt_from_and_held_out_proves_nothing_by_its_name(task, tmp_path):
    with pytest.raises(SettingError, match="its card names this set among both") as caught:
        plan(task, put_on_shelf(tmp_path, **BOTH))
    assert "name its pool with --corpus DIR" in caught.value.hint
    assert (
        plan(task, put_on_shelf(tmp_path / "b", trained_on=["x"])) == "held out, says the card of its weights"
    )


def test_hashes_of_its_own_pool_do_not_speak_for_what_an_unknown_start_has_seen(task, tmp_path):
    foreign = {"name": "mine.pth", "licence": "not known", "commercial": None, "photographs_only": False}
    start = {"words": "went on from mine.pth", "ultrasound_only": None, "foreign": [foreign]}
    file = add_hashes(put_on_shelf(tmp_path, start=start), other_images(task))
    assert said(task, file)["pools_missing"] == ["mine.pth"]
    with pytest.raises(SettingError, match=r"part of its pool is not at hand \(mine\.pth\)"):
        plan(task, file)
    start["foreign"] = [{**foreign, "photographs_only": True}]
    assert plan(task, add_hashes(put_on_shelf(tmp_path / "b", start=start), other_images(task)))


def test_a_corpus_that_is_none_of_the_cards_does_not_stand_for_its_pool(task, tmp_path):
    nothing = np.zeros((0, 22, 22), dtype=np.uint8)
    wrong = PretrainingPool(frozenset(), nothing, "beef" * 16, ways=((32, "pad"),))
    assert said(task, put_on_shelf(tmp_path / "a"), wrong)["pools_missing"] == ["mixed"]
    planted = add_hashes(put_on_shelf(tmp_path / "b"), [of_test_image(task)])
    assert said(task, planted, wrong)["test_images_in_pool"] == 1
    right = PretrainingPool(frozenset(), nothing, "feed" * 16, ways=((32, "pad"),))
    found = said(task, planted, right)  # the pool itself knows better, near-duplicates included
    assert (found["test_images_in_pool"], found["near_duplicates_in_pool"]) == (0, 0)
    assert "pools_missing" not in found


def test_a_card_without_hashes_says_so(tmp_path):
    card = card_of(put_on_shelf(tmp_path))
    assert json.loads((tmp_path / "usfmae_s16.json").read_text()).get("seen") is None
    assert read_seen(card) is None
