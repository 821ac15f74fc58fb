import errno
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usfmae.base.errors import FolderError, SettingError
from usfmae.base.launch import Launch, launched
from usfmae.engine.ranks import ALONE, Ranks, _portable


@given(st.integers(1, 9), st.integers(0, 50))
def test_the_rows_of_all_ranks_are_all_rows_in_order_and_nearly_equal_in_number(world, more):
    count = world + more
    shares = [range(count)[Ranks(rank, world, "ddp").rows(count)] for rank in range(world)]
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_smaller_than_the_number_of_processes_is_refused():
    with pytest.raises(SettingError, match="a batch of 3 images cannot be shared by 4 processes"):
        Ranks(0, 4, "ddp").rows(3)


def test_a_process_that_runs_alone_agrees_with_itself():
    assert ALONE.rows(5) == slice(0, 5)
    assert ALONE.anyone(True)
    assert not ALONE.anyone(False)
    assert ALONE.gather("x") == ["x"]
    assert torch.equal(ALONE.mean(torch.ones(2)), torch.ones(2))
    with pytest.raises(FolderError, match="no"):
        ALONE.first(lambda: (_ for _ in ()).throw(FolderError("no")))


def test_what_torchrun_says_is_believed_only_as_a_whole(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    assert launched() == Launch()
    for name, value in {
        "WORLD_SIZE": "4", "MASTER_ADDR": "here", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_RESTART_COUNT": "5",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert launched() == Launch(rank=3, world=4, local_rank=1, local_world=2, restarts=5)
    assert not launched().leads


def test_a_full_disk_is_said_to_another_process_as_what_it_is():
    for error in (
        OSError(errno.ENOSPC, "No space left on device", "/a/path"),
        RuntimeError("Error while serializing: No space left on device (os error 28)"),
    ):
        said = pickle.loads(pickle.dumps(_portable(error)))
        assert (type(said), said.errno) == (OSError, errno.ENOSPC)
    ours = FolderError("a: cannot be read (os error 2)", hint="look again")
    assert _portable(ours) is ours
    assert "another process of this run failed: KeyError: 'b'" in _portable(KeyError("b")).message
