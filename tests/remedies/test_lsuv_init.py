"""Tests of lsuv-init: unit variance of every layer, against a plain implementation of the paper."""

from __future__ import annotations

import math
import zlib

import pytest
import torch
from remedy_networks import KINDS, Sequences, Tied, build_network, example_inputs, mlp
from state_of_network import random_state, state_snapshot
from torch import Tensor, nn

from unvanish.errors import NotApplicable, UsageError
from unvanish.remedies import Context, Remedy, apply
from unvanish.remedies.catalogue.initialisation.lsuv_init import TOLERANCE, LsuvInit, unit_variance_

CATALOGUE: dict[str, Remedy] = {"lsuv-init": LsuvInit()}


def outputs(network: nn.Module, batch: Tensor) -> dict[str, list[Tensor]]:
    """What each Linear and convolution puts out in evaluation mode, run by run."""
    outputs_by_path: dict[str, list[Tensor]] = {}
    handles = [
        module.register_forward_hook(lambda _, __, out, path=path: outputs_by_path.setdefault(path, []).append(out.detach()))
        for path, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    training = network.training
    network.eval()(batch)
    network.train(training)
    for handle in handles:
        handle.remove()
    return outputs_by_path


@pytest.mark.parametrize("kind", KINDS)
def test_every_layers_first_output_has_unit_variance(kind: str) -> None:
    network, batch = build_network(kind), 7.0 * example_inputs(kind, rows=64) + 2.0
    apply(network, "lsuv-init", inputs=batch, catalogue=CATALOGUE)
    shared = {"two"} if kind == "tied weights" else set[str]()  # has the weight of another layer
    for path, outputs_of_layer in outputs(network, batch).items():
        if path not in shared:
            assert abs(outputs_of_layer[0].std(correction=0).item() - 1.0) <= TOLERANCE, path
            assert outputs_of_layer[0].mean().item() == pytest.approx(0.0, abs=0.2)


def test_weights_equal_those_of_the_papers_procedure() -> None:
    network, batch = mlp().double(), 5.0 + 3.0 * example_inputs("mlp", rows=64).double()
    apply(network, "lsuv-init", inputs=batch, catalogue=CATALOGUE)
    plain = mlp().double()
    for operation in LsuvInit().plan(plain, Context(torch.Generator().manual_seed(zlib.crc32(b"lsuv-init:0")), inputs=batch))[:-1]:
        operation.perform(plain, ())
    for at in (0, 2, 4):
        layer = plain[at]
        for _ in range(11):
            out = plain[: at + 1](batch)
            if abs(out.std(correction=0) - 1) <= TOLERANCE:
                break
            with torch.no_grad():
                layer.weight /= out.std(correction=0)
                layer.bias -= out.mean() / out.std(correction=0)
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_pure_function_stops_within_the_tolerance_and_at_eleven_tries(with_bias: bool) -> None:
    layer = nn.Linear(8, 8, bias=with_bias)
    x = 50.0 * torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    runs = 0

    def output() -> Tensor:
        nonlocal runs
        runs += 1
        return layer(x)

    with torch.no_grad():
        made = unit_variance_(layer.weight, layer.bias, output=output)
    assert made.std(correction=0).item() == pytest.approx(1.0, abs=TOLERANCE)
    assert runs <= 4

    runs = 0

    def never() -> Tensor:
        nonlocal runs
        runs += 1
        return x

    with torch.no_grad():
        unit_variance_(torch.ones(2, 2), None, output=never)
    assert runs == 12  # eleven to try, one to hand on


def test_an_output_that_does_not_vary_is_left() -> None:
    network = mlp()
    apply(network, "lsuv-init", inputs=torch.zeros(8, 6), catalogue=CATALOGUE)
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_batch_statistics_are_those_of_training_and_dropout_is_off() -> None:
    def network() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))

    batch = example_inputs("mlp", rows=256)
    with torch.no_grad():
        treated, twin = network(), network().eval()
        for each in (treated, twin):
            each[1].running_var.fill_(1e4)  # of other weights, long ago
            each[1].running_mean.fill_(30.0)
    before = state_snapshot(treated[1])
    for each in (treated, twin):
        apply(each, "lsuv-init", inputs=batch, catalogue=CATALOGUE)
    assert state_snapshot(treated[1]) == before
    assert all(torch.equal(a, b) for a, b in zip(treated.parameters(), twin.parameters(), strict=True))
    treated[3].eval()
    assert abs(treated(batch).std(correction=0).item() - 1.0) <= TOLERANCE


