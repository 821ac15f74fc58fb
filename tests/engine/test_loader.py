import torch

from usfmae.engine.loader import step_batches


def numbered(step: int) -> tuple[torch.Tensor, ...]:
    return (torch.full((2,), step), torch.rand(2, generator=torch.Generator().manual_seed(step)))


def test_two_worker_processes_give_the_same_batches_in_the_same_order_as_none():
    alone = list(step_batches(numbered, range(3, 12), workers=0))
    shared = list(step_batches(numbered, range(3, 12), workers=2))
    assert [int(first[0]) for first, _ in alone] == list(range(3, 12))
    for one, two in zip(alone, shared, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
