"""The page of the tasks on which encoders are compared, drawn from the cards: `docs/evaluate-tasks.md`."""

from collections.abc import Iterable

from usfmae.datasets.card import Card
from usfmae.datasets.catalogue import licence_words, size_words
from usfmae.datasets.task_facts import TaskFacts

COMMANDS = {
    "classify": "`usfmae evaluate knn|linear-probe|attentive-probe|finetune --task {name} --data DIR ...`",
    "segment": "`usfmae evaluate segment --task {name} --data DIR ...`",
}
METRICS = {
    "macro_f1": "macro-F1, with AUROC beside it",
    "dice": "Dice, with IoU, the 95 % Hausdorff distance and COCO mAP beside it",
}


def tasks_page(cards: Iterable[Card]) -> str:
    """The text of `docs/evaluate-tasks.md`."""
    parts = [
        "# Tasks",
        "Drawn from the cards in `src/usfmae/datasets/cards/` by `make docs`; change a card, not this page. "
        "Each result states the same in `result.json` under `stated`, on its page and on stdout. "
        "`--task folder` takes your own images: classes and sides are those of the folders or of "
        "`labels.csv`.",
        "`usfmae datasets fake NAME --root DIR` draws a small copy of a layout, to try a command before the "
        "data are there. No group is ever on two sides; what official lists part nevertheless is "
        "named, and the result is given with and without it. Results are also given by each of the "
        "*subgroups*, and by the share of the picture that is outlined, with the number of patients and a "
        "warning where they are few.",
    ]
    tasks = [(card, card.task) for card in cards if card.task is not None]
    parts += [_section(card, task) for card, task in sorted(tasks, key=lambda pair: pair[0].id)]
    return "\n\n".join(parts) + "\n"


def _section(card: Card, task: TaskFacts) -> str:
    sizes = task.size_cuts or ()
    bounds = " and ".join(f"{100 * cut:g} %" for cut in sizes) or "thirds of the training images"
    rows = {
        "command": COMMANDS[task.kind].format(name=card.id),
        "what": f"{card.title}; {size_words(card)}; licence {licence_words(card)}",
        "classes": ", ".join(card.class_names or ()) or "-",
        "split": task.split,
        "never parted": task.groups,
        "main metric": METRICS[task.main_metric],
        "image policy": task.image_policy,
        "subgroups": ", ".join(task.subgroups) or "-",
        "bounds of size": bounds if card.masks else "-",
    }
    table = [f"| {name} | {words.replace('|', chr(92) + '|')} |" for name, words in rows.items()]
    traps = [f"- {trap}" for trap in task.traps]
    return "\n".join([f"## {card.id}", "", "| | |", "|---|---|", *table, "", "Known traps:", "", *traps])
