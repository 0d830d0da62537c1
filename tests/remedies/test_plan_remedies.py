"""Tests of plan_remedies: the planned edits, and that network, optimizers and random state stay as they were."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from optimizer_state import state_with_hooks
from state_of_network import random_state
from torch import Tensor, nn

from unvanish.remedies.plan import plan_remedies


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 1))


class Looping(nn.Module):
    """Its forward pass depends on values, so that it can be followed only on a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(4, 4), nn.Linear(4, 1), torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2 if float(x.sum()) > -1e9 else 3):
            x = torch.tanh(self.a(x))
        self.last = x * 1.0  # a tensor with a history, which cannot be copied
        return self.b(x)


NAMES = [
    ("relu", "he-init"),
    ("batchnorm",),
    ("residual",),
    ("adamw", "warmup"),
    ("clip-norm",),
    ("lstm",),
    ("lsuv-init",),
    ("muon",),
]


@pytest.mark.parametrize("names", NAMES, ids="+".join)
def test_planning_alters_nothing_and_draws_no_random_numbers(names: tuple[str, ...]) -> None:
    net, x = network(), torch.randn(6, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(x).square().mean().backward()
    optimizer.step()
    before, random_before, gradients = state_with_hooks(net, optimizer), random_state(), [p.grad for p in net.parameters()]
    plan = plan_remedies(net, names, optimizers=(optimizer,), inputs=x)
    assert plan.remedies == names
    assert [step.remedy for step in plan.steps] == ([] if plan.refusal else list(names))
    assert state_with_hooks(net, optimizer) == before
    assert random_state() == random_before
    assert all(p.grad is g for p, g in zip(net.parameters(), gradients, strict=True))


def test_later_remedies_plan_on_what_earlier_ones_did() -> None:
    plan = plan_remedies(network(), ("relu", "batchnorm"))
    assert [(e.path, e.before, e.after) for e in plan.steps[0].edits] == [(p, "Sigmoid()", "ReLU()") for p in ("1", "3")]
    assert [e.after for e in plan.steps[1].edits] == ["BatchNorm1d(8), ReLU()"] * 2


def test_a_refusal_does_not_repeat_the_remedys_name() -> None:
    plan = plan_remedies(network(), ("gru",))
    assert plan.steps == ()
    assert plan.refusal.startswith("Sequential has no recurrence")


def test_calls_are_located_by_where_they_end_in_the_source() -> None:
    net = Looping()
    net(torch.ones(2, 4))
    plan = plan_remedies(net, ("relu",), inputs=torch.ones(2, 4))
    ((edit,),) = [step.edits for step in plan.steps]
    ((call,),) = [edit.calls]
    assert (edit.path, call.before, call.after, call.text) == ("", "tanh(x)", "relu(x)", "x = torch.tanh(self.a(x))")
    (point,) = call.points
    assert point.file == __file__
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[point.line - 1]
    assert line[: point.column].endswith("torch.tanh(self.a(x))")


def test_a_step_says_whether_it_needs_the_batch() -> None:
    x = torch.ones(2, 4)
    assert [step.needs_batch for step in plan_remedies(Looping(), ("relu", "he-init"), inputs=x).steps] == [True, True]
    assert [step.needs_batch for step in plan_remedies(network(), ("relu", "lsuv-init"), inputs=x).steps] == [False, True]
    assert [step.needs_batch for step in plan_remedies(network(), ("he-init", "relu")).steps] == [False, False]


def test_the_rate_is_the_one_that_a_scheduler_started_from() -> None:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1e-3)
    ((edit,),) = [step.edits for step in plan_remedies(net, ("adamw",), optimizers=(optimizer,)).steps]
    assert (edit.before, edit.after.partition(",")[0]) == ("Adam(lr=0.1)", "AdamW(lr=0.1")
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_a_hook_that_cannot_be_copied_does_not_matter() -> None:
    net, lock = network(), threading.Lock()
    net[1].register_forward_hook(lambda *_, lock=lock: None)
    net[3].register_forward_hook(Locked().hook)
    assert plan_remedies(net, ("relu",)).refusal == ""


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def hook(self, *_: object) -> None:
        """Does nothing."""
