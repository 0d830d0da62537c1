"""Inputs, outputs and graphs are let go when the script lets them go, but for a few outputs until the next backward."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watching import ALL, watching

from unvanish.observe import Settings
from unvanish.observe.head.head_observer import MOST_OUTPUTS


class Saved:
    """What autograd keeps in the place of a tensor; it lives exactly as long as its graph."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Alive:
    """Counts what is alive of the things that were noted."""

    def __init__(self) -> None:
        self._noted: list[weakref.ref[Any]] = []

    def note(self, thing: Any) -> Any:
        self._noted.append(weakref.ref(thing))
        return thing

    def at_most(self, count: int) -> bool:
        """Whether no more are alive, although no garbage was collected: on an accelerator nobody would wait for that."""
        self._noted = [ref for ref in self._noted if ref() is not None]
        return len(self._noted) <= count

    @contextmanager
    def graphs(self) -> Iterator[None]:
        """Notes every graph that is made inside."""
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: self.note(Saved(tensor.detach())), lambda saved: saved.tensor):
            yield


class OwnMemory(torch.autograd.Function):
    """Passes values through, into memory that belongs to an array: so that one can see when it is freed."""

    noted: Alive

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        array = OwnMemory.noted.note(x.detach().numpy().copy())
        return torch.from_numpy(array)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return OwnMemory.apply(self.last(torch.tanh(self.first(x))))


@pytest.fixture(autouse=True)
def _no_garbage_is_collected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def outputs() -> Iterator[Alive]:
    OwnMemory.noted = Alive()
    yield OwnMemory.noted
    del OwnMemory.noted


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "torch's own": lambda o: F.mse_loss(o, torch.zeros(5, 4)),
    "by hand": lambda o: ((o - torch.zeros(5, 4)) ** 2).mean(),
    "not understood": lambda o: o.mean(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_graph_ends_with_its_backward_and_its_output_with_the_next_call(loss: Callable[[Tensor], Tensor], outputs: Alive) -> None:
    network, graphs = Net(), Alive()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watching(ALL) as watched:
        for _ in range(6):
            with graphs.graphs():
                made = loss(network(torch.randn(5, 6)))
            made.backward()
            del made
            assert graphs.at_most(0)
            assert outputs.at_most(0)
            optimizer.step()
    assert watched.warnings == []


def test_without_a_backward_no_graph_is_held_and_a_bounded_number_of_outputs(outputs: Alive) -> None:
    network, graphs = Net(), Alive()
    with watching(ALL) as watched:
        for call in range(1, 3 * MOST_OUTPUTS):
            with graphs.graphs():
                network(torch.randn(5, 6))
            assert graphs.at_most(0)
            assert outputs.at_most(min(call, MOST_OUTPUTS))
    assert watched.warnings == []
    del watched
    assert outputs.at_most(0)


def test_inputs_are_not_held_at_all() -> None:
    network, inputs = nn.Linear(6, 4), Alive()
    with watching(ALL):
        for _ in range(5):
            network(torch.from_numpy(inputs.note(np.ones((5, 6), np.float32))))
            assert inputs.at_most(0)


@pytest.mark.parametrize("every", [1, 3])
def test_with_a_backward_at_every_fourth_call_only_the_calls_since_are_held(every: int, outputs: Alive) -> None:
    network, graphs = Net(), Alive()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watching(Settings(every=every)) as watched:
        for call in range(1, 41):
            with graphs.graphs():
                loss = F.mse_loss(network(torch.randn(5, 6)), torch.zeros(5, 4))
            if call % 4 == 0:
                loss.backward()
                optimizer.step()
            del loss
            assert graphs.at_most(0)
            assert outputs.at_most(call % 4)
    assert watched.run.step_count == 10


def test_what_a_network_put_out_after_its_backward_is_let_go_when_the_next_step_begins(outputs: Alive) -> None:
    """Such as for the progress bar: between backward and the update, with gradients on."""
    network = Net()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watching(Settings(every=2)) as watched:
        for step in range(1, 9):
            network(torch.randn(5, 6)).mean().backward()
            assert outputs.at_most(0), step
            network(torch.randn(5, 6))
            assert outputs.at_most(1)
            optimizer.step()
    assert watched.run.sampled.tolist() == [1, 2, 4, 6, 8]


def test_a_gradient_that_the_script_drops_is_not_held() -> None:
    network, gradients = nn.Linear(6, 4), Alive()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watching(ALL):
        for _ in range(4):
            network(torch.randn(5, 6)).square().mean().backward()
            for p in network.parameters():
                p.grad = torch.from_numpy(gradients.note(p.grad.numpy().copy()))
            optimizer.step()
            optimizer.zero_grad()
            assert gradients.at_most(0)
