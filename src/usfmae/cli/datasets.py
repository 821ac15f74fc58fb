"""`usfmae datasets list | show | check | fake`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Known labelled datasets: cards, checks, fakes.", no_args_is_help=True)

NUM_NAMED = 50
"""Files that `check` names before it only counts them."""

NameArgument = Annotated[str, typer.Argument(help="See `usfmae datasets list`.")]


@app.command("list")
def list_datasets(
    root: Annotated[Path | None, typer.Option(help="Say too what lies in ROOT/NAME.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Only sets that allow this: commercial, share or derivatives.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one object per set.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/datasets.md.")] = False,
    tasks: Annotated[bool, typer.Option("--tasks", help="The page docs/evaluate-tasks.md.")] = False,
) -> None:
    """All datasets that have a card: access, licence, size, anatomy, and what is on this disk."""
    import json

    from usfmae.cli.choices import one_of
    from usfmae.cli.pairs import existing_folder
    from usfmae.datasets.card import all_cards
    from usfmae.datasets.catalogue import (
        ACCESS_WORDS,
        catalogue_page,
        licence_words,
        public_cards,
        size_words,
    )
    from usfmae.datasets.task_page import tasks_page
    from usfmae.datasets.terms import terms_of

    if root is not None:
        existing_folder(root)
    cards = public_cards(all_cards().values())
    if markdown or tasks:
        typer.echo(tasks_page(cards) if tasks else catalogue_page(cards), nl=False)
        return
    if licence is not None:
        term = one_of(("commercial", "share", "derivatives"), licence, flag="--licence")
        cards = [card for card in cards if getattr(terms_of(card), term)]
    here = {card.id: on_disk(root / card.id) if root else None for card in cards}
    if as_json:
        facts = [
            {
                **card.model_dump(mode="json"),
                "terms": terms_of(card).model_dump(),
                "files_on_disk": here[card.id],
            }
            for card in cards
        ]
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for card in cards:
        number = "" if card.openus46_index is None else str(card.openus46_index)
        disk = "" if here[card.id] is None else f"  {here[card.id]:>7,} files here"
        typer.echo(
            f"{number:>2} {card.id:20} {ACCESS_WORDS[card.access.level]:10} {licence_words(card)[:26]:26} "
            f"{size_words(card)[:28]:28} {card.anatomy_group or '':16}{disk}"
        )
    typer.echo(f"{len(cards)} datasets; usfmae datasets show NAME tells the rest")


def on_disk(folder: Path) -> int:
    """How many files lie below a folder; 0 where there is none."""
    return sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else 0


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
    root: Annotated[Path, typer.Option(help="Where it lies, or the ROOT of `fetch`: ROOT/NAME.")],
    quick: Annotated[bool, typer.Option("--quick", help="Look at names and tables only.")] = False,
) -> None:
    """Read a copy of a dataset and say what is in it, what is missing, and whether label maps fit."""
    from collections import Counter

    from usfmae.base.errors import DatasetError
    from usfmae.cli.pairs import existing_folder
    from usfmae.datasets.fetch.run import FETCHED_FILE
    from usfmae.datasets.inspect import inspect
    from usfmae.datasets.registry import read_dataset
    from usfmae.datasets.splits import official_splits

    folder = existing_folder(root)
    if (folder / name / FETCHED_FILE).is_file():
        folder = folder / name
    found = read_dataset(name, folder, find_clusters=not quick)
    counts = Counter(item.label for item in found.items if item.label is not None)
    media = Counter(item.media for item in found.items)
    what = ", ".join(f"{count} {kind}s" for kind, count in sorted(media.items()))
    typer.echo(f"{name}: {what}, {found.num_groups} groups ({found.group_kind})")
    for label, text in enumerate(found.classes):
        typer.echo(f"  {text:40} {counts[label]:6}")
    num_masks = sum(len(item.masks) for item in found.items)
    typer.echo(f"  with a label map {sum(bool(item.masks) for item in found.items):29} ({num_masks} in all)")
    problems: tuple[str, ...] = ()
    if not quick:
        look = inspect(found.items)
        for structure, count in look.structures.items():
            typer.echo(f"  {structure:40} {count:6} marked")
        if look.empty:
            typer.echo(f"note: {len(look.empty)} label maps mark nothing (first: {look.empty[0]})")
        problems = (*look.unreadable, *look.misfits)
    for split in official_splits(found) if not quick else ():
        typer.echo(
            f"split {split.name}: {len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
        )
        for note in split.notes:
            typer.echo(f"note: {note}")
    for note in found.notes:
        typer.echo(f"note: {note}")
    for word, named in (("missing", found.missing), ("problem", problems)):
        for text in named[:NUM_NAMED]:
            typer.echo(f"{word}: {text}")
        if len(named) > NUM_NAMED:
            typer.echo(f"{word}: and {len(named) - NUM_NAMED:,} more")
    if problems:
        raise DatasetError(
            f"{len(problems)} files do not open or do not fit (first: {problems[0]})",
            hint="unpack the publisher's archive again; a corpus would leave them out and name them",
        )


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


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="See `usfmae datasets list`.")] = None,
    root: Annotated[Path, typer.Option(help="ROOT/NAME gets the files.")] = Path("data"),
    archives: Annotated[
        list[Path] | None, typer.Option("--from", help="An archive that you have downloaded already.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence and accept it.")
    ] = False,
    all_open: Annotated[bool, typer.Option("--all-open", help="Every set that needs no login.")] = False,
) -> None:
    """Download datasets, check and unpack them; a second call goes on where the first stopped."""
    import httpx

    from usfmae.base.errors import FetchError, SettingError
    from usfmae.datasets.card import all_cards
    from usfmae.datasets.catalogue import public_cards
    from usfmae.datasets.fetch.run import coverage_table, fetch_all_open, fetch_dataset, licence_notice
    from usfmae.datasets.registry import get_card

    if all_open == bool(names):
        raise SettingError("nothing to fetch, or too much", hint="give names of datasets, or --all-open")
    if archives and (not names or len(names) != 1):
        raise SettingError("--from belongs to one dataset", hint="give one name")
    cards = public_cards(all_cards().values()) if all_open else [get_card(name) for name in names or ()]
    with httpx.Client(headers={"User-Agent": "usfmae"}) as client:
        if all_open:
            open_cards = [card for card in cards if card.access.level == "open"]
            if not accept_licence:
                typer.echo("\n\n".join(licence_notice(card) for card in open_cards))
                raise FetchError(
                    f"the licences of {len(open_cards)} sets have to be accepted",
                    hint="read them above, then add --accept-licence",
                )
            results = fetch_all_open(open_cards, root, accept_licence=True, client=client)
        else:
            results = [
                fetch_dataset(
                    card, root, accept_licence=accept_licence, archives=archives or (), client=client
                )
                for card in cards
            ]
    typer.echo(coverage_table(results))
    lacking = [one for one in results if one.hint]
    if lacking:
        first = lacking[0]
        raise FetchError(
            f"{len(lacking)} of {len(results)} sets are not here as their cards say (first: {first.card.id}: "
            f"{first.message})",
            hint=first.hint,
        )
