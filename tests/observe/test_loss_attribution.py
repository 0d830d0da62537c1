"""Each optimizer has the loss whose gradient its parameters got, in whatever order a program calls backward and step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watching import observe_training

from unvanish.diagnose.run_view import RunView


class Players:
    """Two small networks in a chain, and an optimizer each."""

    def __init__(self) -> None:
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 1)
        self.of_first, self.of_second = (torch.optim.SGD(n.parameters(), lr=0.01) for n in (self.first, self.second))

    def loss(self, value: float, *networks: nn.Module) -> Tensor:
        """A loss of exactly that value, whose gradient passes through the networks."""
        x = torch.ones(3, 2)
        for network in networks:
            x = network(x)
        return (x - x.detach()).mean() + value


def generator_first(p: Players) -> None:
    p.of_first.zero_grad()
    p.loss(5.0, p.first, p.second).backward()
    p.of_first.step()
    p.of_second.zero_grad()
    p.loss(1.0, p.second).backward()
    p.loss(2.0, p.second).backward()
    p.of_second.step()


def steps_at_the_end(p: Players) -> None:
    p.of_first.zero_grad()
    p.of_second.zero_grad()
    p.loss(5.0, p.first).backward()
    p.loss(1.5, p.second).backward()
    p.of_first.step()
    p.of_second.step()


def gradients_set_to_zero(p: Players) -> None:
    p.loss(5.0, p.first, p.second).backward()
    p.of_first.step()
    p.of_first.zero_grad(set_to_none=False)
    p.of_second.zero_grad(set_to_none=False)
    p.loss(1.5, p.second).backward()
    p.of_second.step()
    p.of_second.zero_grad(set_to_none=False)


@pytest.mark.parametrize("step", [generator_first, steps_at_the_end, gradients_set_to_zero])
def test_an_optimizer_has_the_loss_that_reached_its_parameters(step: Callable[[Players], None]) -> None:
    def train() -> None:
        players = Players()
        for _ in range(3):
            step(players)

    assert observe_training(train).losses.tolist() == [[5.0, 1.5]] * 3


def test_optimizers_built_before_observing_are_told_apart_after_their_first_step() -> None:
    players = Players()
    run = observe_training(lambda: [generator_first(players) for _ in range(5)])
    assert run.losses[-3:].tolist() == [[5.0, 1.5]] * 3


def test_optimizers_that_step_on_one_loss_all_have_it() -> None:
    def train() -> None:
        players = Players()
        for value in (3.0, 2.0, 1.0):
            players.loss(value, players.first, players.second).backward()
            players.of_first.step()
            players.of_second.step()

    assert observe_training(train).losses.tolist() == [[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]]


def test_a_head_belongs_to_the_optimizer_that_steps_on_its_loss() -> None:
    ones, zeros = torch.ones(8, 1), torch.zeros(8, 1)

    def train() -> None:
        generator, judge = nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        of_generator, of_judge = (torch.optim.SGD(n.parameters(), lr=0.01) for n in (generator, judge))
        for _ in range(3):
            of_generator.zero_grad()
            F.binary_cross_entropy_with_logits(judge(generator(torch.randn(8, 3))), ones).backward()
            of_generator.step()
            of_judge.zero_grad()
            both = torch.cat([torch.randn(8, 2) + 1, generator(torch.randn(8, 3)).detach()])
            F.binary_cross_entropy_with_logits(judge(both), torch.cat([ones, zeros])).backward()
            of_judge.step()

    run = observe_training(train)
    assert [head.objectives for head in run.structure.heads] == [(0,), (1,)]
    view = RunView(run)
    of_generator_stack, of_judge_stack = view.stacks
    assert (view.heads(of_generator_stack), view.heads(of_judge_stack)) == ((0,), (1,))
    assert run.readings["target_low"].tolist() == [[1.0, 0.0]] * 3
    assert np.isfinite(run.readings["loss"]).all()
