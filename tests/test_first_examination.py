"""The first step of a watched training is examined before the first update, without changing the training."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import unvanish


class Talkative(nn.Module):
    """Counts its calls, says so, drops out, normalises, and is called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.body = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 16), nn.Tanh())
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        self.calls += 1
        print("forward", self.calls)
        return self.head(self.body(x * scale))


class Stateful(nn.Module):
    """Keeps a tensor with a graph from call to call, so that it cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.layer(x)
        return self.last


INPUTS, LABELS = torch.randn(12, 6, generator=torch.Generator().manual_seed(5)), torch.arange(12) % 3


def trained(model: nn.Module, steps: int = 4, **keywords: float) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses: list[float] = []
    for _ in range(steps):
        loss = F.cross_entropy(model(INPUTS, **keywords), LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_training_and_its_output_are_as_without_the_examination(capsys: pytest.CaptureFixture[str]) -> None:
    results: list[tuple[list[float], dict[str, Tensor], Tensor, int, str]] = []
    for watched in (False, True):
        torch.manual_seed(3)
        model = Talkative()
        if watched:
            with unvanish.watch(model) as run:
                losses = trained(model, scale=0.5)
            assert run.run.examination is not None
        else:
            losses = trained(model, scale=0.5)
        results.append((losses, model.state_dict(), torch.get_rng_state(), model.calls, capsys.readouterr().out))
    (losses, weights, state, calls, printed), (watched_losses, *others) = results
    assert watched_losses == losses
    assert all(torch.equal(weights[name], others[0][name]) for name in weights)
    assert torch.equal(state, others[1])
    assert (calls, printed) == tuple(others[2:])


def test_the_examination_is_the_trace_of_the_network_before_its_first_update() -> None:
    torch.manual_seed(0)
    layers = [layer for _ in range(8) for layer in (nn.Linear(6, 6), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(6, 3)).double()
    wide = INPUTS.double()
    expected = unvanish.trace(model, wide, LABELS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with unvanish.watch(model) as run:
        for _ in range(3):
            loss = F.cross_entropy(model(wide), LABELS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    examination = run.run.examination
    assert examination is not None
    assert examination.prediction is not None
    assert examination.flow.total == pytest.approx(expected.total, abs=1e-12)
    assert examination.flow.log10_source_rms == pytest.approx(expected.log10_source_rms, abs=1e-12)
    assert examination.flow.shares("op") == pytest.approx(expected.shares("op"), abs=1e-12)
    assert math.isfinite(examination.flow.total)
    assert examination.flow.loss_ops == ()
    assert examination.flops == 2 * len(INPUTS) * (36 * (2 + 7 * 3) + 18 * 3)  # the first layer sends no gradient on


def test_a_network_that_cannot_be_copied_is_watched_without_an_examination() -> None:
    model = Stateful()
    with unvanish.watch(model) as run:
        trained(model)
    assert run.run.examination is None
    assert run.run.step_count == 4
    assert run.run.facts.faults == ()


def test_a_network_that_only_the_optimizers_closure_runs_is_examined_before_its_first_update() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 3)).double()
    wide = INPUTS.double()
    expected = unvanish.trace(model, wide, LABELS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(wide), LABELS)
        loss.backward()
        return loss

    with unvanish.watch(model) as run:
        for _ in range(3):
            optimizer.step(closure)
    examination = run.run.examination
    assert examination is not None
    assert examination.flow.log10_source_rms == pytest.approx(expected.log10_source_rms, abs=1e-12)
    assert examination.flow.total == pytest.approx(expected.total, abs=1e-12)
    assert run.run.facts.faults == ()


def test_of_two_networks_the_one_with_the_first_gradient_is_examined() -> None:
    torch.manual_seed(0)
    critic, generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)), nn.Linear(2, 4)
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.1) for network in (critic, generator)]
    with unvanish.watch(critic, generator) as run:
        for _ in range(3):
            fake = generator(torch.randn(5, 2))
            for optimizer, sign in zip(optimizers, (1.0, -1.0), strict=True):
                optimizer.zero_grad()
                (sign * critic(fake if sign < 0 else fake.detach()).mean()).backward()
                optimizer.step()
    examination = run.run.examination
    assert examination is not None
    assert [op.op for op in examination.flow.ops] == ["linear", "relu", "linear"]


def test_mixed_precision_is_examined_in_the_precision_of_the_step() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with unvanish.watch(model) as run:
        for _ in range(2):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(INPUTS), LABELS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    examination = run.run.examination
    assert examination is not None
    assert {"linear", "tanh"} <= {op.op for op in examination.flow.ops}
    assert math.isfinite(examination.flow.total)


class Lazy(nn.Module):
    """Runs once while it is built, so that its lazy layers take shape."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body, self.head = nn.Linear(6, 8), nn.LazyLinear(8), nn.LazyLinear(3)
        self(torch.zeros(1, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(torch.relu(self.first(x)))))


def test_lazy_layers_are_watched_and_have_their_shapes_in_the_record() -> None:
    with unvanish.watch() as run:
        trained(Lazy())
    assert run.run.facts.faults == ()
    shapes = {p.name: p.shape for p in run.run.structure.parameters}
    assert shapes["body.weight"] == (8, 8)
    assert shapes["head.weight"] == (3, 8)


def test_layers_made_of_bare_parameters_are_traced() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList([torch.randn(6, 6) / 3 for _ in range(30)])
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            for weight in self.weights:
                x = torch.sigmoid(x @ weight)
            return self.head(x)

    torch.manual_seed(0)
    (finding,) = unvanish.check(Bare(), INPUTS, LABELS).findings
    assert finding.code == "vanishing-gradient"
    assert finding.cause is not None
    assert finding.cause.code == "saturating-activation"
