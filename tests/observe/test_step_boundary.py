"""The optimizer that ends a training step is found, whatever the order in which several step."""

from __future__ import annotations

import gc

import torch
from torch import nn

from unvanish.observe.step_boundary import PATIENCE, StepBoundary


def make_optimizers(count: int) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1) for _ in range(count)]


def mark_ends(boundary: StepBoundary, order: str, members: list[torch.optim.Optimizer]) -> str:
    """The order of steps, "a" for the first optimizer, with "|" where a training step ends."""
    return "".join(letter + "|" * boundary.ends_step(members["ab".index(letter) if letter in "ab" else 2]) for letter in order)


def register_optimizers(count: int) -> tuple[StepBoundary, list[torch.optim.Optimizer]]:
    boundary, members = StepBoundary(), make_optimizers(count)
    for optimizer in members:
        boundary.register(optimizer)
    return boundary, members


def test_a_single_optimizer_ends_every_step() -> None:
    boundary, members = register_optimizers(1)
    assert not boundary.has_optimizer
    assert mark_ends(boundary, "aaa", members) == "a|a|a|"
    assert boundary.has_optimizer


def test_a_step_of_a_gan_ends_when_both_optimizers_have_stepped() -> None:
    boundary, members = register_optimizers(2)
    assert mark_ends(boundary, "abababab", members) == "ab|ab|ab|ab|"


def test_one_optimizer_a_layer_makes_one_step_of_them_all() -> None:
    boundary, members = register_optimizers(3)
    assert mark_ends(boundary, "abcabcabc", members) == "abc|abc|abc|"


def test_five_critic_steps_make_one_step_once_the_generator_has_stepped() -> None:
    boundary, members = register_optimizers(2)
    assert mark_ends(boundary, "aaaaab" * 3, members) == "aa|a|a|a|b|" + "aaaaab|" * 2


def test_an_optimizer_that_was_built_before_observing_is_counted_too() -> None:
    boundary, members = StepBoundary(), make_optimizers(2)
    assert mark_ends(boundary, "abab", members) == "a|b|ab|"


def test_another_optimizer_takes_over_when_the_last_one_stops_stepping() -> None:
    boundary, members = register_optimizers(2)
    mark_ends(boundary, "abab", members)
    without_b = mark_ends(boundary, "a" * PATIENCE, members)
    assert without_b == "a" * PATIENCE + "|"
    assert mark_ends(boundary, "aaa", members) == "a|a|a|"


def test_an_optimizer_that_is_gone_is_not_waited_for() -> None:
    boundary, members = register_optimizers(2)
    mark_ends(boundary, "ab", members)
    del members[1]
    gc.collect()
    assert mark_ends(boundary, "aa", members) == "a|a|"
