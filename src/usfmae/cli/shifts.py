"""`usfmae evaluate shifts RESULT ...`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from usfmae.cli.choices import one_of
from usfmae.cli.evaluate import DataOption, OutOption
from usfmae.cli.pairs import existing_folder
from usfmae.cli.pretrain import DEVICES, DeviceOption, OverwriteOption, SetOption


def shifts(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...",
            help="Folders of finished `evaluate finetune`, or cells of a comparison, on one task. Those that "
            "differ in nothing but their splits and seeds become one curve; the others are set against the "
            "first.",
        ),
    ],
    data: DataOption,
    out: OutOption,
    shift: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=AMOUNTS]",
            help="Try only this one: gain (dB), contrast (display range in dB, 60 as it is), blur (px) or "
            "crop (ratio of the side), e.g. gain=-6,6; may be repeated.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    settings: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Test fine-tuned classifiers on pictures of another gain, contrast, blur and crop, without training."""
    from usfmae.base.config import with_settings
    from usfmae.evaluate.shifts import evaluate_shifts
    from usfmae.evaluate.shifts_config import ShiftsConfig
    from usfmae.evaluate.shifts_page import write_shifts_page

    config = with_settings(ShiftsConfig(), [*_only(shift or []), *(settings or [])])
    record, picture = evaluate_shifts(
        results,
        existing_folder(data),
        out=out,
        config=config,
        device=one_of(DEVICES, device, flag="--device"),
        overwrite=overwrite,
    )
    page = write_shifts_page(out, record, picture)
    _say(record)
    typer.echo(f"open {page}")


def _only(asked: Sequence[str]) -> list[str]:
    """Settings that leave the shifts that were named, with their usual amounts where none are said.

    Raises:
        SettingError: no such shift.
    """
    from usfmae.images.shifts import SHIFTS

    said = {}
    for words in asked:
        name, _, amounts = words.partition("=")
        said[one_of(tuple(SHIFTS), name, flag="--shift")] = amounts
    left_out = [f"{name}=[]" for name in SHIFTS if said and name not in said]
    return [*left_out, *(f"{name}={amounts}" for name, amounts in said.items() if amounts)]


def _say(record: dict[str, Any]) -> None:
    """Macro-F1 under each amount on stdout."""
    from usfmae.cli.compare import interval_words
    from usfmae.images.shifts import SHIFTS

    wide = max(len("contender"), *(len(one["name"]) for one in record["contenders"]))
    against = any(row["ahead"] for one in record["contenders"] for row in one["rows"])
    head = f"{'contender':{wide}}  {'shift':8} {'amount':>8} {'macro-F1':>22} {'difference':>25}"
    typer.echo(f"{head} {'AUROC':>22}{'   macro-F1 ahead of the first' if against else ''}")
    for one in record["contenders"]:
        for row in one["rows"]:
            is_plain = row["amount"] == SHIFTS[row["shift"]].neutral
            change = "as it is" if is_plain else interval_words(row["difference"]["macro_f1"], signed=True)
            ahead = interval_words(row["ahead"]["macro_f1"], signed=True) if row["ahead"] else ""
            line = (
                f"{one['name']:{wide}}  {row['shift']:8} {SHIFTS[row['shift']].words(row['amount']):>8} "
                f"{interval_words(row['metrics']['macro_f1']):>22} {change:>25} "
                f"{interval_words(row['metrics']['auroc']):>22} {ahead:>30}"
            )
            typer.echo(line.rstrip())
