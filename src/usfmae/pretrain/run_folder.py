"""The folder of a run: who may write there, and the record in it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from usfmae.base.config import make_config
from usfmae.base.errors import FolderError
from usfmae.base.files import claimed_folder, read_json, write_json
from usfmae.base.interrupt import Interrupted
from usfmae.base.launch import Launch
from usfmae.base.logs import get_logger
from usfmae.corpus.shards import CORPUS_FILE
from usfmae.engine.checkpoint import find_checkpoints
from usfmae.engine.meters import peak_memory_gb
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.page import LivePage

log = get_logger(__name__)
RUN_FILE = "run.json"
LOCK_WAIT_S = 10.0
"""How long a run waits for its folder: batch workers of a killed run hold it until they notice, some 5 s."""


@contextmanager
def claimed_run(
    out: Path, inputs: Mapping[str, Path], *, resume: bool, overwrite: bool, restarted: Launch | None
) -> Iterator[None]:
    """The folder of a run, ready to be written and closed to others.

    Args:
        out: the run's folder.
        inputs: what the run reads, by the flag or setting that names it.
        resume: go on with what is there; where nothing is, begin.
        overwrite: delete an earlier run first.
        restarted: how this process was launched, where torchrun started it again after one died. It then goes
            on with what the same launch began and is otherwise the first start over again.

    Raises:
        FolderError: see `claim_folder`; or `out` is, or would delete, what the run reads.
    """
    if restarted is not None and _launch_of(out) == restarted.id:
        resume, overwrite = True, False
    _refuse_inputs(out, inputs, overwrite=overwrite)
    claim = claimed_folder(
        out, marker=RUN_FILE, doing="run", resume=resume, overwrite=overwrite, wait_s=LOCK_WAIT_S
    )
    with claim:
        if resume and not (out / RUN_FILE).exists():
            log.warning("%s: there is no run to go on with, so a new one begins", out)
        yield


def _launch_of(out: Path) -> str | None:
    """Which launch the run was begun or last gone on with by; None where there is no run."""
    return read_record(out / RUN_FILE).get("launch", "") if (out / RUN_FILE).exists() else None


def _refuse_inputs(out: Path, inputs: Mapping[str, Path], *, overwrite: bool) -> None:
    target = out.resolve()
    for name, path in inputs.items():
        read = path.resolve()
        in_corpus = target.is_relative_to(read) and (read / CORPUS_FILE).exists()
        if in_corpus or (overwrite and read.is_relative_to(target)):
            raise FolderError(
                f"--out {out}: lies in, or is, or holds {name} {path}", hint="choose another --out"
            )


def read_record(run_file: Path) -> dict[str, Any]:
    """The content of a run.json.

    Raises:
        FolderError: it is missing, or is not the record of a run.
    """
    record = read_json(run_file)
    made = record.get("made_by") if isinstance(record, dict) else None
    if not (isinstance(made, dict) and all(isinstance(made.get(k), dict) for k in ("settings", "inputs"))):
        raise FolderError(
            f"{run_file}: is not the record of a run (no settings or inputs in made_by)",
            hint="choose another --out, or --overwrite",
        )
    return dict(record)


def load_run_config(run: Path) -> PretrainConfig:
    """The settings of an earlier run, from its run.json, ready to be run again."""
    return make_config(PretrainConfig, read_record(run / RUN_FILE)["made_by"]["settings"])


def steps_done(out: Path) -> int:
    """Steps that the newest checkpoint holds."""
    done = find_checkpoints(out)
    return done[-1].step if done else 0


@contextmanager
def kept_record(
    out: Path, record: dict[str, Any], device: torch.device, page: LivePage | None
) -> Iterator[None]:
    """Trains inside; however that ends, run.json says so and the page is drawn.

    `status` becomes finished; stopped, by a signal; or failed, with `error` beside it.

    Args:
        out: the run's folder.
        record: written to its run.json.
        device: where it trains.
        page: of the first rank; None on others, which write nothing.
    """
    started = time.perf_counter()
    try:
        yield
        record["status"] = "finished"
    except (Interrupted, KeyboardInterrupt):
        record["status"] = "stopped"
        raise
    except BaseException as error:
        record |= {"status": "failed", "error": str(error) or type(error).__name__}
        raise
    finally:
        record["steps_done"] = steps_done(out)
        record["seconds"] += time.perf_counter() - started
        record["peak_memory_gb"] = max(record["peak_memory_gb"], peak_memory_gb(device))
        if page is not None:
            _close_record(out / RUN_FILE, record)
            page.draw()


def _close_record(path: Path, record: dict[str, Any]) -> None:
    """Write the record at the end; a full disk does not hide why a run ended."""
    try:
        write_json(path, record)
    except FolderError as error:
        if record["status"] == "finished":
            raise
        log.warning("%s", error.message)
