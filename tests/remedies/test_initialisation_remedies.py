"""Tests of he-init and glorot-init: the scale of the weights, and which weights stay."""

from __future__ import annotations

import math

import pytest
import torch
from remedy_networks import Branching, Tied, example_inputs, mlp, training_step
from torch import nn
from torch.nn.utils import parametrizations

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.init.weight_scale import fans

WIDTH = 256
ROOT2 = math.sqrt(2.0)


def chain(*activations: nn.Module) -> nn.Sequential:
    layers = [part for activation in activations for part in (nn.Linear(WIDTH, WIDTH), activation)]
    return nn.Sequential(*layers, nn.Linear(WIDTH, WIDTH))


@pytest.mark.parametrize(
    ("activation", "gain"),
    [
        (nn.ReLU(), ROOT2),
        (nn.LeakyReLU(0.5), math.sqrt(2 / 1.25)),
        (nn.PReLU(init=0.25), math.sqrt(2 / 1.0625)),
        (nn.ELU(), ROOT2),
        (nn.GELU(), ROOT2),
        (nn.SELU(), 1.0),
        (nn.Tanh(), 1.0),
        (nn.Identity(), 1.0),
    ],
)
def test_he_uses_the_gain_of_the_next_activation(activation: nn.Module, gain: float) -> None:
    network = chain(activation)
    apply(network, "he-init")
    first, last = network[0], network[2]
    assert first.weight.std().item() * math.sqrt(WIDTH) == pytest.approx(gain, rel=0.02)
    assert last.weight.std().item() * math.sqrt(WIDTH) == pytest.approx(1.0, rel=0.02)
    assert not first.bias.any()
    assert not last.bias.any()


def test_he_keeps_the_signal_of_a_deep_rectifier_network() -> None:
    network = chain(*(nn.ReLU() for _ in range(20)))
    x = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))
    faint = network(x).std()
    apply(network, "he-init")
    assert faint < 0.1
    assert 0.3 < network(x).std() < 3.0


def test_he_uses_the_networks_own_activation_where_the_order_is_unknown() -> None:
    network = Branching()
    change = apply(network, "he-init")
    assert change.edits[0].after == f"He normal, std {1 / math.sqrt(6):.3g}; bias 0"


def test_glorot_fills_the_interval_of_the_paper() -> None:
    network = nn.Sequential(nn.Linear(300, 100), nn.Tanh(), nn.Linear(100, 300))
    apply(network, "glorot-init")
    bound = math.sqrt(6 / 400)
    for layer in (network[0], network[2]):
        assert 0.99 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.mean().item() == pytest.approx(0.0, abs=0.01 * bound)
        assert not layer.bias.any()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 4),
        nn.Conv1d(6, 4, 3, groups=2),
        nn.Conv2d(4, 8, 3),
        nn.Conv3d(2, 4, (1, 2, 2), groups=2),
        nn.Conv2d(4, 4, 4, stride=2),
        nn.ConvTranspose1d(6, 4, 4, stride=2, groups=2),
        nn.ConvTranspose2d(4, 6, 4, stride=2),
        nn.ConvTranspose3d(2, 2, 2),
    ],
    ids=repr,
)
def test_fans_count_the_terms_of_a_sum_in_the_layers_interior(layer: nn.Module) -> None:
    layer = layer.double()
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.zero_()
    size = (24,) if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)) else (12,) * (layer.weight.dim() - 2)
    channels = layer.weight.shape[1] if isinstance(layer, nn.Linear) else layer.in_channels
    x = torch.ones(1, channels, *size, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    middle = tuple(slice(extent // 2 - 2, extent // 2 + 2) for extent in y.shape[2:])
    centre = tuple(slice(extent // 2 - 2, extent // 2 + 2) for extent in x.shape[2:])
    fan_in, fan_out = fans(layer)
    assert y[(slice(None), slice(None), *middle)].mean().item() == pytest.approx(fan_in)
    assert x.grad[(slice(None), slice(None), *centre)].mean().item() == pytest.approx(fan_out)


@pytest.mark.parametrize("name", ["he-init", "glorot-init"])
def test_tied_weights_stay_tied_and_are_drawn_once(name: str) -> None:
    network = Tied()
    apply(network, name)
    assert network.one.weight is network.two.weight


def test_a_weight_tied_to_an_embedding_stays() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix, self.out = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5)
            self.out.weight = self.embed.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.tanh(self.mix(self.embed(x))))

    network = Model()
    kept = network.embed.weight.clone()
    assert [edit.path for edit in apply(network, "he-init").edits] == ["mix"]
    assert torch.equal(network.out.weight, kept)


def test_frozen_weights_stay_and_a_frozen_network_is_refused() -> None:
    network = mlp()
    network[0].weight.requires_grad_(False)
    network[2].bias.requires_grad_(False)
    weight, bias = network[0].weight.clone(), network[2].bias.clone()
    assert [edit.path for edit in apply(network, "he-init").edits] == ["2", "4"]
    assert torch.equal(network[0].weight, weight)
    assert torch.equal(network[2].bias, bias)
    network.requires_grad_(False)
    with pytest.raises(NotApplicable, match="frozen"):
        apply(network, "glorot-init")


def test_computed_weights_stay() -> None:
    network = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 2))
    kept = network[0].weight.clone()
    assert [edit.path for edit in apply(network, "he-init").edits] == ["2"]
    assert torch.equal(network[0].weight, kept)
    with pytest.raises(NotApplicable, match="weight_norm"):
        apply(nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))), "he-init")


def test_a_network_without_weighted_layers_is_refused() -> None:
    with pytest.raises(NotApplicable, match="no Linear or convolution"):
        apply(nn.LSTM(3, 3), "he-init")


def test_state_of_redrawn_parameters_starts_afresh_and_that_of_others_stays() -> None:
    network = mlp()
    network[0].requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters())
    training_step(network, optimizer, example_inputs("mlp"))
    network[0].weight.requires_grad_(False)
    kept = optimizer.state[network[0].weight]["exp_avg"].clone()
    apply(network, "he-init", optimizer=optimizer)
    assert network[2].weight not in optimizer.state
    assert torch.equal(optimizer.state[network[0].weight]["exp_avg"], kept)
    training_step(network, optimizer, example_inputs("mlp"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    network = mlp().to(dtype)
    apply(network, "relu", "he-init", "batchnorm")
    assert {p.dtype for p in network.parameters()} == {dtype}


def test_the_feed_forward_part_of_a_transformer_is_drawn_and_its_attention_is_not() -> None:
    network = nn.TransformerEncoderLayer(8, 2, 16)
    kept = [p.clone() for p in network.self_attn.parameters()]
    assert [edit.path for edit in apply(network, "he-init").edits] == ["linear1", "linear2"]
    assert all(torch.equal(a, b) for a, b in zip(kept, network.self_attn.parameters(), strict=True))
