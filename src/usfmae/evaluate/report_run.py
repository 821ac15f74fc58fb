"""The part of a report about one pretraining run: facts, curves, pictures."""

from collections import defaultdict
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np

from usfmae.base.page import UNKNOWN, count, duration, number, sentences
from usfmae.evaluate.report_adaptation import adaptation_section
from usfmae.evaluate.report_charts import Line, line_chart
from usfmae.evaluate.report_folders import RunFolder
from usfmae.evaluate.report_words import is_number, metric_name
from usfmae.images.picture_tag import picture

MAX_SHOWN, MAX_SAMPLES = 4, 8

METERS = (
    ("grad_norm", "Norm of the gradient", "Norm of the gradient, before clipping", False),
    ("images_per_s", "Speed", "Images per second", False),
    ("data_wait", "Waiting for data", "Share of the time spent waiting for data", True),
    ("mfu", "Utilisation", "Share of the measured matmul rate", True),
)
"""Numbers of training lines, drawn where they are there: name, title, label, whether it is a ratio."""

VERDICT_NOTE = """Judged by the mean of a task's scores. A learning rate that runs out flattens every curve:
flat at the end of a schedule does not say that a longer schedule would give no more."""


def run_section(run: RunFolder) -> str:
    """HTML of a run."""
    return "".join(
        [
            f"<section><h2>Pretraining: {escape(run.path.name)}</h2>",
            sentences(run.problems),
            _facts(run),
            adaptation_section(run),
            _samples(run),
            _curves(run),
            _watched(run),
            _reconstructions(run),
            "</section>",
        ]
    )


def _facts(run: RunFolder) -> str:
    record = run.record
    corpus = record.get("corpus") or {}
    parameters = record.get("num_parameters") or {}
    if isinstance(parameters, dict):
        sizes = ", ".join(
            f"{name} {value / 1e6:.2f} M" for name, value in parameters.items() if isinstance(value, int)
        )
    else:
        sizes = f"{parameters / 1e6:.2f} M"
    facts = {
        "Recipe": escape(str(record.get("recipe", UNKNOWN))),
        "State": escape(str(record.get("status", UNKNOWN))),
        "Images": count(corpus.get("num_images")),
        "Steps": f"{count(_steps_done(run))} of {count(record.get('total_steps'))}",
        "Parameters": sizes or UNKNOWN,
        "Device": escape(str(record.get("device", UNKNOWN))),
        "Time": duration(record.get("seconds")),
        "Peak memory": f"{number(record.get('peak_memory_gb'), 2)} GB",
        "Corpus": f"<code>{escape(str(corpus.get('sha256', UNKNOWN))[:12])}</code>",
        **_teacher(record.get("teacher")),
    }
    shown = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{shown}</dl>'


def _teacher(facts: Any) -> dict[str, str]:
    """Whose features were learnt beside the pixels; nothing where there was no teacher."""
    if not isinstance(facts, dict):
        return {}
    name = "its own average" if facts.get("kind") == "self" else str(facts.get("encoder", UNKNOWN))
    learnt = f" ({facts['trained_on']})" if facts.get("trained_on") else ""
    return {"Teacher": escape(name + learnt)}


def _steps_done(run: RunFolder) -> Any:
    """What the record says, or the last step logged while the run goes on."""
    logged = [line["step"] for line in run.lines if isinstance(line.get("step"), int)]
    return max([run.record.get("steps_done") or 0, *logged])


def _samples(run: RunFolder) -> str:
    if not run.pictures:
        return ""
    frames = run.pictures[-1].original[:MAX_SAMPLES]
    shown = "".join(picture(frame, said=f"Sample frame {i + 1}") for i, frame in enumerate(frames))
    return f'<h3>Sample frames</h3><p>As the network gets them.</p><div class="strip">{shown}</div>'


