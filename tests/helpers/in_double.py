"""Masked convolutional networks in double precision, and small.

In single precision rounding alone moves their gradients by about .5 % (measured at a random start; 16 batch
norms deep, over few places), and Adam makes a whole step of the sign of each: runs that sum in another order
part soon, though nothing is wrong. In double precision what is equal stays equal.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from usfmae.models import sparse_cnn
from usfmae.models.cnn import efficientnet_lite
from usfmae.models.masked_models import MaskedConfig, MaskedNetwork, build_masked
from usfmae.models.sparse_cnn import SparseAutoencoder
from usfmae.pretrain import run

SMALL_STAGES = (
    (1, 3, 1, 1, 8), (2, 3, 2, 2, 8), (2, 5, 2, 1, 12), (2, 3, 2, 1, 12), (2, 5, 1, 1, 16), (2, 5, 2, 1, 16),
    (2, 3, 1, 1, 16),
)  # fmt: skip
"""Every kernel and stride of the seven stages and one sum of a block with what went into it, but narrow."""

SMALL_DIMS = (8, 12, 16, 32)
"""Width of its maps at strides of 4, 8, 16 and 32 px."""

SMALL_NORMS = 25
"""Its batch norms: three in each of eight blocks (two in the first), one before them, one behind."""


@contextmanager
def small_lite() -> Iterator[None]:
    """Within, efficientnet-lite0 has the stages above: torch has no fast convolutions for doubles."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(efficientnet_lite, "STAGES", SMALL_STAGES)
        patched.setattr(efficientnet_lite.EfficientNetLite0, "embed_dim", SMALL_DIMS[-1])
        patched.setattr(sparse_cnn, "STAGE_DIMS", SMALL_DIMS)
        yield


@contextmanager
def in_double() -> Iterator[None]:
    """Within, runs build such networks in double precision and show them images in it."""
    forward = SparseAutoencoder.forward

    def built(config: MaskedConfig) -> MaskedNetwork:
        return build_masked(config).double()

    def exact(self, images, *rest):
        return forward(self, images.double(), *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "build_masked", built)
        patched.setattr(SparseAutoencoder, "forward", exact)
        yield
