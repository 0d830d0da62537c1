"""Prescriptions: what is named first removes the harm at the start, theory agrees with the trace, and nothing is altered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unvanish
from unvanish.examination import examine
from unvanish.record.finding import Cause, Finding, Severity
from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.network_changes import Prescription
from unvanish.remedies import remedy_names
from unvanish.remedies.combinations import candidate_combinations
from unvanish.remedies.registry import built_in_catalogue
from unvanish.tracing import trace
from unvanish.workflows.rank_remedies import rank_remedies


def chain(activation: type[nn.Module], depth: int = 16) -> nn.Sequential:
    layers = [part for _ in range(depth) for part in (nn.Linear(24, 24), activation())]
    return nn.Sequential(*layers, nn.Linear(24, 5))


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 24, generator=generator), torch.randint(0, 5, (32,), generator=generator)


@pytest.fixture(scope="module")
def sigmoid() -> Prescription:
    torch.manual_seed(0)
    prescription = unvanish.check(chain(nn.Sigmoid), *batch()).prescription
    assert prescription is not None
    return prescription


def test_the_first_candidate_removes_the_harm_at_the_start(sigmoid: Prescription) -> None:
    assert sigmoid.finding == "vanishing-gradient"
    assert sigmoid.traced is not None
    assert sigmoid.traced < -8.0
    assert sigmoid.best[0] == ("relu", "he-init")
    first = sigmoid.candidates[0].traced
    assert first is not None
    assert abs(first) < 2.0


def test_theory_predicts_what_the_trace_finds_in_the_treated_network(sigmoid: Prescription) -> None:
    both = [(each.predicted, each.traced) for each in sigmoid.candidates if each.predicted is not None and each.traced is not None]
    assert len(both) >= 5
    assert all(abs(predicted - traced) < 1.0 for predicted, traced in both)


def test_an_activation_without_the_scale_that_it_needs_stands_behind_the_pair(sigmoid: Prescription) -> None:
    order = list(sigmoid.best)
    assert order.index(("relu", "he-init")) < order.index(("relu",))


def test_a_healthy_network_is_prescribed_nothing() -> None:
    network = chain(nn.ReLU, 3)
    assert unvanish.check(network, *batch()).prescription is None


def test_the_network_is_left_as_it_was() -> None:
    network = chain(nn.Sigmoid)
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    unvanish.check(network, *batch())
    assert [type(module) for module in network] == [nn.Linear, nn.Sigmoid] * 16 + [nn.Linear]
    assert all(torch.equal(kept[name], value) for name, value in network.state_dict().items())


def test_candidates_come_in_the_advised_order_each_once_with_their_partners() -> None:
    chosen = candidate_combinations(("relu + he-init", "batchnorm", "prayer"), ("vanishing-gradient",), built_in_catalogue())
    assert chosen[:2] == (("relu", "he-init"), ("batchnorm",))
    assert len(set(chosen)) == len(chosen)
    assert {name for each in chosen for name in each} <= set(remedy_names())


def test_what_cannot_act_is_named_last_with_the_reason() -> None:
    cause = Cause("saturating-activation")
    finding = Finding("vanishing-gradient", Severity.CRITICAL, 0.9, "It vanishes.", "", cause=cause, remedies=("pre-norm", "elu"))
    network = chain(nn.Sigmoid)
    untreated = examine(network, *batch())
    prescription = rank_remedies([finding], network, *batch(), untreated=untreated)
    assert prescription is not None
    refused = next(each for each in prescription.candidates if each.remedies == ("pre-norm",))
    assert "no post-norm transformer" in refused.refusal
    assert prescription.candidates.index(refused) > prescription.candidates.index(
        next(c for c in prescription.candidates if c.remedies == ("elu",))
    )
    mild = replace(finding, severity=Severity.INFO)
    assert rank_remedies([mild], network, *batch(), untreated=untreated) is None


def test_the_network_as_it_is_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, traced = chain(nn.Sigmoid), list[nn.Module]()

    def counting(model: nn.Module, *arguments: Any, **options: Any) -> GradientFlow:
        traced.append(model)
        return trace(model, *arguments, **options)

    monkeypatch.setattr("unvanish.tracing.trace", counting)
    assert unvanish.check(network, *batch()).prescription is not None
    assert sum(model is network for model in traced) == 1
    assert len(traced) > 1  # the treated copies


def test_branches_that_begin_at_zero_are_no_finding() -> None:
    network = chain(nn.Tanh)
    unvanish.apply(network, "glorot-init", "residual")
    assert unvanish.check(network, *batch()).healthy
