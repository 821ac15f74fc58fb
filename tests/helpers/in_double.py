"""Masked convolutional networks in double precision.

In single precision rounding alone moves their gradients by about .5 % (measured at a random start; 16 batch
norms deep, over few places), and Adam makes a whole step of the sign of each: runs that sum in another order
part soon, though nothing is wrong. In double precision what is equal stays equal.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from usfmae.models.masked_models import MaskedConfig, MaskedNetwork, build_masked
from usfmae.models.sparse_cnn import SparseAutoencoder
from usfmae.pretrain import run


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
