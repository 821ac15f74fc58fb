"""`usfmae evaluate compare PLAN`."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from usfmae.cli.choices import one_of
from usfmae.cli.pairs import existing_folder
from usfmae.cli.pretrain import DEVICES, DeviceOption, OverwriteOption, ResumeOption

if TYPE_CHECKING:
    from usfmae.evaluate.contamination import PretrainingPool
    from usfmae.evaluate.start import Weights

PAGE = "report.html"
FINDINGS = "comparison.json"
SUBGROUPS = "subgroups.csv"
SECOND = "USFMAE_PLAN_WORKER"
"""Set for the processes that `--jobs` starts, which write no page: their number, or `LAST`."""

LAST = "0"
"""Of those that come after all others, for cells at which one of these was killed, each once."""


def compare(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A .py or .yaml file; see docs/compare.md.")],
    data: Annotated[Path, typer.Option(help="Folder that holds the folders of the plan's tasks.")],
    out: Annotated[Path, typer.Option(help="Folder of the comparison.")],
    corpus: Annotated[
        list[Path] | None,
        typer.Option(help="Corpus that weights were pretrained on, where it is not found by itself."),
    ] = None,
    segment: Annotated[
        list[Path] | None,
        typer.Option(help="Result of usfmae evaluate segment, for the paper's segmentation numbers."),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(min=1, help="Processes that share the cells, each on a GPU of its own."),
    ] = 1,
    device: DeviceOption = "auto",
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Encoders against each other: every task, way and seed of a plan, one budget, one page.

    Exit status 0: every cell is there; 3: some failed, which the page and stderr name, and the rest is done.
    """
    from usfmae.base.files import read_json, write_json
    from usfmae.cli.evaluate import pretraining_pool
    from usfmae.evaluate.plan import read_plan
    from usfmae.evaluate.plan_findings import findings_record
    from usfmae.evaluate.plan_gather import gather
    from usfmae.evaluate.plan_run import PlanRun
    from usfmae.evaluate.report_plan import write_plan_page
    from usfmae.evaluate.report_subgroups import subgroup_rows, write_subgroup_rows
    from usfmae.evaluate.reproduction import reproduction_card, with_segmentations
    from usfmae.evaluate.result import RESULT_FILE

    def pool_of(weights: "Weights") -> "PretrainingPool | None":
        return pretraining_pool(weights, corpus or [])

    segmented = [read_json(existing_folder(folder) / RESULT_FILE) for folder in segment or []]
    with_segmentations(reproduction_card((), ""), segmented)  # what does not belong there is told at once
    cores = len(os.sched_getaffinity(0))
    run = PlanRun(
        read_plan(plan),
        data=existing_folder(data),
        out=out,
        device=one_of(DEVICES, device, flag="--device"),
        pool_of=pool_of,
        threads=max(1, cores // jobs) if jobs > 1 or SECOND in os.environ else None,
    )
    if SECOND in os.environ:
        run.run(look=False, try_killers=os.environ[SECOND] != LAST)
        return
    run.claim(resume=resume, overwrite=overwrite)
    run.refuse_contamination()  # before there are others that would not hear of it
    words = [str(plan), "--data", str(data), "--out", str(out), "--jobs", str(jobs), "--device", device]
    words += [word for folder in corpus or [] for word in ("--corpus", str(folder))]
    others = [_other(words, str(number)) for number in range(1, jobs)]
    run.run(look=False, try_killed=not others, try_killers=not others)
    for other in others:
        other.wait()
    if others:
        left = run.killed()
        while left:  # a cell that kills is no reason to lose this process
            _other(words, LAST).wait()
            before, left = left, run.killed()
            if left == before:
                break
        run.run(look=False, try_killed=False, try_killers=False)
    findings = gather(run)
    findings = replace(findings, card=tuple(with_segmentations(findings.card, segmented)))
    write_json(out / FINDINGS, findings_record(findings))
    if findings.subgroups:
        names = ("task", "encoder", "way")
        by_contender = [(dict(zip(names, key, strict=True)), of) for key, of in findings.subgroups.items()]
        write_subgroup_rows(out / SUBGROUPS, subgroup_rows(by_contender))
    write_plan_page(out / PAGE, findings, title=f"Comparison: {plan.stem}")
    _say(findings_record(findings))
    typer.echo(f"open {out / PAGE}")
    if findings.state.failed:
        raise typer.Exit(3)


def _other(words: list[str], number: str) -> "subprocess.Popen[bytes]":
    """A process that takes cells too; on a machine with several GPUs it sees one of them."""
    import torch

    env = {**os.environ, SECOND: number}
    num_gpus = torch.cuda.device_count()
    if num_gpus > 1:
        env["CUDA_VISIBLE_DEVICES"] = str(int(number) % num_gpus)
    return subprocess.Popen([sys.executable, "-m", "usfmae", "evaluate", "compare", *words], env=env)


def _say(record: dict[str, Any]) -> None:
    """The main numbers on stdout."""
    names = ("task", "way", "encoder")
    wide = {name: max(map(len, [name, *(entry[name] for entry in record["entries"])])) for name in names}
    heads = "  ".join(name.ljust(wide[name]) for name in names)
    typer.echo(f"{heads} {'macro-F1':>24} {'AUROC':>24}")
    for entry in record["entries"]:
        shown = [interval_words(entry["metrics"][name]) for name in ("macro_f1", "auroc")]
        said = "  ".join(entry[name].ljust(wide[name]) for name in names)
        typer.echo(f"{said} {shown[0]:>24} {shown[1]:>24}")
    for one in record["comparisons"]:
        if one["metric"] == "macro_f1" and one["difference"]["value"] is not None:
            holm = one["p_holm"]
            p = "p -" if holm is None else "p < 0.001" if holm < 0.001 else f"p {holm:.3f}"
            where = "  ".join(one[name].ljust(wide[name]) for name in ("task", "way"))
            change = interval_words(one["difference"], signed=True)
            typer.echo(f"{where}  {one['first']} - {one['rival']}: {change}, {p} (Holm)")
    for cell, reason in record["cells"]["failed"].items():
        typer.echo(f"failed: {cell}: {reason}", err=True)


def interval_words(metric: dict[str, Any], *, signed: bool = False) -> str:
    """`value [low, high]` as text, with signs for a difference."""
    sign = "+" if signed else ""
    if metric["value"] is None:
        return "-"
    if metric["low"] is None:
        return f"{metric['value']:{sign}.3f}"
    return f"{metric['value']:{sign}.3f} [{metric['low']:{sign}.3f}, {metric['high']:{sign}.3f}]"
