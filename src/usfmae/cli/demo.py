"""`usfmae demo`: the whole journey on this machine, on simulated images or on somebody's own."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from usfmae.cli.pairs import existing_folder
from usfmae.cli.pretrain import OverwriteOption, ResumeOption

if TYPE_CHECKING:
    from usfmae.pretrain.config import PretrainConfig

MARKER = "demo.json"
POOL_SEED, LABELLED_SEED = 1, 2


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("demo"),
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Your own images; with class folders or labels.csv also a classifier."
        ),
    ] = None,
    size: Annotated[float, typer.Option(help="Factor on images and epochs; 0.02 is a quick look.")] = 1.0,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Images, corpus, pretraining, fine-tuning from pretrained and from scratch, report: a few minutes."""
    from usfmae.base.files import claim_folder
    from usfmae.evaluate.report import write_report

    claim_folder(out, marker=MARKER, resume=resume, overwrite=overwrite)
    stages = Stages(out)
    labelled: Path | None
    if images is None:
        pool, labelled = simulated(stages, size)
    else:
        pool = existing_folder(images)
        labelled = pool if has_labels(pool) else None
    run = pretrained(stages, pool, labelled if images is None else None, size)
    results = [] if labelled is None else compared(stages, labelled, run, size)
    page = write_report(out / "report.html", title="usfmae demo", runs=[run], results=results)
    typer.echo(f"done in {stages.seconds:.0f} s; open {page}")


class Stages:
    """Runs the stages of the demo one after the other and remembers what is finished, for `--resume`."""

    def __init__(self, out: Path) -> None:
        from usfmae.base.files import read_json, write_json

        self.out = out
        self.done: dict[str, float] = read_json(out / MARKER)["seconds"] if (out / MARKER).exists() else {}
        write_json(out / MARKER, {"seconds": self.done})

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(self.done.values())

    def run(self, name: str, work: Callable[[], object]) -> None:
        """Do `work` unless it is done already."""
        from usfmae.base.files import write_json
        from usfmae.base.logs import get_logger

        if name in self.done:
            return
        get_logger("usfmae.demo").info("%s", name)
        started = time.perf_counter()
        work()
        self.done[name] = round(time.perf_counter() - started, 1)
        write_json(self.out / MARKER, {"seconds": self.done})


def simulated(stages: Stages, size: float) -> tuple[Path, Path]:
    """Draw an unlabelled pool and a small labelled set of other patients; returns both folders."""
    from usfmae.images.simulate.dataset import write_simulated_dataset

    pool, labelled = stages.out / "simulated" / "pool", stages.out / "simulated" / "labelled"
    stages.run(
        "simulate the pool",
        lambda: write_simulated_dataset(
            pool, num_patients=count(300, size, least=12), images_per_patient=4, seed=POOL_SEED,
            labelled=False, overwrite=True,
        ),
    )  # fmt: skip
    stages.run(
        "simulate the labelled patients",
        lambda: write_simulated_dataset(
            labelled, num_patients=count(300, size, least=24), images_per_patient=2, seed=LABELLED_SEED,
            overwrite=True,
        ),
    )  # fmt: skip
    return pool, labelled


def pretrained(stages: Stages, pool: Path, hold_out: Path | None, size: float) -> Path:
    """Build a corpus of the pool and pretrain on it; returns the run's folder."""
    from usfmae.base.files import read_json
    from usfmae.cli.live import live_scores
    from usfmae.corpus.build import build_corpus
    from usfmae.corpus.config import BuildConfig
    from usfmae.corpus.sources import Source
    from usfmae.pretrain.run import pretrain
    from usfmae.pretrain.run_folder import RUN_FILE

    corpus, run = stages.out / "corpus", stages.out / "run"
    held = [] if hold_out is None else [("folder", hold_out)]
    stages.run(
        "build the corpus",
        lambda: build_corpus(
            [Source("pool", pool)],
            out=corpus,
            # Simulated anatomies of other patients look alike on purpose; nobody is on both sides.
            config=BuildConfig(keep_per_cluster=None, hold_out_near=False),
            hold_out=held,
            workers=cores(),
            resume=True,
        ),
    )
    watched = [] if hold_out is None else [live_scores("folder", hold_out, seed=0)]
    config = demo_recipe(size, num_images=read_json(corpus / "corpus.json")["num_images"])
    stages.run(
        "pretrain",
        lambda: pretrain(
            config, corpus, run, recipe="demo", evaluations=watched, watched=["simulated"] * len(watched),
            resume=(run / RUN_FILE).exists(),
        ),
    )  # fmt: skip
    return run


