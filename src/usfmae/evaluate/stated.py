"""What a task states of itself in every result: split, groups, main metric, image policy, known traps."""

from typing import Any

from usfmae.datasets.task_facts import MainMetric
from usfmae.evaluate.protocol import Task

SHOWN = {
    "pad": "aspect kept, padded to a square",
    "stretch": "stretched to a square (aspect lost, as the weights have learnt)",
}


def statement(task: Task, *, main_metric: MainMetric) -> dict[str, Any]:
    """For `result.json` and the pages.

    Args:
        task: with the facts of its card, where somebody has written them.
        main_metric: of this kind of evaluation, whatever the card's own task is.

    Returns:
        `split`, `groups`, `main_metric`, `image_policy` and `shown` (what was done here) as words, and
        `traps` as a list of sentences.
    """
    facts, config = task.facts, task.config
    crop = "the sector only" if config.crop == "sector" else "the whole picture"
    names = ", ".join(split.name for split in task.splits)
    return {
        "split": facts.split if facts else names,
        "groups": facts.groups if facts else f"{task.group_kind}s",
        "main_metric": main_metric,
        "image_policy": facts.image_policy if facts else "as shown here",
        "shown": f"{crop}, {SHOWN[config.fit]}, prepared at {config.size_px} px",
        "traps": list(facts.traps) if facts else [],
    }
