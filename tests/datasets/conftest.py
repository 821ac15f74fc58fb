"""Rooms that the tests of this folder share."""

import pytest


@pytest.fixture
def room(tmp_path):
    """A folder with a neighbour that must not change."""
    (tmp_path / "room").mkdir()
    (tmp_path / "neighbour.txt").write_text("mine")
    return tmp_path / "room"
