import pytest
import torch
from small_loop import TOTAL, equal, run
from torch import nn

from usfmae.engine import loop
from usfmae.engine.ema import EmaConfig, WeightAverage
from usfmae.engine.optim import OptimConfig, build_optimizer


def averaged_net(decay: float) -> tuple[nn.Linear, torch.optim.Optimizer, WeightAverage]:
    torch.manual_seed(0)
    net = nn.Linear(2, 1)
    optimizer = build_optimizer(net, OptimConfig())
    return net, optimizer, WeightAverage(optimizer, list(net.parameters()), decay)


def step_to(net, optimizer, value: float) -> None:
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)


def average_of(net, optimizer) -> float:
    return float(optimizer.state[net.weight]["ema"][0, 0])


def test_averages_by_hand():
    # Starts at the weights after the first step, 4. Then half stays: (4 + 8) / 2 = 6, (6 + 2) / 2 = 4.
    net, optimizer, average = averaged_net(0.5)
    seen = []
    for number, value in enumerate((4.0, 8.0, 2.0), start=100):
        step_to(net, optimizer, value)
        average(number)
        seen.append(average_of(net, optimizer))
    assert seen == [4.0, 6.0, 4.0]


def test_early_steps_keep_less():
    # After 2 steps 3 / 12 stays although the decay is 0.999: 0.25 * 4 + 0.75 * 8 = 7.
    net, optimizer, average = averaged_net(0.999)
    for number, value in enumerate((4.0, 8.0), start=1):
        step_to(net, optimizer, value)
        average(number)
    assert average_of(net, optimizer) == pytest.approx(7)


def test_a_larger_batch_reaches_back_over_as_many_images():
    config = EmaConfig(decay=0.999)
    assert config.per_step(256) == pytest.approx(0.999)
    assert config.per_step(1024) == pytest.approx(config.per_step(256) ** 4)
    assert EmaConfig().per_step(256) is None


def test_an_average_that_keeps_nothing_is_the_weights():
    net, optimizer, average = averaged_net(EmaConfig(decay=0.0).per_step(8))
    for number, value in enumerate((4.0, 1 / 3, 0.1), start=1):
        step_to(net, optimizer, value)
        average(number)
        assert torch.equal(optimizer.state[net.weight]["ema"], net.weight)


def test_settled_weights_are_the_averages():
    net, optimizer, average = averaged_net(0.5)
    average.settle()  # nothing was stepped: nothing moves
    for number, value in enumerate((4.0, 8.0), start=100):
        step_to(net, optimizer, value)
        average(number)
    average.settle()
    assert net.weight.tolist() == [[6.0, 6.0]]
    assert net.bias.tolist() == [6.0]


def test_averages_are_where_the_weights_were_and_the_weights_come_back():
    net, optimizer, average = averaged_net(0.5)
    for value in (4.0, 8.0):
        step_to(net, optimizer, value)
        average(100)
    with pytest.raises(RuntimeError, match="disk"), average.in_place():
        assert net.weight.unique().tolist() == [6.0]
        raise RuntimeError("disk")
    assert net.weight.unique().tolist() == [8.0]


def test_before_the_first_step_there_is_nothing_to_average():
    net, optimizer, average = averaged_net(0.5)
    assert average(1) == []
    step_to(net, optimizer, 3.0)  # the optimiser still finds its state empty and fills it
    average(2)
    assert average_of(net, optimizer) == 3


def averages(out, monkeypatch, **settings) -> tuple[nn.Module, list[torch.Tensor]]:
    """Run the small loop with averages; the network and the averages at the end."""
    held = {}
    train = loop.train

    def with_average(module, *args, optimizer, **given):
        held["average"] = WeightAverage(optimizer, list(module.parameters()), 0.9)
        held["module"] = module
        return train(module, *args, optimizer=optimizer, hooks=[held["average"]], **given)

    monkeypatch.setattr("small_loop.train", with_average)
    run(out, **settings)
    with held["average"].in_place():
        return held["module"], [parameter.detach().clone() for parameter in held["module"].parameters()]


def test_averages_survive_a_kill_to_the_bit_and_change_no_weight(tmp_path, monkeypatch):
    module, whole = averages(tmp_path / "a", monkeypatch)

    def cut(first):
        from small_loop import batch

        for step in range(first, TOTAL):
            if step == 6:
                raise RuntimeError("power cut")
            yield batch(step)

    with pytest.raises(RuntimeError, match="power cut"):
        averages(tmp_path / "b", monkeypatch, batches=cut)
    _, resumed = averages(tmp_path / "b", monkeypatch)
    assert all(torch.equal(one, two) for one, two in zip(whole, resumed, strict=True))
    monkeypatch.undo()
    plain, _ = run(tmp_path / "c")
    assert equal(plain, module)
    assert not all(torch.equal(p, a) for p, a in zip(plain.parameters(), whole, strict=True))


def test_two_averages_of_the_same_weights_do_not_meet():
    net, optimizer, slow = averaged_net(0.5)
    quick = WeightAverage(optimizer, list(net.parameters()), 0.0, "other")
    assert slow.of(net.weight).tolist() == net.weight.tolist()  # there is none yet
    assert not optimizer.state  # and asking made none
    for number, value in enumerate((4.0, 8.0), start=100):
        step_to(net, optimizer, value)
        slow(number)
        quick(number)
    assert (float(slow.of(net.weight)[0, 0]), float(quick.of(net.weight)[0, 0])) == (6.0, 8.0)
    with quick.in_place():
        assert net.weight[0, 0].item() == 8.0
    slow.settle()
    assert net.weight[0, 0].item() == 6.0
