"""`usfmae embed`."""

from pathlib import Path
from typing import Annotated

import typer

from usfmae.cli.choices import one_of
from usfmae.cli.pretrain import DEVICES, DeviceOption, OverwriteOption, ResumeOption


def embed(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES|FOLDERS...", help="Folders are searched through.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The table: a .parquet file.")] = Path("features.parquet"),
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|RUN",
            help="Weights that ship with the package, a file, a run folder or a checkpoint in it; those that "
            "ship when not given.",
        ),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="Network in a file that does not say so itself.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Of clips and volumes every n-th frame.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Frames in the network at a time.")] = 64,
    device: DeviceOption = "auto",
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """One vector per image or frame, into a Parquet table: path, frame, embedding."""
    from usfmae.base.logs import get_logger
    from usfmae.evaluate.embed_files import EmbedConfig, embed_files
    from usfmae.evaluate.embedder import load

    where = one_of(DEVICES, device, flag="--device")
    embedder = load("default" if weights is None else weights, encoder=encoder).to(where)
    get_logger(__name__).info("%s", embedder)
    record = embed_files(
        files or [],
        embedder,
        out=out,
        config=EmbedConfig(every=every, batch=batch),
        resume=resume,
        overwrite=overwrite,
    )
    unread = record["unreadable"]["count"]
    typer.echo(
        f"{out}: {record['num_rows']:,} frames of {record['num_files'] - unread:,} files, {record['width']} "
        f"numbers each; {unread:,} {'file' if unread == 1 else 'files'} could not be read"
    )