def _curves(run: RunFolder) -> str:
    lines = [line for line in run.of_kind("train") if _finite(line, "loss")]
    if not lines:
        return "<h3>Loss</h3><p>No training step was logged.</p>"
    epochs = [_place(line) for line in lines]
    unit = "epoch" if "epoch" in lines[0] else "step"
    losses = [float(line["loss"]) for line in lines]
    parts = list(dict.fromkeys(name for line in lines for name in line if name.startswith("loss_")))
    charts = [
        line_chart(
            [Line("", epochs, losses)], title="Loss while training", x_label=unit.capitalize(),
            y_label="Loss (sum of weighted parts)" if parts else "Loss (mean square, hidden patches)",
        )
    ]  # fmt: skip
    for name in parts:
        measured = [line for line in lines if _finite(line, name)]
        drawn = Line("", [_place(line) for line in measured], [float(line[name]) for line in measured])
        part = name.removeprefix("loss_")
        label = f"{part.capitalize()}, before its weight"
        charts.append(line_chart([drawn], title=f"Loss: {part}", x_label=unit.capitalize(), y_label=label))
    if all(_finite(line, "lr") for line in lines):
        rates = np.array([line["lr"] for line in lines], dtype=float)
        power = int(np.floor(np.log10(1.5 * rates.max()))) if rates.max() > 0 else 0
        charts.append(
            line_chart(
                [Line("", epochs, (rates / 10.0**power).tolist())],
                title="Learning rate",
                x_label=unit.capitalize(),
                y_label=f"Learning rate (1e{power})",
            )
        )
    tail = max(1, len(losses) // 20)
    speeds = [float(line["images_per_s"]) for line in lines if _finite(line, "images_per_s")]
    for name, title, label, ratio in METERS:
        if measured := [line for line in lines if _finite(line, name)]:
            drawn = Line("", [_place(line) for line in measured], [float(line[name]) for line in measured])
            charts.append(
                line_chart([drawn], title=title, x_label=unit.capitalize(), y_label=label, ratio=ratio)
            )
    said = f"<p>Loss from <b>{number(np.mean(losses[:tail]))}</b> to <b>{number(np.mean(losses[-tail:]))}</b>"
    said += f", {np.median(speeds):,.0f} images per second.</p>" if speeds else ".</p>"
    said += _trouble(run)
    return f'<h3>Loss, learning rate and speed</h3>{said}<div class="charts">{"".join(charts)}</div>'


def _trouble(run: RunFolder) -> str:
    """Steps that were left out, and losses that jumped."""
    said = []
    if bad := [line for line in run.of_kind("bad_step") if _finite(line, "at")]:
        steps = _first(str(line["at"]) for line in bad)
        said.append(
            f"<b>{len(bad)}</b> updates were left out, loss or gradient not a finite number: step {steps}."
        )
    if jumps := [line for line in run.of_kind("spike") if _finite(line, "at") and _finite(line, "loss")]:
        steps = _first(f"{line['at']} ({number(line['loss'])})" for line in jumps)
        said.append(f"<b>{len(jumps)}</b> jumps of the loss, the first batches in spikes/: step {steps}.")
    return f"<p>{' '.join(said)}</p>" if said else ""


def _first(names: Iterable[str]) -> str:
    shown = list(names)
    return escape(", ".join(shown[:MAX_SAMPLES])) + (" ..." if len(shown) > MAX_SAMPLES else "")


def _watched(run: RunFolder) -> str:
    curves: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for line in run.of_kind("watch"):
        if _finite(line, "value"):
            curves[str(line.get("metric", "value"))][str(line.get("task", ""))].append(line)
    title = "<h3>What the encoder is worth along the way</h3>"
    if not curves:
        return f"{title}<p>No labelled set was watched while training.</p>"
    charts = []
    said = []
    for metric, tasks in curves.items():
        drawn = []
        for task, looks in tasks.items():
            whole = all(_finite(look, "low") and _finite(look, "high") for look in looks)
            drawn.append(
                Line(
                    f"{task}, with 95 % interval" if whole else task,
                    [_place(look) for look in looks],
                    [look["value"] for look in looks],
                    [look["low"] for look in looks] if whole else None,
                    [look["high"] for look in looks] if whole else None,
                    dots=True,
                )
            )
            first, last = number(looks[0]["value"]), number(looks[-1]["value"])
            said.append(f"{escape(metric_name(metric))} on {escape(task)}: <b>{first}</b> → <b>{last}</b>.")
        name = metric_name(metric)
        ratio = metric != "feature_rank" and not metric.endswith("_loss")
        charts.append(
            line_chart(drawn, title=f"{name} over the epochs", x_label="Epoch", y_label=name, ratio=ratio)
        )
    return f'{title}{_verdicts(run)}<p>{" ".join(said)}</p><div class="charts">{"".join(charts)}</div>'


def _verdicts(run: RunFolder) -> str:
    """What the curves say, task by task, as run.json has it."""
    verdicts = run.record.get("verdicts")
    if not isinstance(verdicts, dict) or not verdicts:
        return ""
    said = [
        f"<b>{escape(task)}</b>: {escape(str(verdict.get('verdict', UNKNOWN)))}."
        for task, verdict in verdicts.items()
        if isinstance(verdict, dict)
    ]
    return f"<p>{'<br>'.join(said)}</p><p>{VERDICT_NOTE}</p>"


def _reconstructions(run: RunFolder) -> str:
    if not run.pictures:
        return "<h3>Reconstructions</h3><p>No pictures were kept.</p>"
    looks = run.pictures
    columns = [
        ("What it saw", looks[-1].visible),
        *((_when(run, look.step), look.reconstructed) for look in looks),
        ("Original", looks[-1].original),
    ]
    heads = "".join(f"<th>{escape(name)}</th>" for name, _ in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{picture(part[i], said=name)}</td>" for name, part in columns) + "</tr>"
        for i in range(min(MAX_SHOWN, min(len(part) for _, part in columns)))
    )
    return (
        "<h3>Reconstructions</h3><p>From the visible patches on the left the network fills in the hidden "
        "ones; the same images and patches at every look.</p>"
        f'<div class="scroll"><table class="triplets"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _when(run: RunFolder, step: int) -> str:
    """The epoch of a step, told from the lines around it."""
    known = [
        (line["step"], line["epoch"])
        for line in run.lines
        if _finite(line, "step") and _finite(line, "epoch")
    ]
    steps = {int(one): epoch for one, epoch in known}
    if step == 0:
        return "Before training"
    if not known:
        return f"Step {step:,}"
    last_step, last_epoch = max(known)
    return f"Epoch {steps.get(step, step * last_epoch / max(last_step, 1)):.3g}"


def _place(line: dict[str, Any]) -> float:
    return float(line["epoch"] if _finite(line, "epoch") else line.get("step", 0))


def _finite(line: dict[str, Any], name: str) -> bool:
    return is_number(line.get(name))
