"""The total of a trace is that of plain autograd, and its terms add up to it, on networks of every kind."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from autograd_oracle import log10_rms, sizes_by_autograd, sum_of_loss_terms, trace_case
from hypothesis import given, settings
from hypothesis import strategies as st
from network_cases import CASES, build_case
from torch import Tensor, nn

from unvanish.record.gradient_flow import GROUPINGS
from unvanish.tracing import trace

EXACT = 1e-10
CHAINS = ("mlp", "vgg", "checkpoints", "reentrant checkpoints")


@pytest.mark.parametrize("to", ["input", "parameter"])
@pytest.mark.parametrize("name", CASES)
def test_total_is_that_of_plain_autograd_and_the_terms_add_up_to_it(name: str, to: str) -> None:
    case = build_case(name)
    target = case.early if to == "parameter" else None
    flow, expected = trace_case(case, target), sizes_by_autograd(case, target)
    assert flow.target == (target or "input")
    assert flow.log10_source_rms == pytest.approx(expected.source, abs=EXACT)
    assert flow.log10_target_rms == pytest.approx(expected.target, abs=EXACT)
    assert flow.total == pytest.approx(expected.target - expected.source, abs=EXACT)
    for by in GROUPINGS:
        assert sum(flow.shares(by).values()) == pytest.approx(flow.total, abs=EXACT), by
    assert sum_of_loss_terms(flow) == pytest.approx(flow.log10_source_rms, abs=EXACT)


@pytest.mark.parametrize("name", CASES)
def test_splits_are_never_negative_and_visits_are_shares(name: str) -> None:
    flow = trace_case(build_case(name))
    for junction in flow.junctions + flow.loss_junctions:
        assert junction.split >= 0.0
        assert junction.parts > 1
    for op in flow.ops + flow.loss_ops:
        assert 0.0 <= op.visits <= 1.0 + EXACT


@pytest.mark.parametrize("name", CASES)
def test_parameters_have_the_gradients_of_plain_autograd(name: str) -> None:
    case = build_case(name)
    flow, expected = trace_case(case), sizes_by_autograd(case)
    assert {p.name: p.log10_gradient_rms for p in flow.parameters} == pytest.approx(expected.parameters, abs=EXACT)
    for measured, parameter in zip(flow.parameters, case.model.parameters(), strict=True):
        assert measured.shape == tuple(parameter.shape)
        assert measured.log10_rms == pytest.approx(log10_rms(parameter), abs=EXACT)


@pytest.mark.parametrize("name", CHAINS)
def test_on_a_chain_an_operation_takes_its_plain_gain(name: str) -> None:
    flow = trace_case(build_case(name))
    assert not flow.junctions
    for op in flow.ops:
        assert op.visits == 1.0
        assert op.decades + op.size == pytest.approx(op.log10_gain, abs=EXACT)


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_on_a_chain_the_gains_are_those_of_gradients_kept_layer_by_layer(name: str) -> None:
    case = build_case(name)
    flow = trace_case(case)
    steps = [case.inputs.clone().requires_grad_()]
    for layer in case.model:
        steps.append(layer(steps[-1]))
        steps[-1].retain_grad()
    case.loss(steps[-1]).backward()
    sizes = [log10_rms(step.grad) for step in steps]
    expected = {str(i): sizes[i] - sizes[i + 1] for i in range(len(case.model))}
    assert {op.label: op.log10_gain for op in flow.ops} == pytest.approx(expected, abs=EXACT)
    assert {op.label: op.log10_gradient_out for op in flow.ops} == pytest.approx(
        {str(i): size for i, size in enumerate(sizes[1:])}, abs=EXACT
    )


@pytest.mark.parametrize("name", ["resnet with batch norm", "pre-norm transformer", "lstm", "several inputs and outputs"])
@settings(max_examples=8, deadline=None)
@given(size=st.floats(-30.0, 30.0), sign=st.sampled_from([1.0, -1.0]))
def test_a_factor_on_the_loss_shifts_the_source_and_leaves_every_share(name: str, size: float, sign: float) -> None:
    case = build_case(name)
    plain = trace_case(case)
    scaled = trace(case.model, case.inputs, lambda outputs: case.loss(outputs) * (sign * 10.0**size))
    assert scaled.log10_source_rms - plain.log10_source_rms == pytest.approx(size, abs=1e-9)
    assert sum_of_loss_terms(scaled) == pytest.approx(scaled.log10_source_rms, abs=1e-9)
    for by in GROUPINGS:
        assert scaled.shares(by) == pytest.approx(plain.shares(by), abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(place=st.integers(0, 5), size=st.floats(-40.0, 40.0))
def test_a_factor_in_the_network_takes_exactly_its_own_decades(place: int, size: float) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 10.0**size

    torch.manual_seed(0)
    layers = [nn.Linear(6, 6) for _ in range(5)]
    model = nn.Sequential(*layers[:place], Scaled(), *layers[place:]).double()
    flow = trace(model, torch.randn(3, 6, dtype=torch.float64), lambda outputs: outputs.sum())
    assert flow.shares("op")[f"{place}:mul"] == pytest.approx(size, abs=1e-9)


def test_two_traces_give_the_same_flow() -> None:
    for name in ("resnet with batch norm", "pre-norm transformer", "stacked bidirectional lstm"):
        case = build_case(name)
        assert trace_case(case) == trace_case(case)


def test_targets_stand_for_the_usual_loss() -> None:
    case = build_case("mlp")
    classes = torch.randint(0, 5, (8,))
    values = torch.randn(8, 5, dtype=torch.float64)
    for targets, loss in (
        (classes, F.cross_entropy),
        (values, F.mse_loss),
        (classes.int(), lambda o, t: F.cross_entropy(o, t.long())),
    ):
        by_hand = trace(case.model, case.inputs, lambda outputs, loss=loss, targets=targets: loss(outputs, targets))
        assert trace(case.model, case.inputs, targets).shares("op") == by_hand.shares("op")


def test_an_output_that_the_loss_ignores_changes_nothing() -> None:
    case = build_case("several inputs and outputs")
    flow = trace(case.model, case.inputs, lambda outputs: outputs["logits"].square().sum())
    x = {name: value.clone().requires_grad_() for name, value in case.inputs.items()}
    outputs = case.model(**x)
    outputs["logits"].retain_grad()
    outputs["logits"].square().sum().backward()
    expected = log10_rms(*(value.grad for value in x.values())) - log10_rms(outputs["logits"].grad)
    assert flow.total == pytest.approx(expected, abs=EXACT)


def test_a_loss_that_reads_a_hidden_tensor_and_the_weights_adds_up() -> None:
    """An auxiliary loss on a hidden layer and a penalty on a weight: the gradient enters in several places."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    hidden: list[Tensor] = []
    model[1].register_forward_hook(lambda _m, _a, output: hidden.append(output))
    x = torch.randn(4, 6, dtype=torch.float64)

    def loss(outputs: Tensor) -> Tensor:
        return outputs.square().mean() + 0.3 * hidden.pop().abs().mean() + 0.1 * model[0].weight.square().sum()

    for to in (None, "0.weight"):
        flow = trace(model, x, loss, to=to)
        leaf = x.clone().requires_grad_()
        model.zero_grad()
        loss(model(leaf)).backward()
        arrived = log10_rms(leaf.grad if to is None else model[0].weight.grad)
        assert flow.log10_target_rms == pytest.approx(arrived, abs=EXACT)
        assert math.isfinite(flow.total)
        for by in GROUPINGS:
            assert sum(flow.shares(by).values()) == pytest.approx(flow.total, abs=EXACT), by
