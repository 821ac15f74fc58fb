"""`usfmae datasets list | show | check | fake`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Known labelled datasets: cards, checks, fakes.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="See `usfmae datasets list`.")]


@app.command("list")
def list_datasets() -> None:
    """All datasets that have a card."""
    from usfmae.datasets.registry import dataset_names, get_card

    for name in dataset_names():
        card = get_card(name)
        images = "-" if card.counts.images is None else f"{card.counts.images:,}"
        licence = card.licence.spdx or card.licence.stated or "not stated"
        typer.echo(f"{name:12} {images:>8} images  {licence:12} {card.title}")


@app.command()
def show(name: NameArgument) -> None:
    """The card of a dataset."""
    import yaml

    from usfmae.datasets.registry import get_card

    typer.echo(
        yaml.safe_dump(get_card(name).model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False
    )


@app.command()
def check(
    name: NameArgument,
    root: Annotated[Path, typer.Option(help="Where it lies.")],
) -> None:
    """Read a copy of a dataset and say what is in it: classes, groups, splits, what is missing."""
    from collections import Counter

    from usfmae.cli.pairs import existing_folder
    from usfmae.datasets.registry import read_dataset
    from usfmae.datasets.splits import official_splits

    found = read_dataset(name, existing_folder(root))
    counts = Counter(item.label for item in found.items if item.label is not None)
    typer.echo(f"{name}: {len(found)} images, {len(set(found.groups))} groups ({found.group_kind})")
    for label, text in enumerate(found.classes):
        typer.echo(f"  {text:40} {counts[label]:6}")
    typer.echo(f"  with a label map {sum(bool(item.masks) for item in found.items):29}")
    for split in official_splits(found):
        typer.echo(
            f"split {split.name}: {len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
        )
    for note in found.notes:
        typer.echo(f"note: {note}")


@app.command()
def fake(
    name: NameArgument,
    root: Annotated[Path, typer.Option(help="New folder to draw it in.")],
    patients: Annotated[int, typer.Option(help="How many patients.")] = 24,
    seed: Annotated[int, typer.Option(help="Another seed draws other images.")] = 0,
) -> None:
    """Draw a small copy of a dataset's layout, to try commands without the data."""
    from usfmae.datasets.fake import fake_dataset

    typer.echo(f"{fake_dataset(name, root, num_patients=patients, seed=seed)}: drawn")
