"""How fine-tuned classifiers hold when the pictures shift: each split's own classifier, its own test images.

Nothing is trained or chosen. The test images of a split are changed by each amount of each shift
(`images.shifts`) and shown to the classifier that was kept of that split; the answers of all splits are
scored together (`shift_scores`). The idea is that of corruption benchmarks (Hendrycks and Dietterich 2019,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR), with what differs
between scanners in place of weather.

    OUT/shifts.json     everything, with made_by
        shifts.csv      one row per contender, shift and amount
"""

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from usfmae.base.files import claim_folder, write_json, write_text
from usfmae.base.record import made_by
from usfmae.engine.devices import DeviceName, pick_device, set_up_cpu
from usfmae.evaluate.kept_classifiers import contenders_of, read_kept
from usfmae.evaluate.protocol import TaskSource
from usfmae.evaluate.shift_scores import SHOWN_METRICS, same_images, scored
from usfmae.evaluate.shifted_answers import TOLERANCE, Answers, answers_of, middling_picture
from usfmae.evaluate.shifts_config import ShiftsConfig
from usfmae.images.shifts import SHIFTS

SHIFTS_FILE = "shifts.json"
TABLE_FILE = "shifts.csv"


def evaluate_shifts(
    paths: Sequence[Path],
    data: Path,
    *,
    out: Path,
    config: ShiftsConfig,
    device: DeviceName = "auto",
    overwrite: bool = False,
) -> tuple[dict[str, Any], UInt8[np.ndarray, "s s"]]:
    """Test the kept classifiers of finished fine-tunings on shifted pictures.

    Args:
        paths: folders of `usfmae evaluate finetune` on one task, or cells of a comparison; those that differ
            in nothing but their splits and seeds are joined.
        data: the labelled set that they were tested on.
        out: the folder to write `shifts.json` and `shifts.csv` in.
        config: shifts, amounts and intervals.
        device: where the networks are run.
        overwrite: delete what an earlier call wrote there.

    Returns:
        The content of `shifts.json`, and a test image of middling brightness to show amounts on.

    Raises:
        FolderError: a path is no finished fine-tuning, they are of several tasks, or `out` exists.
        DatasetError: the data are not those of a result, or are prepared in another way.
        WeightsError: a classifier is damaged.
    """
    contenders = contenders_of([read_kept(path) for path in paths])
    claim_folder(out, marker=SHIFTS_FILE, overwrite=overwrite, resumable=False)
    began = time.perf_counter()
    where = pick_device(device)
    set_up_cpu(config.threads)
    source = TaskSource(str(contenders[0].results[0].record["task"]), data)
    amounts = [
        (name, amount)
        for name, all_of in config.chosen().items()
        for amount in all_of
        if amount != SHIFTS[name].neutral
    ]
    tested = [answers_of(contender, source, amounts, where=where) for contender in contenders]
    first = tested[0]
    record = {
        "made_by": made_by("evaluate shifts", settings=config, inputs=_inputs(tested)),
        "task": source.name,
        "classes": list(first.task.classes),
        "positive": None if first.task.positive is None else first.task.classes[first.task.positive],
        "group_kind": first.task.group_kind,
        "shifts": [
            {
                "name": name,
                "unit": SHIFTS[name].unit,
                "neutral": SHIFTS[name].neutral,
                "amounts": list(amounts),
                "means": SHIFTS[name].means,
            }
            for name, amounts in config.chosen().items()
        ],
        "contenders": [scored(one, config, None if one is first else first) for one in tested],
        "notes": _notes(tested),
        "seconds": time.perf_counter() - began,
    }
    write_json(out / SHIFTS_FILE, record)  # first: by it the folder is known
    write_text(out / TABLE_FILE, _table(record))
    return record, middling_picture(first)


def _inputs(tested: Sequence[Answers]) -> dict[str, str]:
    """Hashes of the first task, of others that are prepared in another way, and of every classifier."""
    found = {"task": tested[0].task.sha256()}
    for answers in tested:
        contender, task = answers.contender.name, answers.task.sha256()
        if task != found["task"]:
            found[f"task of {contender}"] = task
        found |= {f"classifier of {contender}, {name}": value for name, value in answers.classifiers.items()}
    return found


def _notes(tested: Sequence[Answers]) -> list[str]:
    """What a reader has to know before curves are compared."""
    notes = [
        "The pictures as they are give the probabilities of the results again (more than "
        f"{TOLERANCE:g} apart would be an error); the largest difference stands with each contender."
    ]
    others = [one.contender.name for one in tested[1:] if not same_images(one, tested[0])]
    if others:
        notes.append(
            f"Not all were tested on the same images: {', '.join(others)} on others than "
            f"{tested[0].contender.name}. Compare the curves' shape, not their height."
        )
    changed = [one.contender.name for one in tested if not one.same_task]
    if changed:
        notes.append(
            f"Pixels, labels or splits are not to the last bit what {', '.join(changed)} recorded, but the "
            "test images, their classes and the answers are the same."
        )
    return notes


def _table(record: dict[str, Any]) -> str:
    """A row per contender, shift and amount, for spreadsheets; an empty cell where nothing is defined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = [
        f"{metric}{what}{end}"
        for metric in SHOWN_METRICS
        for what in ("", "_difference", "_ahead")
        for end in ("", "_low", "_high")
    ]
    writer.writerow(
        ["contender", "shift", "amount", "unit", *numbers, "changed_ratio", "num_images", "num_patients"]
    )
    for one in record["contenders"]:
        for row in one["rows"]:
            cells = [
                (row[what] or {}).get(metric, {}).get(end)
                for metric in SHOWN_METRICS
                for what in ("metrics", "difference", "ahead")
                for end in ("value", "low", "high")
            ]
            unit = SHIFTS[row["shift"]].unit
            writer.writerow(
                [
                    *(one["name"], row["shift"], row["amount"], unit, *cells),
                    *(row["changed_ratio"], one["num_images"], one["num_patients"]),
                ]
            )
    return text.getvalue()
