"""Running moments taken anew: plain means over batches, and nothing else is touched."""

import pytest
import torch
from torch import nn

from usfmae.engine.moments import has_moments, settle_moments, settled_moments


def test_moments_are_the_mean_over_batches_by_hand():
    norm = nn.BatchNorm1d(1)
    norm.running_mean.fill_(100)
    batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [10.0]])]
    settle_moments(norm, batches)
    assert norm.running_mean.item() == 4  # of 1 and 7
    assert norm.running_var.item() == 10  # of 2 and 18, each over n - 1


def test_a_second_norm_sees_what_the_first_makes_of_the_batch_itself():
    net = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.BatchNorm1d(2, affine=False))
    net[0].running_mean.fill_(50)
    settle_moments(
        net, [torch.randn(64, 2, generator=torch.Generator().manual_seed(k)) * 9 for k in range(4)]
    )
    assert net[1].running_mean.abs().max() < 1e-5
    assert (net[1].running_var - 1).abs().max() < 0.02


def test_weights_modes_momenta_and_random_numbers_stay_as_they_were():
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=0.01), nn.Dropout(0.5), nn.Flatten())
    net.train()
    net[2].eval()
    before = {name: value.clone() for name, value in net.named_parameters()}
    drawn = torch.get_rng_state()
    settle_moments(net, [torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))])
    assert [one.training for one in net] == [True, True, False, True]
    assert net[1].momentum == 0.01
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_same_batches_give_the_same_moments_whatever_was_there_before():
    batches = [torch.randn(8, 3, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    one, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    other(torch.randn(8, 3) * 50)
    for norm in (one, other):
        settle_moments(norm, batches)
        settle_moments(norm, batches)
    assert torch.equal(one.running_mean, other.running_mean)
    assert torch.equal(one.running_var, other.running_var)


def test_moments_of_the_meantime_go_when_it_is_over_and_after_an_error_too():
    norm = nn.BatchNorm1d(1)
    norm(torch.tensor([[1.0], [5.0]]))
    before = {name: value.clone() for name, value in norm.named_buffers()}
    with settled_moments(norm, [torch.tensor([[0.0], [2.0]])]):
        assert norm.running_mean.item() == 1
    assert all(torch.equal(value, before[name]) for name, value in norm.named_buffers())
    with pytest.raises(ValueError, match="more than 1 value"), settled_moments(norm, [torch.zeros(1, 1)]):
        pass
    assert all(torch.equal(value, before[name]) for name, value in norm.named_buffers())


def test_an_error_on_the_way_leaves_modes_as_they_were():
    norm = nn.BatchNorm1d(2).eval()
    with pytest.raises(ValueError, match="more than 1 value"):
        settle_moments(norm, [torch.zeros(1, 2)])
    assert not norm.training
    assert norm.momentum == 0.1


def test_what_has_no_batch_norm_has_no_moments():
    assert not has_moments(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))
    assert not has_moments(nn.BatchNorm1d(2, track_running_stats=False))
    assert has_moments(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
