"""Tests of residual: plain chains get skips, residual networks get gates, and both start as the identity."""

from __future__ import annotations

import pickle

import pytest
import torch
import torch.nn.functional as F
from state_of_network import state_snapshot
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply


class Called(nn.Module):
    """Activations that are calls, one line for all layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)])
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.out(x)


class Block(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(into, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Identity() if into == out else nn.Conv2d(into, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + F.dropout(self.conv2(F.relu(self.conv1(x))), 0.0)


def plain() -> nn.Sequential:
    norm = nn.BatchNorm1d(6)
    return nn.Sequential(nn.Linear(6, 6), norm, nn.Sigmoid(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))


def batch(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_plain_chain_starts_as_the_identity_and_opens_its_gates() -> None:
    network = plain()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = state_snapshot(network, optimizer)
    change = apply(network, "residual", optimizer=optimizer)
    x = batch(4, 6)
    last = network[5]
    assert torch.equal(network(x), last(x))
    network(x).square().sum().backward()
    optimizer.step()
    gates = [p for name, p in network.named_parameters() if name.endswith("scale")]
    assert len(gates) == 2
    assert all(gate != 0 for gate in gates)
    change.undo()
    assert state_snapshot(network, optimizer) == before


def test_calls_in_a_loop_move_into_their_layers() -> None:
    network = Called()
    apply(network, "residual", inputs=batch(4, 6))
    x = batch(4, 6)
    first = network.get_submodule("layers.0.0")
    assert torch.equal(network(x), network.out(torch.tanh(first(x))))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("scale"):
                parameter.fill_(0.5)
    h = torch.tanh(first(x))
    for at in (1, 2):
        h = h + 0.5 * torch.tanh(network.get_submodule(f"layers.{at}.branch.0")(h))
    assert torch.allclose(network(x), network.out(h))
    assert torch.equal(pickle.loads(pickle.dumps(network))(x), network(x))


def test_existing_branches_get_a_gate_behind_their_last_layer() -> None:
    network = nn.Sequential(Block(2, 4), Block(4, 4))
    change = apply(network, "residual")
    assert [edit.path for edit in change.edits] == ["0.conv2", "1.conv2"]
    x = batch(2, 2, 5, 5)
    assert torch.equal(network(x), network.get_submodule("0.skip")(x))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), "change the shape"),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), "no layer with a hidden activation"),
    ],
)
def test_networks_where_no_skip_fits_are_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        apply(network, "residual")


def test_a_second_application_is_refused() -> None:
    network = plain()
    apply(network, "residual")
    with pytest.raises(NotApplicable, match="already"):
        apply(network, "residual")
