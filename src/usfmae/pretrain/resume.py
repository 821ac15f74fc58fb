"""Whether an earlier run may be gone on with: what is different now, and what that does to its numbers."""

from pathlib import Path
from typing import Any

from usfmae.base.config import flat
from usfmae.base.errors import FolderError
from usfmae.base.logs import get_logger
from usfmae.engine.ranks import Ranks
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run_folder import read_record

log = get_logger(__name__)

HARMLESS = {
    "workers",
    "demand",
    "replay.corpus",
    "model.teacher.weights",
    "loop.log_steps",
    "loop.checkpoint_steps",
    "loop.keep_checkpoints",
    "loop.async_checkpoints",
    "loop.activation_checkpointing",
    "watch.every_epochs",
    "watch.num_pictures",
    "watch.utilisation",
    "watch.spike_factor",
    "loop.on_bad_step",
    "loop.max_bad_in_row",
}
"""Settings that change no weight: how fast, how often something is written or looked at, where the old
pool and the teacher lie (their hashes are inputs)."""

ROUNDING = {"threads", "loop.accumulate", "loop.parallel", "loop.compile"}
"""Settings that change the order of sums, as the number of processes does: the same result up to rounding
(and to what drop path draws where there is any)."""

AT_FIRST = {"augment_on": "cpu"}
"""What runs did before a setting existed, where that is not its default: views were made with OpenCV."""


def earlier_run(
    run_file: Path, config: PretrainConfig, inputs: dict[str, str], ranks: Ranks
) -> dict[str, Any]:
    """The record of the run to go on with; {} where there is none.

    Args:
        run_file: its run.json.
        config: the settings now.
        inputs: hashes of corpus and weights now.
        ranks: the processes now.

    Raises:
        FolderError: something differs that changes the result; each is named with both values. Or run.json is
            damaged.
    """
    if not run_file.exists():
        return {}
    record = read_record(run_file)
    before_inputs = record["made_by"]["inputs"]
    changed = changed_settings(record["made_by"]["settings"], config)
    serious = [line for name, line in changed.items() if name not in HARMLESS | ROUNDING]
    serious += [
        f"the {name}"
        for name in sorted({*inputs, *before_inputs})
        if before_inputs.get(name) != inputs.get(name)
    ]
    if serious:
        raise FolderError(
            f"{run_file.parent}: was started with other settings or inputs ({'; '.join(serious)})",
            hint="--resume goes on with the same ones, which usfmae pretrain "
            f"{run_file.parent} --out {run_file.parent} --resume takes from there; choose another --out, "
            "or --overwrite",
        )
    for name, line in changed.items():
        log.info("resumed with another %s%s", line, ", equal up to rounding" if name in ROUNDING else "")
    before = record.get("ranks", {"world": 1, "parallel": "none"})
    if before["world"] != ranks.world:
        log.info(
            "resumed with another number of processes (%d -> %d): equal up to rounding, and to what drop "
            "path draws where there is any", before["world"], ranks.world,
        )  # fmt: skip
    return record


def changed_settings(before: dict[str, Any], now: PretrainConfig) -> dict[str, str]:
    """Name of each setting that differs, and "name old -> new".

    A setting that did not exist when the run was started counts as its default, which is what the run did
    (but for `AT_FIRST`).
    """
    defaults = PretrainConfig(model=type(now.model)())
    old = flat(defaults.model_dump(mode="json")) | AT_FIRST | flat(before)
    new = flat(now.model_dump(mode="json"))
    return {
        name: f"{name} {old.get(name)} -> {new.get(name)}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    }
