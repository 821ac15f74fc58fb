"""Started by torchrun: pretrains once for each config file given, one after the other; or is a slow `usfmae`.

    torchrun --nproc-per-node 2 train_together.py OUT=CONFIG.json=CORPUS ...
    torchrun --nproc-per-node 2 train_together.py pretrain ...

An OUT that exists is gone on with. Networks are `SMALL`: processes that share two cores would spend minutes
on the sums of gradients. Convolutional ones train in double precision (`in_double`).
"""

import sys
import time
from contextlib import nullcontext
from pathlib import Path

from in_double import in_double

from usfmae.base.launch import launched
from usfmae.base.logs import set_up_logging
from usfmae.cli.main import main
from usfmae.engine.loop import Batch
from usfmae.models import vit
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.step import PretrainBatches

SMALL = (48, 3, 3)
"""Width, layers and heads of a network of size "ti" here."""

PAUSE_S = 0.2
"""Before each batch of the slow `usfmae`, so that there is time to kill it."""


def train_all(triples: list[str]) -> None:
    """One run after the other, in the processes that are there."""
    set_up_logging(only_warnings=not launched().leads)
    for triple in triples:
        out, file, corpus = map(Path, triple.split("="))
        config = PretrainConfig.model_validate_json(file.read_text())
        with nullcontext() if config.model.kind == "mae" else in_double():
            pretrain(config, corpus, out, resume=True)


def slow_down() -> None:
    """Make every batch late."""
    make = PretrainBatches.__call__

    def late(self: PretrainBatches, step: int) -> Batch:
        time.sleep(PAUSE_S)
        return make(self, step)

    PretrainBatches.__call__ = late


if __name__ == "__main__":
    vit.SIZES["ti"] = SMALL
    if sys.argv[1] == "pretrain":
        slow_down()
        sys.exit(main(sys.argv[1:]))
    train_all(sys.argv[1:])
