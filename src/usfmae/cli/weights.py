"""`usfmae weights`: what ships with the package, or lies in the folder that USFMAE_PRETRAINED names."""

from typing import Annotated

import typer


def weights(
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one object per name.")] = False,
) -> None:
    """Names that `--weights` and usfmae.load know, each with its network, images, start and licence."""
    import json

    from usfmae.base.errors import WeightsError
    from usfmae.evaluate.card_text import summary
    from usfmae.models.shipped import card_of, default_name, shipped_file, shipped_folder, shipped_names

    names, default = shipped_names(), default_name()
    facts = []
    for name in names:
        try:
            card = card_of(shipped_file(name))
            assert card is not None, "shipped_file has looked"
            about = {"summary": summary(card.content), "card": card.content}
        except WeightsError as error:
            about = {"error": error.message}
        facts.append({"name": name, "default": name == default, **about})
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for one in facts:
        mark = " (taken where none is named)" if one["default"] else ""
        typer.echo(f"{one['name']}{mark}: {one.get('summary') or 'cannot be used: ' + str(one['error'])}")
    if not names:
        folder = shipped_folder()
        found = "holds no weights" if folder.is_dir() else "is no folder"
        typer.echo(
            f"{folder} {found}: give a run folder or a file with --weights; `usfmae card` makes named ones "
            "of a run"
        )
