"""Tests of logits: which output activations it removes, and which losses forbid it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply


def headed(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3), *last)


class Called(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(self.out(torch.sigmoid(self.hidden(x))), dim=1).squeeze(-1)


@pytest.mark.parametrize("last", [nn.Softmax(dim=1), nn.Sigmoid(), nn.Tanh(), nn.ReLU()])
def test_a_module_at_the_output_becomes_the_identity(last: nn.Module) -> None:
    network = headed(last)
    x = torch.randn(6, 4)
    raw = network[:3](x)
    change = apply(network, "logits")
    assert torch.equal(network(x), raw)
    assert isinstance(network[1], nn.Sigmoid)
    change.undo()
    assert network[3] is last


def test_a_call_at_the_output_is_removed_and_a_later_reshape_stays() -> None:
    network = Called()
    x = torch.randn(6, 4)
    (edit,) = apply(network, "logits").edits
    assert (edit.before, edit.after) == ("softmax(x)", "x")
    assert torch.equal(network(x), network.out(torch.sigmoid(network.hidden(x))))


@pytest.mark.parametrize("network", [headed(), headed(nn.LogSoftmax(dim=1)), headed(nn.Softmax(dim=1), nn.Linear(3, 3))])
def test_other_outputs_are_left_alone_with_the_reason(network: nn.Module) -> None:
    with pytest.raises(NotApplicable, match="no softmax, sigmoid, tanh or ReLU at its output"):
        apply(network, "logits")


def test_a_loss_of_probabilities_forbids_it_and_one_of_logits_does_not() -> None:
    x, y = torch.randn(6, 4), torch.rand(6, 3)

    def of_probabilities(out: Tensor) -> Tensor:
        return F.binary_cross_entropy(out, y)

    def of_logarithms(out: Tensor) -> Tensor:
        return -torch.log(out).mean()

    def of_logits(out: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out, y)

    with pytest.raises(NotApplicable, match="BCEWithLogitsLoss"):
        apply(headed(nn.Sigmoid()), "logits", inputs=x, loss=of_probabilities)
    with pytest.raises(NotApplicable, match="not finite"):
        apply(headed(nn.Softmax(dim=1)), "logits", inputs=x, loss=of_logarithms)
    assert apply(headed(nn.Sigmoid()), "logits", inputs=x, loss=of_logits).edits