def compared(stages: Stages, labelled: Path, run: Path, size: float) -> list[Path]:
    """Fine-tune from the run and from scratch with the same budget; returns the result folders."""
    from usfmae.cli.evaluate import pretraining_pool
    from usfmae.evaluate.finetune import finetune
    from usfmae.evaluate.finetune_config import finetune_defaults
    from usfmae.evaluate.protocol import load_task

    folders = []
    starts: dict[str, Path | Literal["scratch"]] = {"pretrained": run, "scratch": "scratch"}
    for name, start in starts.items():
        config = finetune_defaults(start).model_copy(
            update={"epochs": max(1.0, FINETUNE_EPOCHS * min(size, 1.0))}
        )
        folder = stages.out / "results" / name
        seen = pretraining_pool(run, ()) if name == "pretrained" else None

        def work(start: Any = start, folder: Path = folder, config: Any = config, seen: Any = seen) -> None:
            task = load_task("folder", labelled, config=config.task)
            finetune(
                task, start, out=folder, config=config, like=run if start == "scratch" else None,
                pretraining_pool=seen, resume=True,
            )  # fmt: skip

        stages.run(f"fine-tune {name}", work)
        folders.append(folder)
    return folders


PRETRAIN_IMAGES = 42_000
"""Images that pass through the network while pretraining, whatever the size of the pool."""

FINETUNE_EPOCHS = 20.0


def demo_recipe(size: float, *, num_images: int) -> "PretrainConfig":
    """ViT-Ti at 96 px; as many epochs as fit into some two minutes."""
    from usfmae.engine.loop import LoopConfig
    from usfmae.engine.optim import OptimConfig
    from usfmae.models.mae import DecoderConfig, MaeConfig
    from usfmae.models.vit import ViTConfig
    from usfmae.pretrain.config import PretrainConfig, WatchConfig

    epochs = max(2.0, round(PRETRAIN_IMAGES * size / num_images, 1))
    return PretrainConfig(
        model=MaeConfig(
            encoder=ViTConfig(size="ti", image_px=96),
            decoder=DecoderConfig(dim=96, num_layers=1, num_heads=3),
            normalised_pixels=False,  # simulated speckle is unpredictable; shapes and shadows are not
        ),
        optim=OptimConfig(lr_per_256=2.5e-3, warmup_epochs=epochs / 10),
        loop=LoopConfig(checkpoint_steps=100, log_steps=5),
        watch=WatchConfig(every_epochs=epochs / 5, num_pictures=6),
        global_batch=64,
        epochs=epochs,
    )


def has_labels(folder: Path) -> bool:
    """Whether a folder says classes: a labels.csv, or at least two folders that hold images."""
    from usfmae.images.read import is_image_path

    if (folder / "labels.csv").exists():
        return True
    kinds = [sub for sub in folder.iterdir() if sub.is_dir()]
    return sum(any(map(is_image_path, sub.iterdir())) for sub in kinds) > 1


def count(full: int, size: float, *, least: int) -> int:
    """A number of patients scaled by `size`."""
    return max(least, round(full * size))


def cores() -> int:
    """Cores that this process may use."""
    import os

    return len(os.sched_getaffinity(0))
