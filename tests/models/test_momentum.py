"""The moving average: one update by hand, its limit, buffers, the momentum of a step, and the network that labels."""

from typing import Any

import pytest
import torch
from torch import nn

from avvp_pl.models import HAN, momentum_at, momentum_copy, momentum_update
from avvp_pl.models.momentum import Teacher


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


class TestTeacher:
    @staticmethod
    def made(source: Any = "momentum", attending: Any = None, warmup: bool = False) -> tuple[Teacher, HAN]:
        torch.manual_seed(0)
        network = HAN(
            {"audio": ["sound"], "visual": ["frames"]}, {"sound": 2, "frames": 3}, 2, dim=4, feedforward_dim=4
        )
        return Teacher(network, source, momentum=0.75, warmup=warmup, attending=attending), network

    @staticmethod
    def moved(network: HAN, by: float) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(by)

    def test_it_starts_as_the_network_and_is_frozen(self) -> None:
        teacher, network = self.made("best")
        assert teacher.best is not None
        for frozen in (teacher.average, teacher.best):
            assert not [parameter for parameter in frozen.parameters() if parameter.requires_grad]
            for name, value in network.state_dict().items():
                assert torch.equal(frozen.state_dict()[name], value)
                assert frozen.state_dict()[name].data_ptr() != value.data_ptr()

    @pytest.mark.parametrize(("warmup", "share"), [(False, 0.25), (True, 0.9)])
    def test_it_follows_the_network(self, warmup: bool, share: float) -> None:
        """The momentum of step 0 is 0.75, and 1 / 10 while warming up; that of step 17 is 18 / 27 there."""
        teacher, network = self.made(warmup=warmup)
        before = [parameter.clone() for parameter in network.parameters()]
        self.moved(network, 8.0)
        teacher.follow(network, step=0)
        for now, was in zip(teacher.average.parameters(), before, strict=True):
            torch.testing.assert_close(now - was, torch.full_like(was, 8 * share))
        teacher.follow(network, step=17)
        share += (1 - share) * (9 / 27 if warmup else 0.25)
        for now, was in zip(teacher.average.parameters(), before, strict=True):
            torch.testing.assert_close(now - was, torch.full_like(was, 8 * share))

    def test_the_best_network_is_the_average_of_when_it_was_best(self) -> None:
        teacher, network = self.made("best")
        assert teacher.network is teacher.best
        start = {name: value.clone() for name, value in teacher.network.state_dict().items()}
        self.moved(network, 1.0)
        teacher.follow(network, 0)
        assert all(torch.equal(value, start[name]) for name, value in teacher.network.state_dict().items())
        teacher.keep_best()
        best = {name: value.clone() for name, value in teacher.average.state_dict().items()}
        teacher.follow(network, 1)
        assert all(torch.equal(value, best[name]) for name, value in teacher.network.state_dict().items())
        assert not all(torch.equal(value, best[name]) for name, value in teacher.average.state_dict().items())

    def test_without_a_best_network_the_average_labels(self) -> None:
        teacher, network = self.made()
        teacher.keep_best()
        self.moved(network, 1.0)
        teacher.follow(network, 0)
        assert teacher.best is None
        assert teacher.network is teacher.average

    def test_it_is_always_in_evaluation_mode(self) -> None:
        teacher, _ = self.made("best")
        whole = nn.ModuleDict({"teacher": teacher, "trained": nn.Dropout(0.5)})
        for mode in (True, False, True):
            whole.train(mode)
            assert whole["trained"].training == mode
            assert not [module for module in teacher.modules() if module.training]

    @pytest.mark.parametrize(("attending", "expected"), [(None, None), (["audio"], ("audio",)), ([], ())])
    def test_only_some_modalities_may_attend_while_it_labels(self, attending: Any, expected: Any) -> None:
        teacher, network = self.made("best", attending)
        assert teacher.best is not None
        assert teacher.average.attending == teacher.best.attending == expected
        assert network.attending is None
