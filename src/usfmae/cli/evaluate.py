"""`usfmae evaluate knn | linear-probe | finetune`; `segment` is a file of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

import typer

from usfmae.base.config import Config
from usfmae.cli.choices import one_of
from usfmae.cli.pairs import existing_folder
from usfmae.cli.pretrain import DEVICES, DeviceOption, OverwriteOption, ResumeOption, SetOption

if TYPE_CHECKING:
    from usfmae.corpus.shards import Corpus
    from usfmae.evaluate.contamination import PretrainingPool
    from usfmae.evaluate.protocol import TaskConfig

app = typer.Typer(help="What an encoder is worth, with intervals over patients.", no_args_is_help=True)

TaskOption = Annotated[str, typer.Option(metavar="NAME", help="A known dataset, or `folder` for your own.")]
DataOption = Annotated[Path, typer.Option(help="Where the labelled images are.")]
WeightsOption = Annotated[
    str,
    typer.Option(
        metavar="FILE|RUN|scratch|imagenet",
        help="Weights file, run folder, `scratch` for a random start, or `imagenet` (efficientnet-lite0).",
    ),
]
EncoderOption = Annotated[
    str, typer.Option(metavar="NAME", help="Network: vit, or one to compare with, such as resnet-50 or usfm.")
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

Weights = Path | Literal["scratch", "imagenet"]
"""As `evaluate.start` has it, which would import torch before it is needed."""

ConfigT = TypeVar("ConfigT", bound=Config)


@app.command()
def knn(
    task: TaskOption,
    data: DataOption,
    weights: WeightsOption,
    out: OutOption,
    encoder: EncoderOption = "vit",
    like: LikeOption = None,
    corpus: CorpusOption = None,
    device: DeviceOption = "auto",
    settings: SetOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Classify by the nearest training images; nothing is trained."""
    from usfmae.evaluate.frozen import KnnConfig, evaluate_knn

    job = Job(
        task, data, weights, encoder, out, like, corpus or [], device, settings or [], resume, overwrite
    )
    job.run(evaluate_knn, KnnConfig())


