"""Journeys go through every door; the size of a network is no part of them."""

from collections.abc import Iterator

import pytest
from small_networks import small_networks


@pytest.fixture(scope="module", autouse=True)
def _small_networks() -> Iterator[None]:
    with small_networks():
        yield
