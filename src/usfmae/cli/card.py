"""`usfmae card`: weights in half precision with the card that belongs to them."""

from pathlib import Path
from typing import Annotated

import typer

from usfmae.cli.pairs import existing_folder
from usfmae.cli.pretrain import OverwriteOption


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run of pretraining.")],
    name: Annotated[str, typer.Option(help="Under which the weights are to be known, such as usfmae_s16.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.safetensors, NAME.json, NAME.md and NAME.html.")],
    result: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A result or comparison of these weights; may be repeated."),
    ] = None,
    corpus: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Where a corpus of the run is now, if it has moved; may be repeated."
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Network of the run's file, if it does not say so."),
    ] = None,
    averaged: Annotated[
        bool,
        typer.Option("--averaged", help="Take the average of the weights, which runs with ema.decay keep."),
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a run's encoder in half precision, with a model card of its data, licences, numbers, limits."""
    from usfmae.evaluate.card_files import write_card
    from usfmae.evaluate.card_text import summary

    content = write_card(
        existing_folder(run),
        name=name,
        out=out,
        results=result or [],
        corpora=corpus or [],
        encoder=encoder,
        averaged=averaged,
        overwrite=overwrite,
    )
    typer.echo(f"{name}: {summary(content)}")
    file = content["file"]
    typer.echo(f"{out / file['name']}: {file['bytes'] / 1e6:.1f} MB, SHA-256 {file['sha256']}")
    typer.echo(f"open {out / (name + '.html')}")
