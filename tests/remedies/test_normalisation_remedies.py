"""Tests of layernorm, groupnorm, rmsnorm, online-norm and dynamic-tanh: where they are inserted, what they replace, refusals."""

from __future__ import annotations

import pytest
import torch
from remedy_networks import Functional, Sequences
from state_of_network import state_snapshot
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.catalogue.normalisation.groupnorm import group_count
from unvanish.remedies.layers.channel_norm import ChannelRMSNorm
from unvanish.remedies.layers.dynamic_tanh import DynamicTanh
from unvanish.remedies.layers.online_norm import OnlineNorm

KINDS = {
    "layernorm": (nn.LayerNorm, nn.GroupNorm),
    "groupnorm": (nn.GroupNorm, nn.GroupNorm),
    "rmsnorm": (nn.RMSNorm, ChannelRMSNorm),
    "online-norm": (OnlineNorm, OnlineNorm),
    "dynamic-tanh": (DynamicTanh, DynamicTanh),
}


def images() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 8),
        nn.BatchNorm1d(8),
        nn.Tanh(),
        nn.Linear(8, 2),
    )


@pytest.mark.parametrize("name", KINDS)
def test_batch_normalisation_is_replaced_and_its_parameters_leave_the_optimizer(name: str) -> None:
    network = images()
    optimizer = torch.optim.Adam(network.parameters())
    before = state_snapshot(network, optimizer)
    change = apply(network, name, optimizer=optimizer, inputs=torch.randn(4, 1, 5, 5))
    flat, spatial = KINDS[name]
    assert type(network[1]) is spatial
    assert type(network[5]) is flat
    owned = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in network.parameters())
    assert network(torch.randn(1, 1, 5, 5)).shape == (1, 2)
    change.undo()
    assert state_snapshot(network, optimizer) == before


@pytest.mark.parametrize("name", KINDS)
def test_it_is_inserted_between_a_layer_and_its_activation(name: str) -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 2))
    apply(network, name)
    placed = network[1]
    assert isinstance(placed, nn.Sequential)
    assert [type(part) for part in placed] == [KINDS[name][0], nn.Sigmoid]
    with pytest.raises(NotApplicable, match="already"):
        apply(network, name)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_inserted_behind_a_layer_whose_activation_is_a_call(name: str) -> None:
    network = Functional()
    assert [edit.path for edit in apply(network, name).edits] == ["fc1", "fc2"]


def test_layernorm_accepts_sequences_and_groupnorm_refuses_them() -> None:
    tokens = torch.randint(0, 7, (3, 5))
    network = Sequences()
    assert [edit.path for edit in apply(network, "layernorm", inputs=tokens).edits] == ["mix.1"]
    assert network(tokens).shape == (3, 3)
    with pytest.raises(NotApplicable, match="axes"):
        apply(Sequences(), "groupnorm", inputs=tokens)
    with pytest.raises(NotApplicable, match="pass inputs="):
        apply(Sequences(), "groupnorm")


def test_dynamic_tanh_replaces_layer_normalisation_where_there_is_one() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2))
    apply(network, "dynamic-tanh")
    assert isinstance(network[1], DynamicTanh)
    with pytest.raises(NotApplicable, match="already"):
        apply(network, "dynamic-tanh")


@pytest.mark.parametrize(("features", "groups"), [(1, 1), (3, 1), (4, 1), (8, 2), (16, 4), (64, 16), (96, 16), (256, 32), (100, 4)])
def test_groups_divide_the_channels_and_have_four_at_least(features: int, groups: int) -> None:
    assert group_count(features) == groups
    assert features % groups == 0
    assert groups == 1 or features // groups >= 4


def test_the_rms_over_channels_is_torchs_own_over_the_last_axis() -> None:
    norm, x = ChannelRMSNorm(6), torch.randn(2, 6, 3, 4)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
    expected: Tensor = x / x.square().mean(1, keepdim=True).add(torch.finfo(x.dtype).eps).sqrt() * norm.weight.view(1, 6, 1, 1)
    assert torch.allclose(norm(x), expected, atol=1e-6)
