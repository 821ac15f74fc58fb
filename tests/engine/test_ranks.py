import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usfmae.base.errors import FolderError, SettingError
from usfmae.base.launch import Launch, launched
from usfmae.engine.augment import AugmentConfig, augment_batch
from usfmae.engine.ranks import ALONE, Ranks


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


@pytest.mark.parametrize("rows", [slice(0, 3), slice(3, 7)])
def test_a_rank_makes_the_views_of_the_whole_batch(rows):
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32), dtype=np.uint8)
    config = AugmentConfig(flip_down=0.5, rotate_deg=(0, 90))
    made = {"image_px": 16, "config": config}
    whole = augment_batch(images, rng=np.random.default_rng(1), **made)
    part = augment_batch(images[rows], rng=np.random.default_rng(1), rows=rows, batch=7, **made)
    assert np.array_equal(part, whole[rows])
