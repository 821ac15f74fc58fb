"""Started by torchrun: pretrains once for each config file given, one after the other.

    torchrun --nproc-per-node 2 train_together.py CORPUS OUT=CONFIG.json ...

An OUT that exists is gone on with.
"""

import sys
from pathlib import Path

from usfmae.base.launch import launched
from usfmae.base.logs import set_up_logging
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run import pretrain

if __name__ == "__main__":
    set_up_logging(only_warnings=not launched().leads)
    for pair in sys.argv[2:]:
        out, file = map(Path, pair.split("="))
        config = PretrainConfig.model_validate_json(file.read_text())
        pretrain(config, Path(sys.argv[1]), out, resume=True)
