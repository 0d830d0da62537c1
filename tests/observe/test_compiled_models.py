"""A compiled network runs compiled on every step; on a sampled one it runs again eagerly and is measured as if uncompiled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import compiled_script
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from trainings import Outcome, draw, outcome, set_seeds
from watching import EVERY_STEP, observe_training, site_labels, watching

from unvanish.observe import Settings
from unvanish.record.run import Run

STEPS = 12


@pytest.fixture(autouse=True, scope="module")
def _compiler_is_loaded() -> None:
    """Loads the compiler before any test, since loading it wraps `nn.Module.__init__` permanently."""
    torch.compile(nn.Identity(), backend="eager")(torch.ones(1))


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


def train(backend: str, *, in_place: bool = False, warm: bool = False) -> Outcome:
    set_seeds()
    network = Net()
    if in_place:
        network.compile(backend=backend)
    model = network if in_place else torch.compile(network, backend=backend)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(STEPS):
        inputs, targets = draw(5, 6), torch.randint(4, (5,))
        loss = F.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return outcome(losses, [network], [optimizer])


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("settings", [EVERY_STEP, Settings()], ids=["every step", "default"])
def test_compiled_training_is_bit_identical_and_its_sites_are_recorded(backend: str, in_place: bool, settings: Settings) -> None:
    alone = train(backend, in_place=in_place)
    torch._dynamo.reset()
    outcomes: list[Outcome] = []
    run = observe_training(lambda: outcomes.append(train(backend, in_place=in_place)), settings)
    assert outcomes[0] == alone
    np.testing.assert_allclose(run.losses, alone.losses, rtol=1e-6)
    assert site_labels(run) == ["first", "network:relu", "last"]
    gradients = run.readings["log10_gradient_rms"]
    assert len(gradients) == len(run.sampled)
    assert np.isfinite(gradients).all()


def test_a_network_compiled_before_observing_is_recorded_and_runs_compiled_on_every_step() -> None:
    runs: list[int] = []

    def counting(graph: torch.fx.GraphModule, _: list[Tensor]) -> object:
        def run(*args: Tensor) -> object:
            runs.append(1)
            return graph(*args)

        return run

    network = Net()
    model = torch.compile(network, backend=counting)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def step() -> None:
        model(torch.ones(5, 6)).square().mean().backward()
        optimizer.step()

    step()
    assert len(runs) == 1
    with watching(Settings(every=3), networks=(network,)) as watched:
        for _ in range(6):
            step()
    assert watched.run.sampled.tolist() == [1, 3, 6]
    assert site_labels(watched.run) == ["first", "network:relu", "last"]
    assert len(runs) == 1 + 6
    step()
    assert len(runs) == 8


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of dynamo's own, which hides it
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_the_record_of_a_compiled_training_is_that_of_the_uncompiled_one(backend: str) -> None:
    """With a loss outside and inside of the compiled code, and with parts that are compiled alone."""
    for form in ("network", "loss inside", "parts"):
        runs: list[Run] = []
        for compiled in (False, True):
            compile: Any = (lambda part: torch.compile(part, backend=backend)) if compiled else (lambda part: part)
            set_seeds()
            network = compiled_script.Net()

            def compute_loss(x: Tensor) -> Tensor:
                return F.mse_loss(torch.tanh(model(x)), torch.zeros(5, 4))  # noqa: B023

            model = compile(network) if form == "network" else network
            loss = compile(compute_loss) if form == "loss inside" else compute_loss
            if form == "parts":
                network.middle, network.last = compile(network.middle), compile(network.last)
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

            def steps() -> None:
                for _ in range(3):
                    optimizer.zero_grad()  # noqa: B023
                    (loss(draw(5, 6)) / 2).backward()  # noqa: B023
                    optimizer.step()  # noqa: B023

            runs.append(observe_training(steps, EVERY_STEP))
        assert len({tuple((s.path.replace("._orig_mod", ""), s.op) for s in r.structure.sites) for r in runs}) == 1, form
        for quantity, values in runs[0].readings.items():
            # Which network a compiled function calls is not known before the backward pass of the first step.
            known = slice(1 if (form, quantity) == ("loss inside", "log10_stale_share") else 0, None)
            np.testing.assert_allclose(runs[1].readings[quantity][known], values[known], rtol=1e-4, err_msg=f"{form}: {quantity}")
        for record in runs:
            (head,) = record.structure.heads
            weight = record.structure.parameter_label(head.parameter or 0).replace("._orig_mod", "")
            assert (head.criterion, head.squash, weight) == ("squared", ("tanh",), "last.weight"), form
