"""A trace finds faults that were planted: a factor on the gradient of one operation, somewhere in a network of any kind."""

from __future__ import annotations

import math
import random

import pytest
import torch
from networks import SUBJECTS, subject
from planting import BRANCH_FACTOR, BRANCHES, Fault, branch_trial, in_module, planted_in, trial

from unvanish.tracing import trace

# The one that may be missed is outdone by an operation that truly takes more: the gates of stacked LSTMs, all steps and layers
# together. `python -m benchmarks.attribution` measures it over 200 faults of each sort.
TRIALS, MOST_MISSED = 10, 1


@pytest.mark.parametrize("group", range(3))
def test_planted_faults_come_first_in_networks_of_every_kind(group: int) -> None:
    draw = random.Random(group)
    names = list(SUBJECTS) * 2
    trials = [
        trial(names[number], subject(names[number], seed=number), draw, silent=True)
        for number in range(group * TRIALS, (group + 1) * TRIALS)
    ]
    missed = [t for t in trials if not t.found]
    assert len(missed) <= MOST_MISSED, missed


@pytest.mark.parametrize("name", BRANCHES)
def test_a_loud_residual_branch_comes_first(name: str) -> None:
    found = branch_trial(name, subject(name), random.Random(2))
    assert found.found
    assert 0.0 < found.planted <= math.log10(BRANCH_FACTOR)


@pytest.mark.parametrize("factor", [0.1, 10.0, 1e-20, -3.0])
@pytest.mark.parametrize("place", range(13))
def test_on_a_chain_a_planted_factor_takes_exactly_its_decades_and_nothing_else_moves(place: int, factor: float) -> None:
    case = subject("mlp")
    healthy = trace(case.model, case.inputs, case.loss)
    with in_module(case.model[place], Fault(factor, silent=True)):
        flow = trace(case.model, case.inputs, case.loss)
    (planted,) = planted_in(flow)
    assert planted.decades == pytest.approx(math.log10(abs(factor)), abs=1e-10)
    assert flow.total - healthy.total == pytest.approx(planted.decades, abs=1e-10)
    for op in healthy.ops:
        assert flow.shares("op")[op.label] == pytest.approx(op.decades, abs=1e-10)


def test_a_planted_factor_takes_its_decades_times_the_energy_that_passes_it() -> None:
    for name in ("resnet", "densenet", "u-net", "pre-norm transformer"):
        case = subject(name)
        path = next(path for path, module in case.model.named_modules() if isinstance(module, torch.nn.Conv2d | torch.nn.LayerNorm))
        with in_module(case.model.get_submodule(path), Fault(0.1, silent=True)):
            (planted,) = planted_in(trace(case.model, case.inputs, case.loss))
        assert planted.decades == pytest.approx(-planted.visits, abs=1e-10)
