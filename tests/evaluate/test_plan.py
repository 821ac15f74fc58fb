import pytest

from usfmae.base.errors import SettingError
from usfmae.evaluate.plan import Plan, PlanEncoder, PlanTask, PlanWay, cells_of, read_plan

TEXT = """
tasks: [{name: bus-bra, folds: [2, 3]}]
encoders:
  - {name: ours, weights: "runs/{task}-{split}"}
  - {name: scratch}
ways: [{method: knn}, {method: finetune, label_ratio: 0.1, settings: ["epochs=2"]}]
seeds: [0, 1]
"""


def small(**changes):
    given = {
        "tasks": (PlanTask(name="bus-bra"),),
        "encoders": (PlanEncoder(name="ours", weights="runs/{split}"), PlanEncoder(name="scratch")),
        "ways": (PlanWay(method="finetune"), PlanWay(method="knn", label_ratio=0.25)),
        "seeds": (0, 1),
    }
    return Plan(**(given | changes))


def test_every_combination_is_one_cell_and_cheap_ways_come_first():
    cells = list(cells_of(small(), {"bus-bra": ["fold-2", "fold-3"]}))
    assert len(cells) == len({cell.folder for cell in cells}) == 1 * 2 * 2 * 2 * 2
    assert [cell.way.method for cell in cells] == ["knn"] * 8 + ["finetune"] * 8
    assert cells[0].weights == "runs/fold-2"
    assert str(cells[0].folder) == "cells/bus-bra/fold-2/ours/knn-25pc/seed-0"


def test_frozen_cells_of_the_same_weights_follow_each_other_and_fine_tuning_goes_seed_by_seed():
    cells = list(cells_of(small(), {"bus-bra": ["fold-2", "fold-3"]}))
    told = [(cell.encoder.name, cell.split, cell.seed) for cell in cells]
    assert told[:8] == [
        ("ours", "fold-2", 0), ("ours", "fold-2", 1), ("ours", "fold-3", 0), ("ours", "fold-3", 1),
        ("scratch", "fold-2", 0), ("scratch", "fold-3", 0),
        ("scratch", "fold-2", 1), ("scratch", "fold-3", 1),
    ]  # fmt: skip
    assert [seed for _, _, seed in told[8:]] == [0] * 4 + [1] * 4
    assert [name for name, _, _ in told[8:10]] == ["ours", "scratch"]


def test_a_plan_reads_the_same_from_yaml_and_from_python(tmp_path):
    (tmp_path / "plan.yaml").write_text(TEXT)
    (tmp_path / "plan.py").write_text(
        "from usfmae.evaluate.plan import *\n"
        "def plan():\n"
        "    return Plan(tasks=(PlanTask(name='bus-bra', folds=(2, 3)),),\n"
        "        encoders=(PlanEncoder(name='ours', weights='runs/{task}-{split}'),\n"
        "                  PlanEncoder(name='scratch')),\n"
        "        ways=(PlanWay(method='knn'),\n"
        "              PlanWay(method='finetune', label_ratio=0.1, settings=('epochs=2',))),\n"
        "        seeds=(0, 1))\n"
    )
    assert read_plan(tmp_path / "plan.yaml") == read_plan(tmp_path / "plan.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [", "is no YAML"),
        ("- bus-bra", "holds no plan"),
        (TEXT.replace("finetune", "fine-tune"), "ways.1.method"),
        (TEXT.replace("name: scratch", "name: ours"), "ours is there twice"),
        (
            TEXT.replace("name: ours", "name: ResNet 50").replace("name: scratch", "name: ResNet-50"),
            "'ResNet 50' and 'ResNet-50' would be one folder",
        ),
        (TEXT.replace("name: ours", "name: Scratch"), "'Scratch' and 'scratch' would be one folder"),
        (TEXT.replace("[0, 1]", "[1, 1]"), "a seed is there twice"),
        (TEXT.replace("  - {name: scratch}\n", ""), "encoders"),
        (TEXT.replace("name: ours", "name: ../ours"), "encoders.0.name"),
    ],
)
def test_a_mistake_in_a_plan_is_named(tmp_path, text, message):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(SettingError, match=message):
        read_plan(tmp_path / "plan.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def other(): pass", "AttributeError"),
        ("def plan(): return 3", "returned int, not a Plan"),
        ("def plan(:", "SyntaxError"),
    ],
)
def test_a_python_plan_that_does_not_run_says_so(tmp_path, text, message):
    (tmp_path / "plan.py").write_text(text)
    with pytest.raises(SettingError, match=message):
        read_plan(tmp_path / "plan.py")


def test_a_plan_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingError, match="no such plan"):
        read_plan(tmp_path / "plan.yaml")


def test_only_task_split_and_seed_are_filled_in():
    encoder = PlanEncoder(name="ours", weights="runs/{fold}")
    with pytest.raises(SettingError, match=r"only \{task\}, \{split\} and \{seed\}"):
        encoder.filled(encoder.weights, task="bus-bra", split="fold-2", seed=0)
