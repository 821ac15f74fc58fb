from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from usfmae.base.errors import TrainingError
from usfmae.engine.meeting import agree_on_name

PATIENCE = timedelta(seconds=20)


def meet(store: dist.Store, world: int) -> set[str]:
    with ThreadPoolExecutor(world) as pool:
        return set(
            pool.map(
                lambda rank: agree_on_name(store, rank=rank, world=world, patience=PATIENCE), range(world)
            )
        )


def test_all_get_one_name_and_every_meeting_another():
    store = dist.HashStore()
    names = [meet(store, 3) for _ in range(5)]
    assert all(len(name) == 1 for name in names)
    assert len(set.union(*names)) == 5


def test_a_question_of_the_dead_is_not_believed():
    store = dist.HashStore()
    meet(store, 2)  # leaves a question, an answer and "heard" behind
    with pytest.raises(TrainingError, match="not all processes of this run came together"):
        agree_on_name(store, rank=1, world=2, patience=timedelta(seconds=0.3))


def test_a_first_rank_that_nobody_answers_gives_up():
    store = dist.HashStore()
    meet(store, 2)
    with pytest.raises(TrainingError, match="came together"):
        agree_on_name(store, rank=0, world=2, patience=timedelta(seconds=0.3))
