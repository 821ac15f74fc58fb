"""`usfmae pretrain` and `usfmae recipes`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from usfmae.cli.choices import one_of
from usfmae.cli.pairs import existing_folder, named_folders

Weights = Path | Literal["scratch", "imagenet"]
"""As `evaluate.start` has it, which would import torch before it is needed."""

DEVICES: tuple[Literal["auto", "cpu", "cuda"], ...] = ("auto", "cpu", "cuda")
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="One setting, e.g. optim.lr_per_256=1e-4; may be repeated."
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on exactly where an earlier run stopped.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Delete an earlier run in --out first.")]
DeviceOption = Annotated[str, typer.Option(metavar="|".join(DEVICES), help="Where to run.")]


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this one, with its settings.")] = None,
) -> None:
    """List the named runs, or show one with command, cost, expected result and every setting."""
    from usfmae.recipes.registry import get_recipe, recipe_names, recipe_notes

    if name is None:
        for known in recipe_names():
            typer.echo(f"{known:16} {recipe_notes(known).splitlines()[0]}")
        return
    config = get_recipe(name)
    if name in recipe_names():
        typer.echo(recipe_notes(name))
    typer.echo(config.model_dump_json(indent=2))


def pretrain(
    recipe: Annotated[
        str, typer.Argument(help="A recipe (see `usfmae recipes`) or the folder of an earlier run.")
    ],
    corpus: Annotated[Path, typer.Option(help="Made by `usfmae corpus build`.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|RUN|scratch|imagenet",
            help="Start from weights that ship with the package, an MAE, timm or Hugging Face file, a run, "
            "RUN/checkpoints/step_X, or `imagenet` (recipes of a convolutional network); `scratch`, the "
            "default, is a random start.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    watch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="Labelled set to score while training (nearest neighbours, linear probe); may be repeated.",
        ),
    ] = None,
    settings: SetOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Pretrain a masked autoencoder on a corpus; --out gets weights, curves, pictures and report.html."""
    from usfmae.base.config import with_settings
    from usfmae.base.launch import launched
    from usfmae.cli.live import live_scores
    from usfmae.corpus.shards import open_corpus
    from usfmae.evaluate.report import write_run_page
    from usfmae.models.shipped import weights_named
    from usfmae.pretrain.run import pretrain as run
    from usfmae.recipes.registry import get_recipe

    start = weights_named(weights or "scratch")
    watched = named_folders(watch or [], flag="--watch")
    config = with_settings(get_recipe(recipe), settings or [])
    pool = open_corpus(existing_folder(corpus))
    record = run(
        config,
        corpus,
        out,
        recipe=recipe,
        weights=None if start == "scratch" else start,
        device=one_of(DEVICES, device, flag="--device"),
        evaluations=[
            live_scores(name, root, seed=config.seed, fit=pool.fit, crop=pool.crop)
            for name, root in (watched if launched().leads else ())
        ],
        watched=[f"{name}={root}" for name, root in watched],
        write_page=write_run_page,
        resume=resume,
        overwrite=overwrite,
    )
    if not launched().leads:
        return
    for task, verdict in record.get("verdicts", {}).items():
        typer.echo(f"{task}: {verdict['verdict']}")
    typer.echo(
        f"{out}: {record['steps_done']} steps in {record['seconds']:.0f} s; open {out / 'report.html'}"
    )
