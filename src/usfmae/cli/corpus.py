"""`usfmae corpus build | simulate | verify | show | audit`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from usfmae.cli.choices import one_of
from usfmae.cli.pairs import named_folders, named_values
from usfmae.cli.pretrain import OverwriteOption, ResumeOption, SetOption

ENGINES: tuple[Literal["processes", "ray"], ...] = ("processes", "ray")

app = typer.Typer(help="Pools of unlabelled images: build, check, look.", no_args_is_help=True)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder of the corpus.")],
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="A known dataset; see `usfmae datasets list`."),
    ] = None,
    images: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Any folder of images, searched through.")
    ] = None,
    licence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SPDX", help="Licence of the --images folder of that name, e.g. liver=CC-BY-4.0."
        ),
    ] = None,
    anatomy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=GROUP", help="What the --images folder of that name shows, e.g. abdomen."),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR", help="A labelled set whose images and near-duplicates of them stay out."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; all cores when not given.")] = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="|".join(ENGINES), help="Processes of this machine, or a Ray cluster ($RAY_ADDRESS)."
        ),
    ] = "processes",
    settings: SetOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Read, prepare and store images as a pool for pretraining."""
    import os

    from usfmae.base.config import with_settings
    from usfmae.corpus.build import build_corpus
    from usfmae.corpus.config import BuildConfig
    from usfmae.corpus.sources import Source

    engine_name = one_of(ENGINES, engine, flag="--engine")
    config = with_settings(BuildConfig(), settings or [])
    sources = [Source(name, root, name) for name, root in named_folders(dataset or [], flag="--dataset")]
    names = [root.resolve().name for root in images or []]
    licences = named_values(licence or [], names=names, flag="--licence")
    shown = named_values(anatomy or [], names=names, flag="--anatomy")
    sources += [
        Source(name, root, licence=licences.get(name), anatomy=shown.get(name))
        for name, root in zip(names, images or [], strict=True)
    ]
    corpus = build_corpus(
        sources,
        out=out,
        config=config,
        hold_out=named_folders(hold_out or [], flag="--hold-out"),
        workers=workers or len(os.sched_getaffinity(0)),
        engine=engine_name,
        resume=resume,
        overwrite=overwrite,
    )
    typer.echo(f"{out}: {len(corpus)} images from {len(sources)} sources in {corpus.record['seconds']:.0f} s")


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="New folder of PNG files, for --images of `corpus build`.")],
    patients: Annotated[int, typer.Option(min=1, help="Simulated people.")] = 250,
    planes: Annotated[int, typer.Option(min=1, help="Images of each.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Other people with every seed.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; all cores when not given.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw unlabelled B-mode images of simulated tissue, as a source of a small pool."""
    from usfmae.images.simulate.dataset import write_simulated_dataset

    drawn = write_simulated_dataset(
        out, num_patients=patients, images_per_patient=planes, seed=seed, labelled=False, workers=workers,
        overwrite=overwrite,
    )  # fmt: skip
    typer.echo(f"{out}: {len(drawn)} images of {patients} simulated patients")
    licence = f"--licence {out.resolve().name}=CC0-1.0"  # without it the whole pool's terms are not known
    typer.echo(f"go on with: usfmae corpus build --images {out} {licence} --images YOURS --out CORPUS")


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="A corpus.")]) -> None:
    """Check every byte of a corpus against its checksums."""
    from usfmae.corpus.shards import verify_corpus

    typer.echo(f"{folder}: {verify_corpus(folder)} files are what they were when built")


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="A corpus.")],
    montage: Annotated[
        Path | None, typer.Option(help="Also draw some images of each source into this PNG.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with pictures of every source.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what is in a corpus, and what was left out and why."""
    import json

    from usfmae.corpus.page import write_corpus_page
    from usfmae.corpus.shards import open_corpus
    from usfmae.corpus.show import corpus_montage, describe_corpus

    corpus = open_corpus(folder)
    facts = describe_corpus(corpus)
    if montage is not None:
        _write_png(montage, corpus_montage(corpus))
    if page is not None:
        write_corpus_page(corpus, page)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(
        f"{folder}: {facts['num_images']} images of {facts['num_groups']} groups, {facts['size_px']} px, "
        f"{facts['gigabytes']} GB"
    )
    typer.echo(f"{'source':24} {'files':>8} {'images':>8} {'groups':>8}  licence")
    for source in facts["sources"]:
        typer.echo(
            f"{source['name']:24} {source['num_files']:8} {source['num_images']:8} {source['num_groups']:8}  "
            f"{source['licence'] or 'not stated'}"
        )
    typer.echo(f"together: {facts['terms']}")
    for reason, count in facts["left_out"].items():
        if count:
            typer.echo(f"left out, {reason.replace('_', ' ')}: {count}")
    for name, held in facts["held_out"].items():
        near = held.get("near_duplicates_in_pool")
        looked = "near-duplicates were not looked for" if near is None else f"and {near} near-duplicates"
        found = f"{held['found_in_pool']} of its {held['images']} images were found and removed"
        typer.echo(f"held out {name}: {found}, {looked}")
    if page is not None:
        typer.echo(f"open {page}")


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(help="A corpus.")],
    against: Annotated[
        list[str], typer.Option(metavar="NAME=DIR", help="A labelled set that must not be in it.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the audit; audits/NAME in the corpus when not given.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; all cores when not given.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Look for images of labelled sets in a corpus: exit status 0 is clean, 3 is matches found."""
    import os

    from usfmae.corpus.audit import PAGE_FILE, audit_corpus
    from usfmae.corpus.hold_out import set_name
    from usfmae.corpus.shards import open_corpus

    sets = named_folders(against, flag="--against")
    place = out or folder / "audits" / "+".join(dict.fromkeys(set_name(name, root) for name, root in sets))
    record = audit_corpus(
        open_corpus(folder),
        sets,
        out=place,
        workers=workers or len(os.sched_getaffinity(0)),
        overwrite=overwrite or out is None,
    )
    for name, entry in record["sets"].items():
        typer.echo(
            f"{name}: {entry['labelled_images_found_exact']} of {entry['images']} images are in the pool, "
            f"{entry['labelled_images_found_near']} more look like one there"
        )
    typer.echo(f"{record['verdict']}: open {place / PAGE_FILE}")
    if record["verdict"] != "clean":
        raise typer.Exit(3)


def _write_png(path: Path, image: object) -> None:
    import cv2
    import numpy as np

    from usfmae.base.files import write_bytes

    done, encoded = cv2.imencode(".png", np.asarray(image))
    assert done
    write_bytes(path, encoded.tobytes())
