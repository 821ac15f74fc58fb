from pathlib import Path

import pytest

from usfmae.base.config import make_config
from usfmae.base.errors import SettingError
from usfmae.datasets.card import all_cards
from usfmae.datasets.task_facts import TaskFacts
from usfmae.datasets.task_page import tasks_page

ROOT = Path(__file__).parents[2]
TASKS = {name: card.task for name, card in all_cards().items() if card.task is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"main_metric": "dice"}, "dice is no metric of a task to classify"),
        ({"size_cuts": [0.2, 0.1]}, "size_cuts must ascend"),
        ({"size_cuts": [0.1, 0.1]}, "size_cuts must ascend"),
        ({"size_cuts": [4, 10]}, "less than 1"),
        ({"traps": []}, "traps"),
    ],
)
def test_facts_that_make_no_sense_are_refused(changes, message):
    known = TASKS["bus-bra"].model_dump(mode="json")
    assert make_config(TaskFacts, known) == TASKS["bus-bra"]
    with pytest.raises(SettingError, match=message):
        make_config(TaskFacts, known | changes)


@pytest.mark.parametrize("name", TASKS)
def test_subgroups_are_columns_that_the_reader_keeps(name):
    layout = all_cards()[name].layout
    kept = set(getattr(layout, "extra_columns", ()))
    for table in getattr(layout, "tables", ()):
        kept |= set(table.extras)
    for part in getattr(layout, "parts", ()):
        kept |= set(getattr(part, "extras", {}))
    assert set(TASKS[name].subgroups) <= kept


def test_the_page_of_the_tasks_is_drawn_from_the_cards():
    page = (ROOT / "docs" / "evaluate-tasks.md").read_text()
    assert page == tasks_page(all_cards().values()), "stale: run `make docs`"
    for name, task in TASKS.items():
        assert f"## {name}\n" in page
        assert all(f"- {trap}\n" in page for trap in task.traps)
