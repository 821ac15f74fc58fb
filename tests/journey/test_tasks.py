"""Every task of the benchmark through the command line, on a fake of its published layout."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from usfmae.cli.main import main
from usfmae.datasets.card import all_cards
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.registry import read_dataset
from usfmae.evaluate.protocol import TaskConfig, load_task

TASKS = {name: card.task for name, card in all_cards().items() if card.task is not None}
CLASSIFIED = sorted(name for name, facts in TASKS.items() if facts.kind == "classify")
SPLITS = {
    "bus-bra": [f"fold-{fold}" for fold in range(1, 6)],
    "mmotu-2d": ["official"],
    "gist514-db": [f"fold-{fold}" for fold in range(1, 6)],
    "busi": ["grouped-70-10-20"],
    "feft": ["grouped-70-10-20"],
    "cactus": ["grouped-70-10-20"],
}
SMALL = (
    "network.image_px=16",
    "network.patch_px=8",
    "task.size_px=32",
    "threads=1",
    "bootstrap.num_resamples=100",
)


def run(*words) -> int:
    return main([str(word) for word in words])


def knn(name: str, data: Path, out: Path, *settings: str) -> int:
    words = ("evaluate", "knn", "--task", name, "--data", data, "--weights", "scratch", "--out", out)
    return run(*words, *(word for setting in (*SMALL, *settings) for word in ("--set", setting)))


def copied_sides(data: Path, name: str, **settings) -> list[tuple[set[str], set[str], set[str]]]:
    """The groups on each side of each split of a task; excused near-duplicates left out."""
    task = load_task(name, data, config=TaskConfig(size_px=16, **settings))
    return [
        tuple({task.items[i].group for i in np.setdiff1d(side, split.known_leaks).tolist()}
              for side in (split.train, split.val, split.test))
        for split in task.splits
    ]  # fmt: skip


def test_the_tasks_of_the_benchmark_are_all_here():
    assert set(SPLITS) == set(CLASSIFIED)
    assert sorted(name for name, facts in TASKS.items() if facts.kind == "segment") == ["hc18"]


@pytest.mark.parametrize("name", CLASSIFIED)
def test_a_task_runs_and_states_what_it_is(name, tmp_path, capsys):
    data = fake_dataset(name, tmp_path / "data", num_patients=5 * len(all_cards()[name].classes or "ab"))
    assert knn(name, data, tmp_path / "out") == 0
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert [fold["split"] for fold in result["folds"]] == SPLITS[name]
    stated, facts = result["stated"], TASKS[name]
    assert stated["main_metric"] == "macro_f1"
    assert stated["traps"] == list(facts.traps)
    said = capsys.readouterr().out
    page = (tmp_path / "out/report.html").read_text()
    for words in (facts.split, facts.groups, facts.image_policy):
        assert f"{words}\n" in said
    assert said.count("\ntrap: ") == len(facts.traps)
    assert "Known traps" in page
    assert "the whole picture, aspect kept, padded to a square, prepared at 32 px" in page


@pytest.mark.parametrize("name", CLASSIFIED)
def test_no_group_is_on_two_sides_though_patients_lend_images(name, tmp_path):
    num_classes = len(all_cards()[name].classes or "ab")
    data = fake_dataset(name, tmp_path / "data", num_patients=8 * num_classes, near_duplicates=2)
    for train, val, test in copied_sides(data, name):
        assert train
        assert val
        assert test
        assert not train & val
        assert not (train | val) & test


@pytest.mark.parametrize("name", ["busi", "feft", "cactus"])
def test_a_set_without_a_split_is_tested_whole_in_folds_by_group(name, tmp_path):
    num_classes = len(all_cards()[name].classes or "ab")
    data = fake_dataset(name, tmp_path / "data", num_patients=8 * num_classes, near_duplicates=2)
    task = load_task(name, data, config=TaskConfig(size_px=16, carve_folds=4))
    assert [split.name for split in task.splits] == [f"carved-fold-{fold}" for fold in (1, 2, 3, 4)]
    tested = np.concatenate([split.test for split in task.splits])
    assert sorted(tested.tolist()) == list(range(len(task.items)))
    for train, val, test in copied_sides(data, name, carve_folds=4):
        assert not train & val
        assert not (train | val) & test
    chosen = load_task(name, data, config=TaskConfig(size_px=16, carve_folds=4, folds=(3,)))
    assert [split.sha256(chosen.items) for split in chosen.splits] == [task.splits[2].sha256(task.items)]


def test_an_official_split_is_not_replaced_by_folds_of_ones_own(tmp_path, capsys):
    data = fake_dataset("mmotu-2d", tmp_path / "data", num_patients=40)
    assert knn("mmotu-2d", data, tmp_path / "out", "task.carve_folds=3") == 2
    said = capsys.readouterr().err
    assert "mmotu-2d has an official split" in said
    assert "leave task.carve_folds out" in said


def test_frames_of_one_scan_stay_together_by_name_and_by_looks(tmp_path):
    rng = np.random.default_rng(0)
    views = tuple(all_cards()["cactus"].class_names or ())
    for scan in range(24):
        frames = rng.integers(0, 255, (3, 48, 48), dtype=np.uint8)  # of one scan, but nothing alike
        for number, frame in enumerate(frames):
            path = tmp_path / f"Images Dataset/{views[scan % 6]}/{scan % 11}_D{scan}_frame_{number}_v2.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), frame)
    bare = cv2.GaussianBlur(rng.integers(0, 255, (48, 48), dtype=np.uint8), (0, 0), 2)
    for number in range(3):  # no scan in the name, but much alike
        assert cv2.imwrite(str(tmp_path / f"Images Dataset/PL/still_{number}.png"), bare + number)
    found = read_dataset("cactus", tmp_path)
    groups = {item.name.rpartition("/")[2]: item.group for item in found.items}
    assert len({groups[f"{7}_D7_frame_{number}_v2.jpg"] for number in range(3)}) == 1
    assert len({groups[f"still_{number}.png"] for number in range(3)}) == 1
    assert len(set(groups.values())) == 25
    assert {item.extras.get("grade") for item in found.items} == {None, *map(str, range(11))}


def test_heads_are_outlined_by_pregnancy_and_in_millimetres(tmp_path):
    data = fake_dataset("hc18", tmp_path / "data", num_patients=14)
    words = ("evaluate", "segment", "--task", "hc18", "--data", data, "--weights", "scratch")
    small = ("network.image_px=32", "network.patch_px=8", "task.size_px=32", "threads=1", "epochs=1",
             "bootstrap.num_resamples=100")  # fmt: skip
    sets = [word for setting in small for word in ("--set", setting)]
    assert run(*words, "--out", tmp_path / "out", *sets) == 0
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["structures"] == ["fetal head"]
    assert result["hd95_unit"] == "mm"
    assert result["stated"]["main_metric"] == "dice"
    assert result["split"]["name"] == "carved-from-train"
    assert "Known traps" in (tmp_path / "out/report.html").read_text()
    sides = json.loads((tmp_path / "out/splits/carved-from-train.json").read_text())
    exams = {side: {name.split("/")[1][:3] for name in sides[side]} for side in ("train", "val", "test")}
    names = [name for side in exams for name in sides[side]]
    assert len(names) > len(set().union(*exams.values()))  # some have two images
    assert not exams["train"] & exams["val"]
    assert not (exams["train"] | exams["val"]) & exams["test"]


def test_heads_have_no_class_and_the_error_says_what_to_do(tmp_path, capsys):
    data = fake_dataset("hc18", tmp_path / "data", num_patients=6)
    assert knn("hc18", data, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "images of hc18 has a class to tell apart" in said
    assert "usfmae evaluate segment --task hc18" in said
    assert not (tmp_path / "out").exists()
