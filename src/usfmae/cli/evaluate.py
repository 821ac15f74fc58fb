"""`usfmae evaluate knn | linear-probe | finetune`; `segment` is a file of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from usfmae.cli.choices import one_of
from usfmae.cli.pairs import existing_folder
from usfmae.cli.pretrain import (
    DEVICES,
    DeviceOption,
    OverwriteOption,
    ResumeOption,
    SetOption,
    Weights,
)

if TYPE_CHECKING:
    from usfmae.evaluate.contamination import PretrainingPool

app = typer.Typer(help="What an encoder is worth, with intervals over patients.", no_args_is_help=True)

TaskOption = Annotated[str, typer.Option(metavar="NAME", help="A known dataset, or `folder` for your own.")]
DataOption = Annotated[Path, typer.Option(help="Where the labelled images are.")]
WeightsOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE|RUN|scratch|imagenet",
        help="Weights that ship with the package, a file, a run folder or a checkpoint in it, `scratch` for "
        "a random start, or `imagenet` (efficientnet-lite0).",
    ),
]
DefaultWeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE|RUN|scratch|imagenet",
        help="Weights that ship with the package, a file, a run folder or a checkpoint in it, `scratch` for "
        "a random start, or `imagenet` (efficientnet-lite0); those that ship when not given.",
    ),
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Network: vit, or one to compare with, such as resnet-50 or usfm; runs say what they hold.",
    ),
]
OutOption = Annotated[Path, typer.Option(help="Folder of the result.")]
LikeOption = Annotated[
    Path | None, typer.Option(help="With --weights scratch: take the shape and input of these weights.")
]
CorpusOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Corpus the weights were pretrained on; found by itself when its folder is still there. "
        "May be repeated."
    ),
]


def _add(method: str, sentence: str) -> None:
    """A command of its own for each way to use an encoder; all take the same options."""

    def command(
        task: TaskOption,
        data: DataOption,
        out: OutOption,
        weights: DefaultWeightsOption = None,
        encoder: EncoderOption = None,
        like: LikeOption = None,
        corpus: CorpusOption = None,
        device: DeviceOption = "auto",
        settings: SetOption = None,
        resume: ResumeOption = False,
        overwrite: OverwriteOption = False,
    ) -> None:
        from usfmae.base.config import with_settings
        from usfmae.evaluate.methods import METHODS
        from usfmae.evaluate.protocol import load_task
        from usfmae.evaluate.report import write_report
        from usfmae.evaluate.start import encoder_of, shown_to
        from usfmae.models.encoders import ENCODER_NAMES
        from usfmae.models.shipped import file_named

        way = METHODS[cast(Any, method)]
        asked: Any = None if encoder is None else one_of(ENCODER_NAMES, encoder, flag="--encoder")
        where = one_of(DEVICES, device, flag="--device")
        folder, start = existing_folder(data), weights_or_default(weights)
        network, like = encoder_of(start, asked), file_named(like)
        fit, crop = shown_to(start, like=like, encoder=network)
        shown = [f"task.fit={fit}", f"task.crop={crop}", f"encoder={network}"]
        config: Any = with_settings(way.defaults(start, network), [*shown, *(settings or [])])
        record = way.evaluate(
            load_task(task, folder, config=config.task),
            start,
            out=out,
            config=config,
            device=where,
            like=like,
            pretraining_pool=pretraining_pool(start, corpus or []),
            resume=resume,
            overwrite=overwrite,
        )
        if "metrics" not in record:
            typer.echo(f"{out}: another process is still training {', '.join(record['waiting_for'])}")
            return
        page = write_report(out / "report.html", title=f"{task}: {out.name}", results=[out])
        print_metrics(record)
        typer.echo(f"open {page}")

    app.command(method, help=sentence)(command)


_add("knn", "Classify by the nearest training images; nothing is trained.")
_add("linear-probe", "Fit a linear classifier on frozen features.")
_add("attentive-probe", "Fit a classifier that learns where to look, on frozen tokens.")
_add(
    "finetune", "Train encoder and classifier together, one network per split, for a fixed number of epochs."
)


def weights_or_default(words: str | None) -> Weights:
    """What `--weights` says, or without it the weights that ship with the package.

    Raises:
        WeightsError: nothing was said and nothing is shipped, or a shipped file is not what its card says.
    """
    from usfmae.base.logs import get_logger
    from usfmae.models.shipped import default_file, weights_named

    if words is not None:
        return weights_named(words)
    file = default_file()
    get_logger(__name__).info("no --weights were given: %s", file.stem)
    return file


def pretraining_pool(weights: Weights, corpora: Sequence[Path]) -> "PretrainingPool | None":
    """The images of all pools that a run was pretrained on; None where none of them is at hand.

    A random start has seen nothing and ImageNet holds photographs, so there is nothing to look up.

    Args:
        weights: a run folder, or a checkpoint or a weights file in one, tells its pools and those of the
            runs it started from.
        corpora: pools named by the user; those of the run are looked up besides.
    """
    from usfmae.base.files import read_json
    from usfmae.base.logs import get_logger
    from usfmae.corpus.shards import CORPUS_FILE, open_corpus
    from usfmae.evaluate.contamination import PretrainingPool, joint_pool
    from usfmae.models.checkpoint_weights import run_of
    from usfmae.pretrain.start import pools_seen

    if not isinstance(weights, Path):
        return None
    log = get_logger(__name__)
    opened = [open_corpus(corpus) for corpus in corpora]
    named = {corpus.sha256 for corpus in opened}
    record = run_of(weights) / "run.json"
    missing = []
    for pool in pools_seen(read_json(record)) if record.exists() else []:
        folder = Path(pool["folder"])
        if pool["sha256"] in named:
            continue
        corpus = open_corpus(folder) if (folder / CORPUS_FILE).exists() else None
        if corpus is not None and corpus.sha256 == pool["sha256"]:
            opened.append(corpus)
            continue
        if corpus is not None:
            log.warning("%s is no longer the corpus of this run", folder)
        missing.append(str(folder))
    if not opened:
        if missing:
            log.warning("the pools of %s are not at hand: %s", weights, ", ".join(missing))
        return None
    pools = [
        PretrainingPool(
            frozenset(corpus.content_hashes()),
            corpus.fingerprints(),
            corpus.sha256,
            ways=((corpus.size_px, corpus.fit),),
        )
        for corpus in opened
    ]
    return joint_pool(pools, missing=missing)


def print_metrics(record: dict[str, Any]) -> None:
    """The metrics of a result as a table on stdout, and before it what the task states of itself."""
    stated = record.get("stated") or {}
    for name in ("split", "groups", "main_metric", "image_policy"):
        if name in stated:
            typer.echo(f"{name.replace('_', ' ')}: {stated[name]}")
    for trap in stated.get("traps", ()):
        typer.echo(f"trap: {trap}")
    typer.echo(
        f"{record['task']}, {record['method']}, {record.get('encoder', 'vit')} {record['init']}: "
        f"{record['num_images']} test images of {record['num_patients']} "
        f"{record.get('group_kind', 'patient')}s"
    )
    typer.echo(f"{'metric':20} {'value':>8}  95 % interval")
    for name, metric in record["metrics"].items():
        if metric["value"] is None:
            typer.echo(f"{name:20} {'-':>8}  {metric.get('why', '')}")
        elif metric["low"] is None:
            typer.echo(f"{name:20} {metric['value']:8.3f}  {metric.get('why', '')}")
        else:
            typer.echo(f"{name:20} {metric['value']:8.3f}  [{metric['low']:.3f}, {metric['high']:.3f}]")
