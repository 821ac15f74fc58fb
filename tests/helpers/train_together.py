"""Forks two processes for each job it is given, which pretrain once for each config file, one after the other
(see `pair`); or is, started by torchrun, a slow `usfmae`.

    train_together.py serve
    torchrun --nproc-per-node 2 train_together.py pretrain ...

A run that exists is gone on with. Networks are small (`small_networks`): processes that share two cores
would spend minutes on the sums of gradients. Convolutional ones train in double precision (`in_double`).
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from in_double import in_double, small_lite
from small_networks import small_networks

from usfmae.base.launch import launched
from usfmae.base.logs import set_up_logging
from usfmae.cli.main import main
from usfmae.engine.loop import Batch
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.step import PretrainBatches

PAUSE_S = 0.2
"""Before each batch of the slow `usfmae`, so that there is time to kill it."""


def triples(root: Path, runs: Mapping[str, tuple[PretrainConfig, Path]]) -> list[str]:
    """The words for runs into `root/NAME`, each of a config on a corpus; writes the config files."""
    words = []
    for name, (config, corpus) in runs.items():
        (root / f"{name}.json").write_text(config.model_dump_json())
        words.append(f"{root / name}={root / f'{name}.json'}={corpus}")
    return words


def train_all(triples: list[str]) -> None:
    """One run after the other, in the processes that are there."""
    set_up_logging(only_warnings=not launched().leads)
    for triple in triples:
        out, file, corpus = map(Path, triple.split("="))
        config = PretrainConfig.model_validate_json(file.read_text())
        with ExitStack() as changed:
            if config.model.kind != "mae":
                changed.enter_context(small_lite())
                changed.enter_context(in_double())
            pretrain(config, corpus, out, resume=True)


def slow_down() -> None:
    """Make every batch late."""
    make = PretrainBatches.__call__

    def late(self: PretrainBatches, step: int) -> Batch:
        time.sleep(PAUSE_S)
        return make(self, step)

    PretrainBatches.__call__ = late


def serve() -> None:
    """Two processes for each job, a line of JSON; their exit statuses are the answer."""
    import_module("torch._dynamo")  # else the first optimiser of each of them imports it, for 1.2 s
    for line in sys.stdin:
        job = json.loads(line)
        ranks = [forked(job, rank) for rank in range(2)]
        codes = {}
        while len(codes) < len(ranks):
            ended, status = os.wait()
            codes[ended] = os.waitstatus_to_exitcode(status)
            if codes[ended]:
                for rank in set(ranks) - set(codes):
                    os.kill(rank, signal.SIGKILL)
        sys.stdout.write(f"{[codes[rank] for rank in ranks]}\n")
        sys.stdout.flush()


def forked(job: dict[str, Any], rank: int) -> int:
    """One of two processes that train; its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        said = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(job["port"]), TORCHELASTIC_USE_AGENT_STORE="True",
        )  # fmt: skip
        train_all(job["triples"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    with small_networks():
        if sys.argv[1] == "serve":
            serve()
        else:
            slow_down()
            sys.exit(main(sys.argv[1:]))
