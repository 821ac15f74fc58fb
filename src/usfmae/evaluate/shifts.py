"""How fine-tuned classifiers hold when the pictures shift: each split's own classifier, its own test images.

Nothing is trained or chosen. The test images of a split are changed by each amount of each shift
(`images.shifts`) and shown to the classifier that was kept of that split; the answers of all splits are
scored together, and against those for the pictures as they are on the same draws of patients. The idea is
that of corruption benchmarks (Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations", ICLR), with what differs between scanners in place of weather.

    OUT/shifts.json     everything, with made_by
        shifts.csv      one row per contender, shift and amount
"""

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import UInt8
from pydantic import BeforeValidator, Field, field_validator

from usfmae.base.config import Config
from usfmae.base.files import claim_folder, write_json, write_text
from usfmae.base.record import made_by
from usfmae.engine.devices import DeviceName, pick_device, set_up_cpu
from usfmae.evaluate.kept_classifiers import contenders_of, read_kept
from usfmae.evaluate.metrics import predicted_classes
from usfmae.evaluate.predictions import Predictions
from usfmae.evaluate.protocol import TaskSource
from usfmae.evaluate.shifted_answers import TOLERANCE, Answers, answers_of, middling_picture
from usfmae.evaluate.statistics import BootstrapConfig, paired_difference, score_with_intervals
from usfmae.images.shifts import SHIFTS

SHIFTS_FILE = "shifts.json"
TABLE_FILE = "shifts.csv"

SHOWN_METRICS = ("macro_f1", "auroc")
"""What is scored under each amount."""


def _as_amounts(value: Any) -> Any:
    """`6` and `-6,6` as amounts, as they are typed on a command line."""
    if isinstance(value, str):
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError as error:
            raise ValueError("amounts are numbers with commas between them") from error
    return (value,) if isinstance(value, int | float) else value


Amounts = Annotated[tuple[float, ...], BeforeValidator(_as_amounts)]


class ShiftsConfig(Config):
    """What is tried; amounts in the units of `images.shifts`, none for a shift that is left out."""

    gain: Amounts = SHIFTS["gain"].amounts
    """Overall gain in dB."""

    contrast: Amounts = SHIFTS["contrast"].amounts
    """Display range in dB, 60 as it is."""

    blur: Amounts = SHIFTS["blur"].amounts
    """Deviation of a Gaussian in pixels of the prepared picture."""

    crop: Amounts = SHIFTS["crop"].amounts
    """Side of the central part by that of the whole."""

    bootstrap: BootstrapConfig = BootstrapConfig()
    """Intervals."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None for all that this process may use."""

    @field_validator(*SHIFTS)
    @classmethod
    def _possible(cls, amounts: tuple[float, ...], info: Any) -> tuple[float, ...]:
        """Sorted, each once, without the one that changes nothing, which is always there."""
        shift = SHIFTS[str(info.field_name)]
        low, high = shift.limits
        for amount in amounts:
            if not low <= amount <= high:
                raise ValueError(f"{shift.words(amount)} is not between {low:g} and {high:g}")
        return tuple(sorted(set(amounts) - {shift.neutral}))

    def model_post_init(self, _context: object) -> None:
        if not self.chosen():
            raise ValueError(f"no amount of any shift is left to try ({', '.join(SHIFTS)})")

    def chosen(self) -> dict[str, tuple[float, ...]]:
        """Shifts that are tried, each with its amounts, the neutral one among them, in order."""
        asked = {name: getattr(self, name) for name in SHIFTS}
        return {
            name: tuple(sorted({*amounts, SHIFTS[name].neutral}))
            for name, amounts in asked.items()
            if amounts
        }


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
            in nothing but their splits are joined.
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
        "contenders": [_scored(one, config) for one in tested],
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


def _scored(answers: Answers, config: ShiftsConfig) -> dict[str, Any]:
    """One contender: where it comes from, and a row for each shift and amount."""
    plain, record = answers.plain, answers.contender.results[0].record
    rows: list[dict[str, Any]] = []
    before, num_patients = _metrics(plain, answers, config)
    for name, amounts in config.chosen().items():
        for amount in amounts:
            rows.append({"shift": name, "amount": amount})
            if amount == SHIFTS[name].neutral:
                rows[-1] |= {"metrics": before, "difference": _no_difference(before), "changed_ratio": 0.0}
            else:
                rows[-1] |= _compared(plain, answers.shifted[name, amount], answers, config)
    return {
        "name": answers.contender.name,
        "encoder": record.get("encoder"),
        "init": record.get("init"),
        "seed": record.get("seed"),
        "weights_sha256": [result.record.get("weights_sha256") for result in answers.contender.results],
        "results": [result.where for result in answers.contender.results],
        "splits": list(dict.fromkeys(plain.folds)),
        "num_images": len(plain),
        "num_patients": num_patients,
        "largest_difference": answers.largest_difference,
        "same_task": answers.same_task,
        "rows": rows,
    }


def _metrics(said: Predictions, answers: Answers, config: ShiftsConfig) -> tuple[dict[str, Any], int]:
    scored = score_with_intervals(
        said.labels,
        said.probabilities,
        said.group_ids,
        config=config.bootstrap,
        positive=answers.task.positive,
    )
    return {name: scored.metrics[name].record() for name in SHOWN_METRICS}, scored.num_groups


def _compared(
    plain: Predictions, shifted: Predictions, answers: Answers, config: ShiftsConfig
) -> dict[str, Any]:
    change = paired_difference(
        plain.labels,
        plain.probabilities,
        shifted.probabilities,
        plain.group_ids,
        config=config.bootstrap,
        positive=answers.task.positive,
    )
    otherwise = predicted_classes(plain.probabilities) != predicted_classes(shifted.probabilities)
    return {
        "metrics": _metrics(shifted, answers, config)[0],
        "difference": {name: change[name].record() for name in SHOWN_METRICS},
        "changed_ratio": float(otherwise.mean()),
    }


def _no_difference(metrics: dict[str, Any]) -> dict[str, Any]:
    """Of the pictures from themselves: 0, where the metric is defined."""
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0}
    return {name: metric if metric["value"] is None else nothing for name, metric in metrics.items()}


def _notes(tested: Sequence[Answers]) -> list[str]:
    """What a reader has to know before curves are compared."""
    notes = [
        "The pictures as they are give the probabilities of the results again (more than "
        f"{TOLERANCE:g} apart would be an error); the largest difference stands with each contender."
    ]
    first = set(tested[0].plain.paths)
    others = [one.contender.name for one in tested[1:] if set(one.plain.paths) != first]
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
        for what in ("", "_difference")
        for end in ("", "_low", "_high")
    ]
    writer.writerow(
        ["contender", "shift", "amount", "unit", *numbers, "changed_ratio", "num_images", "num_patients"]
    )
    for one in record["contenders"]:
        for row in one["rows"]:
            cells = [
                row[what][metric][end]
                for metric in SHOWN_METRICS
                for what in ("metrics", "difference")
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
