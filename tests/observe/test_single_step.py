"""One step of a network that is not being trained: its readings are those of a step, and nothing of it is left."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unvanish.observe.single_step import NullOptimizer, take_step, watching_one_step
from unvanish.record.run import CHECKED, Run
from unvanish.record.storage.journal import Journal

X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    """Three layers, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3))


@pytest.fixture
def journal() -> Iterator[Journal]:
    journal = Journal.create(None)
    yield journal
    journal.close()


def loss(model: nn.Module) -> Tensor:
    return model(X).square().mean()


def watched(journal: Journal, model: nn.Module) -> Run:
    """The record of its one step."""
    with watching_one_step(journal, script="net.py"):
        take_step(model, lambda: loss(model))
    return journal.read()


def test_it_is_one_step_with_its_loss(journal: Journal) -> None:
    run = watched(journal, network())
    assert (run.sampled.tolist(), run.steps.tolist()) == ([1], [1])
    assert run.objective()[1].tolist() == pytest.approx([loss(network()).item()], rel=1e-6)
    assert (run.facts.ending, run.facts.script, run.checked) == (CHECKED, "net.py", True)
    assert run.facts.faults == ()


def test_gradients_are_those_of_plain_autograd(journal: Journal) -> None:
    run = watched(journal, network())
    model = network()
    gradients = torch.autograd.grad(loss(model), list(model.parameters()))
    expected = [gradient.square().mean().sqrt().log10().item() for gradient in gradients]
    names = [parameter.name for parameter in run.structure.parameters]
    assert names == [name for name, _ in model.named_parameters()]
    np.testing.assert_allclose(run.readings["log10_weight_gradient_rms"][0], expected, atol=1e-4)


def test_every_layer_has_a_gradient_and_no_weight_an_update(journal: Journal) -> None:
    run = watched(journal, network())
    assert [site.path for site in run.structure.sites] == ["0", "1", "2", "3", "4"]
    assert np.isfinite(run.readings["log10_gradient_rms"][0]).all()
    assert not (run.readings["log10_update_rms"] > -np.inf).any()


def test_a_module_built_inside_has_the_line_that_built_it(journal: Journal) -> None:
    with watching_one_step(journal, script="net.py"):
        model = network()
        take_step(model, lambda: loss(model))
    lines = {site.location.line for site in journal.read().structure.sites if site.location is not None}
    assert lines == {network.__code__.co_firstlineno + 4}


def test_weights_and_gradients_are_unchanged_after_the_step() -> None:
    model = network()
    loss(model).backward()
    model[0].weight.grad = None
    held = [parameter.grad for parameter in model.parameters()]
    values = [None if gradient is None else gradient.clone() for gradient in held]
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    take_step(model, lambda: loss(model))
    for parameter, gradient, value, weight in zip(model.parameters(), held, values, weights, strict=True):
        assert parameter.grad is gradient
        assert gradient is None or torch.equal(gradient, value)
        assert torch.equal(parameter, weight)


def test_gradients_are_put_back_also_after_a_fault() -> None:
    model = network()
    loss(model).backward()
    held = [parameter.grad for parameter in model.parameters()]

    def fails() -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take_step(model, fails)
    assert all(parameter.grad is gradient for parameter, gradient in zip(model.parameters(), held, strict=True))


def test_frozen_parameters_belong_to_no_optimizer_group(journal: Journal) -> None:
    model = network()
    model[0].requires_grad_(False)
    run = watched(journal, model)
    assert [parameter.group for parameter in run.structure.parameters] == [None, None, 0, 0, 0, 0]


def test_the_null_optimizer_updates_no_weight() -> None:
    model = network()
    loss(model).backward()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    NullOptimizer(list(model.parameters())).step()
    assert all(torch.equal(parameter, weight) for parameter, weight in zip(model.parameters(), before, strict=True))


def test_an_exception_inside_leaves_nothing_installed(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError), watching_one_step(journal, script="net.py"):
        _ = 1 / 0
    assert journal.read().step_count == 0
