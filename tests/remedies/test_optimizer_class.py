"""Tests of adamw, sgd-momentum, muon and epsilon: the optimizer afterwards, and how training improves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from digits import deep_network, loss_after_training
from optimisation_remedies import CATALOGUE, OPTIMIZERS
from remedy_networks import Listed, example_inputs, mlp, training_step
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer
from torch.optim import lr_scheduler as schedulers

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.optimizers.muon import MuonWithAdamW


def test_groups_keep_their_objects_their_parameters_and_the_proportions_of_their_rates() -> None:
    network = mlp()
    layers = [dict(network[at].named_parameters()) for at in (0, 2, 4)]
    optimizer = SGD(
        [
            {"params": list(layers[0].items()), "lr": 0.1},
            {"params": list(layers[1].items()), "lr": 0.01, "weight_decay": 0.0},
            {"params": list(layers[2].items()), "lr": 0.05, "maximize": True},
        ],
        weight_decay=1e-4,
        lr=0.3,
    )
    groups = list(optimizer.param_groups)
    lists = [group["params"] for group in groups]
    change = apply(network, "adamw", optimizer=optimizer, catalogue=CATALOGUE)
    assert type(optimizer) is AdamW
    assert [a is b for a, b in zip(optimizer.param_groups, groups, strict=True)] == [True] * 3
    assert [a is b["params"] for a, b in zip(lists, groups, strict=True)] == [True] * 3
    assert [group["param_names"] for group in groups] == [["weight", "bias"]] * 3
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, 1e-4, 5e-4])
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0, 0.01]
    assert [group["maximize"] for group in groups] == [False, False, True]
    assert change.edits[0].path == "optimizer"
    assert change.edits[0].before == "SGD(lr=0.1 | 0.01 | 0.05, weight_decay=0.0001)"
    assert change.edits[0].after.startswith(
        "AdamW(lr=0.001 | 0.0001 | 0.0005, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01 | 0"
    )
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "param_names": ["more"]})
    training_step(network, optimizer, example_inputs("mlp"))
    assert "momentum" not in groups[0]


@pytest.mark.parametrize(("name", "new_class"), [("adamw", AdamW), ("sgd-momentum", SGD)])
def test_a_changed_optimizer_steps_like_one_built_of_that_class(name: str, new_class: type[Optimizer]) -> None:
    network, other = Listed(), Listed()
    other.load_state_dict(network.state_dict())
    optimizer = Adagrad(network.parameters(), lr=0.3)
    training_step(network, optimizer, example_inputs("module list"))
    other.load_state_dict(network.state_dict())
    apply(network, name, optimizer=optimizer, catalogue=CATALOGUE)
    built = AdamW(other.parameters()) if new_class is AdamW else SGD(other.parameters(), lr=0.01, momentum=0.9)
    assert optimizer.param_groups[0].keys() == built.param_groups[0].keys()
    assert optimizer.defaults.keys() == built.defaults.keys()
    for group, like in zip(optimizer.param_groups, built.param_groups, strict=True):
        assert all(group[key] == like[key] or not (group[key] or like[key]) for key in like if key != "params")
    for _ in range(3):
        training_step(network, optimizer, example_inputs("module list"))
        training_step(other, built, example_inputs("module list"))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_adam_keeps_its_rate_and_betas_and_loses_its_state() -> None:
    network = mlp()
    optimizer = Adam(network.parameters(), lr=3e-4, betas=(0.5, 0.99), weight_decay=0.1)
    training_step(network, optimizer, example_inputs("mlp"))
    change = apply(network, "adamw", optimizer=optimizer, catalogue=CATALOGUE)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"], group["decoupled_weight_decay"]) == (3e-4, (0.5, 0.99), 0.01, True)
    assert not optimizer.state
    change.undo()
    assert type(optimizer) is Adam
    assert len(optimizer.state) == 6
    assert not optimizer.param_groups[0]["decoupled_weight_decay"]


def test_with_a_scheduler_each_step_uses_its_rate_times_a_factor() -> None:
    network, other = mlp(), mlp()
    other.load_state_dict(network.state_dict())
    optimizer = SGD(network.parameters(), lr=0.1)
    scheduler = schedulers.LambdaLR(optimizer, lambda t: min(1.0, t / 4))  # begins at zero
    change = apply(network, "adamw", optimizer=optimizer, catalogue=CATALOGUE)
    assert "0.01 times the scheduler's rate" in change.edits[1].after
    built = AdamW(other.parameters(), lr=1e-3)
    scheduled = schedulers.LambdaLR(built, lambda t: min(1.0, t / 4))
    for _ in range(6):
        for n, o, s in ((network, optimizer, scheduler), (other, built, scheduled)):
            training_step(n, o, example_inputs("mlp"))
            s.step()
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert all(torch.allclose(a, b, rtol=1e-6, atol=0) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_several_optimizers_are_changed_where_they_train_the_network() -> None:
    network = mlp()
    first, second = SGD(network[0].parameters(), lr=0.1), Adam([*network[2].parameters(), *network[4].parameters()])
    other = SGD(mlp().parameters(), lr=0.1)
    change = apply(network, "adamw", optimizer=[first, other, second], catalogue=CATALOGUE)
    assert [type(o) for o in (first, other, second)] == [AdamW, SGD, AdamW]
    assert [edit.path for edit in change.edits] == ["optimizers[0]", "optimizers[2]"]


@pytest.mark.parametrize("name", ["adamw", "sgd-momentum", "muon"])
def test_optimizers_whose_class_cannot_change_are_refused(name: str) -> None:
    network = Listed()
    optimizer: Optimizer = torch.optim.LBFGS(network.parameters())
    with pytest.raises(NotApplicable, match="LBFGS"):
        apply(network, name, optimizer=optimizer, catalogue=CATALOGUE)
    patched = Adagrad(network.parameters(), lr=0.1)
    patched.step = lambda: None  # type: ignore[method-assign]
    with pytest.raises(NotApplicable, match="has been replaced by other code"):
        apply(network, name, optimizer=patched, catalogue=CATALOGUE)
    wrapper = Adagrad(network.parameters(), lr=0.1)
    wrapper.inner = patched  # type: ignore[attr-defined]
    with pytest.raises(NotApplicable, match="wraps another optimizer"):
        apply(network, name, optimizer=wrapper, catalogue=CATALOGUE)
    network.table = nn.Embedding(4, 3, sparse=True)
    with pytest.raises(NotApplicable, match="'table' are sparse"):
        apply(network, name, optimizer=Adagrad(network.parameters()), catalogue=CATALOGUE)


def test_an_optimizer_of_an_unknown_class_is_changed() -> None:
    class Signs(Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        def training_step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.sub_(group["lr"] * p.grad.sign())

    network = Listed()
    optimizer = Signs(network.parameters(), lr=0.1)
    apply(network, "adamw", optimizer=optimizer, catalogue=CATALOGUE)
    assert type(optimizer) is AdamW
    assert optimizer.param_groups[0]["lr"] == 1e-3
    training_step(network, optimizer, example_inputs("module list"))


def test_momentum_is_set_where_there_is_none_and_the_rate_stays() -> None:
    network = mlp()
    optimizer = SGD([{"params": network[0].parameters(), "momentum": 0.5}, {"params": network[2].parameters()}], lr=0.02)
    change = apply(network, "sgd-momentum", optimizer=optimizer, catalogue=CATALOGUE)
    assert [(group["momentum"], group["lr"]) for group in optimizer.param_groups] == [(0.5, 0.02), (0.9, 0.02)]
    assert (change.edits[0].before, change.edits[0].after) == ("SGD(momentum=0)", "SGD(momentum=0.9)")


def test_momentum_is_stable_at_almost_twice_the_rate_and_faster_along_flat_directions() -> None:
    curvature = torch.tensor([1.0, 1e-3])

    def ends(momentum: float, rate: float) -> list[float]:
        point = nn.Parameter(torch.ones(2))
        optimizer = SGD([point], lr=rate, momentum=momentum)
        for _ in range(400):
            point.grad = curvature * point.detach()
            optimizer.step()
        return point.detach().abs().tolist()

    assert not ends(0.0, 2.1)[0] < 1e6
    assert ends(0.9, 2.1)[0] < 1e-3
    assert ends(0.9, 3.75)[0] < 1.0
    assert not ends(0.9, 3.9)[0] < 1e6
    assert ends(0.0, 1.0)[1] == pytest.approx((1 - 1e-3) ** 400, rel=1e-4)
    assert ends(0.9, 1.0)[1] < 0.03 < 0.6 < ends(0.0, 1.0)[1]


def test_decoupled_weight_decay_keeps_its_strength_under_sgd() -> None:
    network = mlp()
    optimizer = AdamW(network.parameters(), lr=1e-3, weight_decay=0.5)
    apply(network, "sgd-momentum", optimizer=optimizer, catalogue=CATALOGUE)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = network[0].weight.detach().clone()
    for _ in range(60):
        optimizer.step()
    for _ in range(40):
        optimizer.step()
    shrunk = float(network[0].weight.detach().norm() / before.norm())
    assert shrunk == pytest.approx((1 - 1e-3 * 0.5) ** 91, rel=1e-3)  # momentum lags nine steps behind


@pytest.mark.parametrize("kind", ["adam", "rmsprop", "adagrad", "nadam"])
def test_epsilon_becomes_torchs_default_for_the_class(kind: str) -> None:
    network = mlp()
    optimizer = OPTIMIZERS[kind](network.parameters())
    apply(network, "epsilon", optimizer=optimizer, catalogue=CATALOGUE)
    fresh = type(optimizer)(network.parameters())
    assert optimizer.param_groups[0]["eps"] == fresh.param_groups[0]["eps"] == optimizer.defaults["eps"]


def test_epsilon_becomes_smaller_than_small_gradients() -> None:
    network = mlp()
    optimizer = Adam(network.parameters())
    (network(example_inputs("mlp")).square().sum() * 1e-9).backward()
    smallest = min(float(p.grad.square().mean().sqrt()) for p in network.parameters())
    apply(network, "epsilon", optimizer=optimizer, catalogue=CATALOGUE)
    eps = optimizer.param_groups[0]["eps"]
    assert 1e-4 * smallest < eps <= 1e-3 * smallest
    for other in (SGD(network.parameters()), torch.optim.Adadelta(network.parameters(), eps=1.0)):
        with pytest.raises(NotApplicable, match="has no eps below a fraction"):
            apply(network, "epsilon", optimizer=other, catalogue=CATALOGUE)


def test_epsilon_lets_a_network_learn_whose_gradients_were_small_against_eps() -> None:
    losses = []
    for treated in (False, True):
        network = deep_network(2, nn.Tanh)
        optimizer = Adam(network.parameters(), eps=1.0)
        if treated:
            apply(network, "epsilon", optimizer=optimizer, catalogue=CATALOGUE)
        losses.append(loss_after_training(network, optimizer, steps=150))
    assert losses[0] > 2.2
    assert losses[1] < 1.0


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_adamw_trains_a_network_whose_gradients_differ_by_decades(name: str) -> None:
    losses = []
    for treated in (False, True):
        network = deep_network(6, nn.Tanh)
        optimizer = SGD(network.parameters(), lr=0.01)
        if treated:
            apply(network, name, optimizer=optimizer, catalogue=CATALOGUE)
        losses.append(loss_after_training(network, optimizer, steps=200))
    assert losses[0] > 2.2
    assert losses[1] < 1.0


def test_momentum_trains_faster_at_the_same_rate() -> None:
    losses = []
    for treated in (False, True):
        network = deep_network(2, nn.Tanh)
        optimizer = SGD(network.parameters(), lr=0.02)
        if treated:
            apply(network, "sgd-momentum", optimizer=optimizer, catalogue=CATALOGUE)
        losses.append(loss_after_training(network, optimizer, steps=150))
    assert losses[0] > 1.9
    assert losses[1] < 0.6


def test_muon_and_adam_reach_a_lower_loss_together_than_adam_alone() -> None:
    losses = []
    for name in ("adamw", "muon"):
        network = deep_network(6, nn.Tanh, width=64)
        optimizer = SGD(network.parameters(), lr=0.01)
        apply(network, name, optimizer=optimizer, catalogue=CATALOGUE)
        assert isinstance(optimizer, AdamW | MuonWithAdamW)
        losses.append(loss_after_training(network, optimizer, steps=100))
    assert losses[1] < losses[0] / 4
