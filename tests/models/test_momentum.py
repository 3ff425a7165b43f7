"""The moving average: one update by hand, its limit, buffers, and the momentum of each step."""

import pytest
import torch
from torch import nn

from avvp_pl.models import momentum_at, momentum_copy, momentum_update


def linear(weight: float, bias: float) -> nn.Linear:
    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, weight)
    nn.init.constant_(net.bias, bias)
    return net


def with_buffers(seed: int) -> nn.Sequential:
    """A net with float and integer buffers, moved away from their start."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    net(torch.randn(8, 3))
    return net


def test_one_update_by_hand() -> None:
    net = linear(4.0, -8.0)
    average = momentum_copy(linear(0.0, 8.0))
    momentum_update(average, net, 0.75)
    assert average.weight.item() == 1.0
    assert average.bias.item() == 4.0
    assert net.weight.item() == 4.0
    assert net.bias.item() == -8.0


def test_a_momentum_near_one_moves_little() -> None:
    """Not as the paper prints it: 0.999 of the average stays."""
    average = momentum_copy(linear(0.0, 1.0))
    momentum_update(average, linear(1.0, 0.0), 0.999)
    assert average.weight.item() == pytest.approx(0.001)
    assert average.bias.item() == pytest.approx(0.999)


@pytest.mark.parametrize(("momentum", "moved"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_extremes_copy_and_keep(momentum: float, moved: float) -> None:
    average = momentum_copy(linear(0.0, 0.0))
    momentum_update(average, linear(1.0, 1.0), momentum)
    assert average.weight.item() == moved


def test_many_updates_converge_as_a_power_of_the_momentum() -> None:
    net, average = linear(1.0, 5.0), momentum_copy(linear(0.0, 5.0))
    for _ in range(50):
        momentum_update(average, net, 0.9)
    assert average.weight.item() == pytest.approx(1 - 0.9**50, rel=1e-5)
    for _ in range(200):
        momentum_update(average, net, 0.9)
    assert average.weight.item() == pytest.approx(1, abs=1e-6)
    assert average.bias.item() == 5.0


def test_buffers_are_copied() -> None:
    net, average = with_buffers(0), momentum_copy(with_buffers(1))
    net(torch.randn(8, 3))
    momentum_update(average, net, 0.999)
    own, other = dict(average.named_buffers()), dict(net.named_buffers())
    assert own.keys() == other.keys()
    assert int(own["1.num_batches_tracked"]) == 2
    for name, buffer in own.items():
        assert torch.equal(buffer, other[name])
        assert buffer.data_ptr() != other[name].data_ptr()


def test_the_copy_is_equal_frozen_in_evaluation_and_its_own() -> None:
    net = with_buffers(0).train()
    average = momentum_copy(net)
    assert all(not parameter.requires_grad for parameter in average.parameters())
    assert all(not module.training for module in average.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(module.training for module in net.modules())
    before = {name: value.clone() for name, value in average.state_dict().items()}
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], value) for name, value in average.state_dict().items())


def test_an_update_needs_no_gradient_and_keeps_the_copy_frozen() -> None:
    net = with_buffers(0)
    average = momentum_copy(net)
    with torch.enable_grad():
        momentum_update(average, net, 0.5)
    assert all(not p.requires_grad and p.grad_fn is None for p in average.parameters())
    assert not any(module.training for module in average.modules())


def test_the_momentum_warms_up() -> None:
    assert momentum_at(0, 0.999, warmup=True) == pytest.approx(1 / 10)
    assert momentum_at(8, 0.999, warmup=True) == pytest.approx(9 / 18)
    assert momentum_at(90, 0.999, warmup=True) == pytest.approx(91 / 100)
    assert momentum_at(8989, 0.999, warmup=True) == pytest.approx(8990 / 8999)
    assert momentum_at(8990, 0.999, warmup=True) == pytest.approx(0.999)
    assert momentum_at(10**6, 0.999, warmup=True) == 0.999
    assert momentum_at(0, 0.05, warmup=True) == 0.05


def test_without_a_warm_up_the_momentum_is_constant() -> None:
    assert {momentum_at(step, 0.999, warmup=False) for step in (0, 1, 100, 10**6)} == {0.999}
