"""Networks that train in no time: a ViT-Ti that is 48 wide and 3 layers deep."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from usfmae.models import vit

SMALL = (48, 3, 3)
"""Width, layers and heads."""


@contextmanager
def small_networks() -> Iterator[None]:
    """Within, networks of size "ti" are so: the same code, but no checkpoints of 65 MB."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(vit.SIZES, "ti", SMALL)
        yield
