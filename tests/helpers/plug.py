"""A power cut in the middle of a training."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def plug_pulled(batches: type, *, at: int) -> Iterator[None]:
    """Within, making the `at`-th batch (counted over all folds, from 1) ends the run, which is expected.

    Args:
        batches: the class whose call makes a batch.
        at: which one.
    """
    made, whole_call = 0, batches.__call__

    def breaking(self, step):
        nonlocal made
        made += 1
        if made == at:
            raise RuntimeError("pulled the plug")
        return whole_call(self, step)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batches, "__call__", breaking)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            yield
