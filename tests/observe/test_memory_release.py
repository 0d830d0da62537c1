"""Inputs, outputs and graphs are freed when the script drops them, except for a few outputs until the next backward."""

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
from watching import EVERY_STEP, watching

from unvanish.observe import Settings
from unvanish.observe.output_head.head_observer import MAX_OUTPUTS


class SavedTensor:
    """What autograd keeps in place of a tensor; it lives exactly as long as its graph."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class LivingObjects:
    """Counts how many of the tracked objects are alive."""

    def __init__(self) -> None:
        self._references: list[weakref.ref[Any]] = []

    def track(self, value: Any) -> Any:
        self._references.append(weakref.ref(value))
        return value

    def at_most(self, count: int) -> bool:
        """Whether no more are alive, although no garbage was collected: memory of an accelerator must not wait for that."""
        self._references = [ref for ref in self._references if ref() is not None]
        return len(self._references) <= count

    @contextmanager
    def graphs(self) -> Iterator[None]:
        """Tracks every graph that is made inside."""
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: self.track(SavedTensor(tensor.detach())), lambda saved: saved.tensor
        ):
            yield


class OwnMemory(torch.autograd.Function):
    """Copies values into memory that belongs to an array, so that a reference to the array tells when it is freed."""

    tracked: LivingObjects

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        array = OwnMemory.tracked.track(x.detach().numpy().copy())
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
def outputs() -> Iterator[LivingObjects]:
    OwnMemory.tracked = LivingObjects()
    yield OwnMemory.tracked
    del OwnMemory.tracked


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "torch's own": lambda o: F.mse_loss(o, torch.zeros(5, 4)),
    "by hand": lambda o: ((o - torch.zeros(5, 4)) ** 2).mean(),
    "not understood": lambda o: o.mean(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_graph_and_output_are_freed_after_backward(loss: Callable[[Tensor], Tensor], outputs: LivingObjects) -> None:
    network, graphs = Net(), LivingObjects()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watching(EVERY_STEP) as watched:
        for _ in range(6):
            with graphs.graphs():
                value = loss(network(torch.randn(5, 6)))
            value.backward()
            del value
            assert graphs.at_most(0)
            assert outputs.at_most(0)
            optimizer.step()
    assert watched.warnings == []


def test_without_a_backward_no_graph_and_a_bounded_number_of_outputs_are_kept(outputs: LivingObjects) -> None:
    network, graphs = Net(), LivingObjects()
    with watching(EVERY_STEP) as watched:
        for call in range(1, 3 * MAX_OUTPUTS):
            with graphs.graphs():
                network(torch.randn(5, 6))
            assert graphs.at_most(0)
            assert outputs.at_most(min(call, MAX_OUTPUTS))
    assert watched.warnings == []
    del watched
    assert outputs.at_most(0)


def test_inputs_are_not_kept() -> None:
    network, inputs = nn.Linear(6, 4), LivingObjects()
    with watching(EVERY_STEP):
        for _ in range(5):
            network(torch.from_numpy(inputs.track(np.ones((5, 6), np.float32))))
            assert inputs.at_most(0)


@pytest.mark.parametrize("every", [1, 3])
def test_with_a_backward_at_every_fourth_call_only_outputs_since_are_kept(every: int, outputs: LivingObjects) -> None:
    network, graphs = Net(), LivingObjects()
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


def test_an_output_computed_after_backward_is_freed_when_the_next_step_begins(outputs: LivingObjects) -> None:
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


def test_a_gradient_that_the_script_drops_is_freed() -> None:
    network, gradients = nn.Linear(6, 4), LivingObjects()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watching(EVERY_STEP):
        for _ in range(4):
            network(torch.randn(5, 6)).square().mean().backward()
            for p in network.parameters():
                p.grad = torch.from_numpy(gradients.track(p.grad.numpy().copy()))
            optimizer.step()
            optimizer.zero_grad()
            assert gradients.at_most(0)
