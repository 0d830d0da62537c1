"""Which optimizer ends a training step."""

from __future__ import annotations

import gc

import torch
from torch import nn

from unvanish.observe.step_boundary import PATIENCE, StepBoundary


def optimizers(count: int) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1) for _ in range(count)]


def beats(pulse: StepBoundary, order: str, known: list[torch.optim.Optimizer]) -> str:
    """The order of steps, "a" for the first optimizer, with "|" where a training step ends."""
    return "".join(letter + "|" * pulse.beats(known["ab".index(letter) if letter in "ab" else 2]) for letter in order)


def built(count: int) -> tuple[StepBoundary, list[torch.optim.Optimizer]]:
    pulse, known = StepBoundary(), optimizers(count)
    for optimizer in known:
        pulse.built(optimizer)
    return pulse, known


def test_a_single_optimizer_ends_every_step() -> None:
    pulse, known = built(1)
    assert not pulse.known
    assert beats(pulse, "aaa", known) == "a|a|a|"
    assert pulse.known


def test_a_gan_steps_when_both_have() -> None:
    pulse, known = built(2)
    assert beats(pulse, "abababab", known) == "ab|ab|ab|ab|"


def test_one_optimizer_a_layer_makes_one_step_of_them_all() -> None:
    pulse, known = built(3)
    assert beats(pulse, "abcabcabc", known) == "abc|abc|abc|"


def test_five_critic_steps_make_one_step_once_the_generator_has_joined() -> None:
    pulse, known = built(2)
    assert beats(pulse, "aaaaab" * 3, known) == "aa|a|a|a|b|" + "aaaaab|" * 2


def test_an_optimizer_that_was_built_before_the_watching_joins_all_the_same() -> None:
    pulse, known = StepBoundary(), optimizers(2)
    assert beats(pulse, "abab", known) == "a|b|ab|"


def test_a_second_phase_takes_over_when_the_pacemaker_falls_silent() -> None:
    pulse, known = built(2)
    beats(pulse, "abab", known)
    silent = beats(pulse, "a" * PATIENCE, known)
    assert silent == "a" * PATIENCE + "|"
    assert beats(pulse, "aaa", known) == "a|a|a|"


def test_an_optimizer_that_is_gone_is_not_waited_for() -> None:
    pulse, known = built(2)
    beats(pulse, "ab", known)
    gone = known.pop()
    del gone
    gc.collect()
    assert beats(pulse, "aa", known) == "a|a|"