@app.command("linear-probe")
def linear_probe(
    task: TaskOption,
    data: DataOption,
    weights: WeightsOption,
    out: OutOption,
    encoder: EncoderOption = "vit",
    like: LikeOption = None,
    corpus: CorpusOption = None,
    device: DeviceOption = "auto",
    settings: SetOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Fit a linear classifier on frozen features."""
    from usfmae.evaluate.frozen import LinearProbeConfig, evaluate_linear_probe

    job = Job(
        task, data, weights, encoder, out, like, corpus or [], device, settings or [], resume, overwrite
    )
    job.run(evaluate_linear_probe, LinearProbeConfig())


@app.command("attentive-probe")
def attentive_probe(
    task: TaskOption,
    data: DataOption,
    weights: WeightsOption,
    out: OutOption,
    encoder: EncoderOption = "vit",
    like: LikeOption = None,
    corpus: CorpusOption = None,
    device: DeviceOption = "auto",
    settings: SetOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Fit a classifier that learns where to look, on frozen tokens."""
    from usfmae.evaluate.frozen import AttentiveProbeConfig, evaluate_attentive_probe

    job = Job(
        task, data, weights, encoder, out, like, corpus or [], device, settings or [], resume, overwrite
    )
    job.run(evaluate_attentive_probe, AttentiveProbeConfig())


@app.command()
def finetune(
    task: TaskOption,
    data: DataOption,
    weights: WeightsOption,
    out: OutOption,
    encoder: EncoderOption = "vit",
    like: LikeOption = None,
    corpus: CorpusOption = None,
    device: DeviceOption = "auto",
    settings: SetOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Train encoder and classifier together, one network per split, for a fixed number of epochs."""
    from usfmae.evaluate.finetune import finetune as run
    from usfmae.evaluate.finetune_config import FinetuneConfig, scratch_config

    job = Job(
        task, data, weights, encoder, out, like, corpus or [], device, settings or [], resume, overwrite
    )
    job.run(run, scratch_config() if weights == "scratch" else FinetuneConfig())


class Job:
    """What the three commands have in common."""

    def __init__(
        self,
        task: str,
        data: Path,
        weights: str,
        encoder: str,
        out: Path,
        like: Path | None,
        corpora: Sequence[Path],
        device: str,
        settings: Sequence[str],
        resume: bool,
        overwrite: bool,
    ) -> None:
        from usfmae.models.encoders import ENCODER_NAMES

        self.task, self.data, self.out, self.like = task, existing_folder(data), out, like
        self.encoder: Any = one_of(ENCODER_NAMES, encoder, flag="--encoder")
        self.weights: Weights = weights_named(weights)
        self.corpora, self.device, self.settings = corpora, device, settings
        self.resume, self.overwrite = resume, overwrite

    def run(self, evaluate: Callable[..., dict[str, Any]], defaults: ConfigT) -> None:
        """Load the task, evaluate, write the report, print the table."""
        from usfmae.base.config import with_settings
        from usfmae.evaluate.protocol import load_task
        from usfmae.evaluate.report import write_report
        from usfmae.evaluate.start import shown_to

        device = one_of(DEVICES, self.device, flag="--device")
        fit, crop = shown_to(self.weights, like=self.like, encoder=self.encoder)
        shown = [f"task.fit={fit}", f"task.crop={crop}", f"encoder={self.encoder}"]
        config: Any = with_settings(defaults, [*shown, *self.settings])
        record = evaluate(
            load_task(self.task, self.data, config=config.task),
            self.weights,
            out=self.out,
            config=config,
            device=device,
            like=self.like,
            pretraining_pool=pretraining_pool(self.weights, self.corpora, task=config.task),
            resume=self.resume,
            overwrite=self.overwrite,
        )
        if "metrics" not in record:
            typer.echo(f"{self.out}: another process is still training {', '.join(record['waiting_for'])}")
            return
        page = write_report(
            self.out / "report.html", title=f"{self.task}: {self.out.name}", results=[self.out]
        )
        print_metrics(record)
        typer.echo(f"open {page}")


def weights_named(words: str) -> Weights:
    """What `--weights` says: a path, or one of two words."""
    if words in ("scratch", "imagenet"):
        return cast(Literal["scratch", "imagenet"], words)
    return Path(words)


def pretraining_pool(
    weights: Weights, corpora: Sequence[Path], *, task: "TaskConfig"
) -> "PretrainingPool | None":
    """The images of all pools that a run was pretrained on; None where none of them is at hand.

    A random start has seen nothing and ImageNet holds photographs, so there is nothing to look up.

    Args:
        weights: a run folder tells its pools, and those of the runs it started from.
        corpora: pools named by the user; those of the run are looked up besides.
        task: pools prepared in another way cannot be compared with.
    """
    from usfmae.base.files import read_json
    from usfmae.base.logs import get_logger
    from usfmae.corpus.shards import CORPUS_FILE, open_corpus
    from usfmae.evaluate.contamination import joint_pool
    from usfmae.pretrain.start import pools_seen

    if not isinstance(weights, Path):
        return None
    opened = [open_corpus(corpus) for corpus in corpora]
    named = {corpus.sha256 for corpus in opened}
    record = weights / "run.json"
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
            get_logger(__name__).warning("%s is no longer the corpus of this run", folder)
        missing.append(str(folder))
    pools = []
    for corpus in opened:
        pool_there = comparable(corpus, task)
        if pool_there is None:
            missing.append(str(corpus.folder))
        else:
            pools.append(pool_there)
    return joint_pool(pools, missing=missing) if pools else None


def comparable(corpus: "Corpus", task: "TaskConfig") -> "PretrainingPool | None":
    """The images of a pool, or None with a warning where its images have another size or fit.

    Hashes are of prepared pixels: prepared in two ways nothing would ever match, and a pool that holds every
    test image would look clean.
    """
    from usfmae.base.logs import get_logger
    from usfmae.evaluate.contamination import PretrainingPool

    if (corpus.size_px, corpus.fit) == (task.size_px, task.fit):
        return PretrainingPool(frozenset(corpus.content_hashes()), corpus.fingerprints(), corpus.sha256)
    get_logger(__name__).warning(
        "contamination is not checked: the corpus has %d px images (%s), the task %d px (%s); "
        "--set task.size_px=%d --set task.fit=%s",
        corpus.size_px, corpus.fit, task.size_px, task.fit, corpus.size_px, corpus.fit,
    )  # fmt: skip
    return None


def print_metrics(record: dict[str, Any]) -> None:
    """The metrics of a result as a table on stdout."""
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
