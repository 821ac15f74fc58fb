"""The command `usfmae`: reads argv, says errors in one message and one hint, sets the exit status.

0 is success, 2 a mistake the user can put right, 3 "matches found" of an audit, 130 an interruption.
"""

import shlex
import sys
from importlib import metadata
from typing import Annotated

import typer

from usfmae.base.errors import UsfmaeError
from usfmae.base.interrupt import Interrupted
from usfmae.base.launch import launched
from usfmae.base.logs import console, set_up_logging
from usfmae.cli import (
    card,
    compare,
    corpus,
    datasets,
    demo,
    embed,
    evaluate,
    pretrain,
    segment,
    shifts,
    weights,
)

INTERRUPTED = 130
RESUMABLE = {"demo", "corpus", "pretrain", "evaluate", "embed"}
SHORT = {"shifts"}
"""What takes minutes and has no `--resume`."""

app = typer.Typer(
    name="usfmae",
    help="Self-supervised ultrasound: from piles of files to a pretrained encoder, to tested answers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.add_typer(datasets.app, name="datasets")
app.add_typer(corpus.app, name="corpus")
app.command("pretrain")(pretrain.pretrain)
app.command("recipes")(pretrain.recipes)
evaluate.app.command("segment")(segment.segment)
evaluate.app.command("compare")(compare.compare)
evaluate.app.command("shifts")(shifts.shifts)
app.add_typer(evaluate.app, name="evaluate")
app.command("embed")(embed.embed)
app.command("card")(card.card)
app.command("weights")(weights.weights)


def _show_version(asked: bool | None) -> None:
    if asked:
        typer.echo(f"usfmae {metadata.version('usfmae')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and detailed logs.")] = False,
    _version: Annotated[
        bool | None,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = None,
) -> None:
    """Options that stand before the command."""
    set_up_logging(debug=debug, only_warnings=not launched().leads)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: words after `usfmae`; those of this process when None.
    """
    words = sys.argv[1:] if argv is None else argv
    debug = "--debug" in words
    try:
        app(words, prog_name="usfmae")
    except UsfmaeError as error:
        if debug:
            raise
        _say("error", error.message)
        if error.hint:
            _say("hint", error.hint)
        return error.exit_status
    except Interrupted as error:
        return _stopped(words, str(error))
    except BrokenPipeError:
        return 0
    except SystemExit as leaving:  # typer's own way out, wrong usage (2) and Ctrl-C (130) included
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        return _stopped(words, "interrupted") if code == INTERRUPTED else code
    return 0


def _stopped(words: list[str], message: str) -> int:
    launch = launched()
    if not launch.leads:
        return INTERRUPTED
    _say("stopped", message)
    if launch.world > 1:
        _say("hint", "go on with the same torchrun command and --resume")
        return INTERRUPTED
    again = words if "--resume" in words else [w for w in words if w != "--overwrite"] + ["--resume"]
    if RESUMABLE & set(words[:2]) and not SHORT & set(words[:3]):
        _say("hint", f"go on with: usfmae {shlex.join(again)}")
    return INTERRUPTED


def _say(label: str, text: str) -> None:
    launch = launched()
    place = "" if launch.leads else f" (rank {launch.rank} of {launch.world})"
    console.print(
        f"{label}{place}: {text}", style="red" if label == "error" else None, markup=False, soft_wrap=True
    )


if __name__ == "__main__":
    sys.exit(main())
