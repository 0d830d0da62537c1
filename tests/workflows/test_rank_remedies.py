"""Prescriptions: what is named first removes the harm at the start, theory agrees with the trace, and nothing is altered."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import unvanish
from unvanish.record.change import Prescription
from unvanish.record.finding import Cause, Finding, Severity
from unvanish.remedies import names
from unvanish.remedies.combinations import candidates
from unvanish.remedies.registry import built_in_catalogue


def chain(activation: type[nn.Module], depth: int = 16) -> nn.Sequential:
    layers = [part for _ in range(depth) for part in (nn.Linear(24, 24), activation())]
    return nn.Sequential(*layers, nn.Linear(24, 5))


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 24, generator=generator), torch.randint(0, 5, (32,), generator=generator)


@pytest.fixture(scope="module")
def sigmoid() -> Prescription:
    torch.manual_seed(0)
    found = unvanish.check(chain(nn.Sigmoid), *batch()).prescription
    assert found is not None
    return found


def test_the_first_candidate_removes_the_harm_at_the_start(sigmoid: Prescription) -> None:
    assert sigmoid.finding == "vanishing-gradient"
    assert sigmoid.traced is not None
    assert sigmoid.traced < -8.0
    assert sigmoid.best[0] == ("relu", "he-init")
    first = sigmoid.candidates[0].traced
    assert first is not None
    assert abs(first) < 2.0


def test_theory_foretells_what_the_trace_finds_in_the_treated_network(sigmoid: Prescription) -> None:
    both = [(each.foretold, each.traced) for each in sigmoid.candidates if each.foretold is not None and each.traced is not None]
    assert len(both) >= 5
    assert all(abs(foretold - traced) < 1.0 for foretold, traced in both)


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
    chosen = candidates(("relu + he-init", "batchnorm", "prayer"), ("vanishing-gradient",), built_in_catalogue())
    assert chosen[:2] == (("relu", "he-init"), ("batchnorm",))
    assert len(set(chosen)) == len(chosen)
    assert {name for each in chosen for name in each} <= set(names())


def test_what_cannot_act_is_named_last_with_the_reason() -> None:
    from unvanish.workflows.rank_remedies import prescribe

    cause = Cause("saturating-activation")
    finding = Finding("vanishing-gradient", Severity.CRITICAL, 0.9, "It vanishes.", "", cause=cause, remedies=("pre-norm", "elu"))
    found = prescribe([finding], chain(nn.Sigmoid), *batch())
    assert found is not None
    refused = next(each for each in found.candidates if each.remedies == ("pre-norm",))
    assert "no post-norm transformer" in refused.refusal
    assert found.candidates.index(refused) > found.candidates.index(next(c for c in found.candidates if c.remedies == ("elu",)))
    assert prescribe([replace(finding, severity=Severity.INFO)], chain(nn.Sigmoid), *batch()) is None


def test_branches_that_begin_at_zero_are_no_finding() -> None:
    network = chain(nn.Tanh)
    unvanish.apply(network, "glorot-init", "residual")
    assert unvanish.check(network, *batch()).healthy
