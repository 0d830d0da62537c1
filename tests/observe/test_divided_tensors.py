"""Networks whose weights are divided among processes (FSDP2, tensor parallel) are observed as plain ones, and train unchanged.

One process here: the tensors and hooks are those of several. tests/trials/test_ranks.py has two processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from watching import observe_training

from unvanish.network.distributed_tensors import local_part

STEPS = 12


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def build() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 16), nn.LayerNorm(16), nn.Sigmoid(), nn.Linear(16, 3))


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    for layer in network:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)


def divide(network: nn.Module, mesh: DeviceMesh) -> None:
    last = ColwiseParallel(use_local_output=False)
    parallelize_module(network, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel(), "5": last})


def train(network: nn.Module) -> list[torch.Tensor]:
    """The network's weights, each after every step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    weights: list[torch.Tensor] = []
    for _ in range(STEPS):
        inputs, labels = torch.randn(32, 8, generator=generator), torch.randint(3, (32,), generator=generator)
        outputs = network(inputs)
        optimizer.zero_grad()
        nn.functional.cross_entropy(outputs.full_tensor() if isinstance(outputs, DTensor) else outputs, labels).backward()
        optimizer.step()
        weights += [local_part(parameter).detach().clone() for parameter in network.parameters()]
    return weights


@pytest.mark.parametrize("prepare", [shard, divide])
def test_a_divided_network_trains_unchanged_and_gives_the_readings_of_the_whole_one(
    mesh: DeviceMesh, prepare: Callable[[nn.Module, DeviceMesh], None]
) -> None:
    alone = build()
    prepare(alone, mesh)
    expected = train(alone)
    weights: list[torch.Tensor] = []

    def train_divided() -> None:
        network = build()
        prepare(network, mesh)
        weights.extend(train(network))

    run, whole = observe_training(train_divided), observe_training(lambda: train(build()))
    assert all(map(torch.equal, weights, expected))
    assert len(weights) == len(expected) == STEPS * len(list(alone.parameters()))
    assert [p.name for p in run.structure.parameters] == [p.name for p in whole.structure.parameters]
    assert [p.shape for p in run.structure.parameters] == [p.shape for p in whole.structure.parameters]
    layers = [(s.path, s.op) for s in run.structure.sites if s.kind != "merge"]  # converted outputs make a container a site too
    assert layers == [(s.path, s.op) for s in whole.structure.sites]
    for name in ("log10_weight_rms", "log10_weight_gradient_rms", "log10_update_rms", "activation_std", "log10_gradient_rms"):
        values, expected_values = run.readings[name], whole.readings[name]
        assert not np.isnan(expected_values).any()
        np.testing.assert_allclose(values[:, : expected_values.shape[1]], expected_values, atol=1e-3, err_msg=name)


def test_a_weight_that_replaces_another_of_its_name_goes_on_in_its_place() -> None:
    def train_with_new_weight() -> None:
        network = build()
        for _ in range(2):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
            for _ in range(3):
                network(torch.ones(4, 8)).sum().backward()
                optimizer.step()
            network[0].weight = nn.Parameter(network[0].weight.detach() * 0.5)

    run = observe_training(train_with_new_weight)
    assert [p.name for p in run.structure.parameters].count("0.weight") == 1
    assert {p.network for p in run.structure.parameters} == {0}
    assert np.isfinite(run.readings["log10_update_rms"][:, 0]).all()
