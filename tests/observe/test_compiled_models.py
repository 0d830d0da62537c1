"""Of a compiled network a sampled step runs eagerly and its sites are recorded; every other step runs compiled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from trainings import Outcome, draw, outcome, set_seeds
from watching import EVERY_STEP, observe_training, site_labels, watching

from unvanish.observe import Settings

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


def test_a_network_compiled_before_observing_is_recorded_and_runs_compiled_between_samples() -> None:
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
    assert len(runs) == 1 + 3  # steps 2, 4 and 5
    step()
    assert len(runs) == 5


def test_criteria_of_a_compiled_network_are_those_of_the_uncompiled_one() -> None:
    heads = []
    for compiled in (False, True):
        network = Net()
        model = torch.compile(network, backend="eager") if compiled else network

        def steps() -> None:
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)  # noqa: B023
            for _ in range(3):
                F.mse_loss(torch.tanh(model(draw(5, 6))), torch.zeros(5, 4)).backward()  # noqa: B023
                optimizer.step()

        run = observe_training(steps, Settings(every=2))
        heads.append([(h.criterion, h.squash, run.structure.parameter_label(h.parameter or 0)) for h in run.structure.heads])
    assert heads[0] == heads[1] == [("squared", ("tanh",), "last.weight")]
