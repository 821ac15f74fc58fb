"""Two processes that train together, forked from one that has imported everything already.

torchrun starts three processes, and each imports torch and more: 12 s of CPU time before the first step. Here
that is paid once for all tests of a worker. The two find each other as those of torchrun do, through a
store that somebody else holds; that torchrun itself works is said by `test_ranks.py`.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch.distributed as dist
import train_together
from together import SOURCE, TIMEOUT_S, end_all

from usfmae.pretrain.config import PretrainConfig


class Pair:
    """A process that forks two for each call of `train`; ended by leaving the context."""

    def __enter__(self) -> "Pair":
        helpers = Path(__file__).parent
        self._server = subprocess.Popen(
            [sys.executable, train_together.__file__, "serve"],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{SOURCE}{os.pathsep}{helpers}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.communicate()  # its input ends, and so does it

    def train(self, root: Path, runs: Mapping[str, tuple[PretrainConfig, Path]]) -> str:
        """Pretrain once for each name, into `root/name`, one after the other; what the two said."""
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        job = {
            "triples": train_together.triples(root, runs),
            "port": store.port,
            "said": str(root / "said.txt"),
        }
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        if not select.select([self._server.stdout], [], [], TIMEOUT_S)[0]:
            end_all(self._server)
        codes = self._server.stdout.readline().strip()
        said = (root / "said.txt").read_text()
        assert codes == "[0, 0]", said
        return said
