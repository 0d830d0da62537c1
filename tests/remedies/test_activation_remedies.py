"""Tests of relu and elu: which activations they replace, and why they refuse."""

from __future__ import annotations

import pytest
import torch
from remedy_networks import Functional, Gated, mlp
from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply

SATURATING = [nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.ReLU6, nn.Softsign, nn.LogSigmoid, nn.Hardsigmoid, nn.Tanhshrink, nn.GELU]


def around(activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), activation, nn.Linear(3, 1))


@pytest.mark.parametrize("kind", SATURATING)
@pytest.mark.parametrize(("name", "expected"), [("relu", nn.ReLU), ("elu", nn.ELU)])
def test_a_saturating_activation_is_replaced(kind: type[nn.Module], name: str, expected: type[nn.Module]) -> None:
    network = around(kind())
    apply(network, name)
    assert type(network[1]) is expected


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(), nn.PReLU(), nn.RReLU()])
def test_relu_leaves_rectifiers_alone_and_says_so(activation: nn.Module) -> None:
    with pytest.raises(NotApplicable, match=f"is {type(activation).__name__} already"):
        apply(around(activation), "relu")


def test_elu_replaces_relu_and_leaves_elu_selu_and_celu_alone() -> None:
    network = around(nn.ReLU(inplace=True))
    apply(network, "elu")
    assert isinstance(network[1], nn.ELU)
    assert not network[1].inplace
    with pytest.raises(NotApplicable, match="ELU already"):
        apply(network, "elu")


def test_the_activation_of_the_output_stays() -> None:
    network = mlp()
    apply(network, "relu")
    assert isinstance(network[5], nn.Sigmoid)
    with pytest.raises(NotApplicable, match="output's own"):
        apply(nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()), "relu")


def test_a_gate_stays() -> None:
    network = Gated()
    apply(network, "relu")
    assert isinstance(network.gate, nn.Sigmoid)
    assert isinstance(network.act, nn.ReLU)


def test_each_of_two_heads_keeps_its_output_activation() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
            self.mean = nn.Sequential(nn.Linear(3, 1), nn.Tanh())
            self.scale = nn.Sequential(nn.Linear(3, 1), nn.Softplus())

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = self.body(x)
            return self.mean(h), self.scale(h)

    assert [edit.path for edit in apply(Heads(), "relu").edits] == ["body.1"]


def test_a_module_shared_by_hidden_layers_and_the_output_stays() -> None:
    squash = nn.Sigmoid()
    with pytest.raises(NotApplicable):
        apply(nn.Sequential(nn.Linear(3, 3), squash, nn.Linear(3, 3), squash), "relu")


def test_a_shared_module_is_replaced_by_one_module_everywhere() -> None:
    squash = nn.Tanh()
    network = nn.Sequential(nn.Linear(3, 3), squash, nn.Linear(3, 3), squash, nn.Linear(3, 3))
    assert len(apply(network, "relu").edits) == 1
    assert isinstance(network[1], nn.ReLU)
    assert network[1] is network[3]


def test_calls_inside_forward_are_replaced_and_listed() -> None:
    (edit,) = apply(Functional(), "relu").edits
    assert (edit.path, edit.before, edit.after) == ("", "sigmoid(x)", "relu(x)")


def test_a_network_without_activations_is_refused() -> None:
    with pytest.raises(NotApplicable, match="has no activation to replace"):
        apply(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "relu")


def test_the_new_activation_follows_the_training_mode() -> None:
    network = mlp().eval()
    apply(network, "elu")
    assert not network[1].training


def test_the_gate_of_a_highway_layer_stays_and_its_activation_is_replaced() -> None:
    class Highway(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act = nn.Linear(3, 3), nn.Tanh()
            self.carry, self.gate = nn.Linear(3, 3), nn.Sigmoid()
            self.out = nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.act(self.fc(x))
            share = self.gate(self.carry(x))
            return self.out(2.0 * (share * x) + (1 - share) * self.fc(x))

    assert [edit.path for edit in apply(Highway(), "relu").edits] == ["act"]


def test_calls_that_need_no_replacement_are_named_in_the_refusal() -> None:
    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.out = nn.Linear(3, 3), nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.fc(x).relu())

    with pytest.raises(NotApplicable, match="need no replacement"):
        apply(Called(), "relu")
    assert apply(Called(), "elu").edits[0].after == "elu(x)"