def test_planning_runs_nothing_on_the_network_and_alters_nothing() -> None:
    network = mlp()
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    before, chance = state_snapshot(network), random_state()
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    LsuvInit().plan(network, Context(generator, inputs=example_inputs("mlp")))
    assert not calls
    assert state_snapshot(network) == before
    assert random_state() == chance
    assert torch.equal(generator.get_state(), state)


def test_a_frozen_bias_stays_and_its_weight_is_scaled_alone() -> None:
    network = mlp()
    network[0].bias.requires_grad_(False)
    kept = network[0].bias.clone()
    apply(network, "lsuv-init", inputs=example_inputs("mlp", rows=64), catalogue=CATALOGUE)
    assert torch.equal(network[0].bias, kept)
    assert abs(outputs(network, example_inputs("mlp", rows=64))["0"][0].std(correction=0).item() - 1.0) <= TOLERANCE


def test_tied_weights_are_scaled_where_their_first_owner_runs() -> None:
    network, batch = Tied(), example_inputs("tied weights", rows=64)
    apply(network, "lsuv-init", inputs=batch, catalogue=CATALOGUE)
    assert network.one.weight is network.two.weight
    assert abs(network.one(batch).std(correction=0).item() - 1.0) <= TOLERANCE


def test_the_feed_forward_layers_of_a_transformer_are_scaled() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    batch = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    apply(layer, "lsuv-init", inputs=batch, catalogue=CATALOGUE)
    for outputs_of_layer in (tensors for path, tensors in outputs(layer, batch).items() if path.startswith("linear")):
        assert abs(outputs_of_layer[0].std(correction=0).item() - 1.0) <= TOLERANCE


def test_inputs_may_be_a_tensor_a_tuple_or_a_dict() -> None:
    network = Sequences()
    tokens = torch.arange(24).reshape(6, 4) % 7
    for batch in (tokens, (tokens,), {"x": tokens}):
        change = apply(network, "lsuv-init", inputs=batch, catalogue=CATALOGUE)
        assert change.edits[-1].after.startswith("scaled in order: outputs of 2 layers")


def test_it_needs_inputs_that_fit() -> None:
    with pytest.raises(NotApplicable, match="pass inputs=, or use orthogonal-init"):
        apply(mlp(), "lsuv-init", catalogue=CATALOGUE)
    with pytest.raises(UsageError, match="cannot be run"):
        apply(mlp(), "lsuv-init", inputs=torch.zeros(3, 5), catalogue=CATALOGUE)


def test_a_batch_without_statistics_is_refused_and_nothing_is_altered() -> None:
    network = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    before = state_snapshot(network)
    with pytest.raises(UsageError, match="more than 1 value per channel"):
        apply(network, "lsuv-init", inputs=torch.ones(1, 6), catalogue=CATALOGUE)
    assert state_snapshot(network) == before


def test_signals_of_a_deep_tanh_network_neither_saturate_nor_vanish() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(*(part for _ in range(50) for part in (nn.Linear(64, 64), nn.Tanh())))
    batch = torch.randn(128, 64, generator=torch.Generator().manual_seed(0))
    assert network(batch).std() < 0.1
    apply(network, "lsuv-init", inputs=batch, catalogue=CATALOGUE)
    assert math.isclose(network(batch).std().item(), 0.63, abs_tol=0.05)  # of tanh(z) for standard normal z
