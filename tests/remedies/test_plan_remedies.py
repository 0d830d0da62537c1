"""A plan says what remedies would do, and leaves network, optimizers and random state as they were, bit for bit."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from optimizer_state import whole
from state_of_network import random_state
from torch import Tensor, nn

from unvanish.remedies.plan import planned


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
def test_nothing_is_altered_and_nothing_drawn(names: tuple[str, ...]) -> None:
    net, x = network(), torch.randn(6, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(x).square().mean().backward()
    optimizer.step()
    before, luck, gradients = whole(net, optimizer), random_state(), [p.grad for p in net.parameters()]
    plan = planned(net, names, optimizers=(optimizer,), inputs=x)
    assert plan.remedies == names
    assert [step.remedy for step in plan.steps] == ([] if plan.refusal else list(names))
    assert whole(net, optimizer) == before
    assert random_state() == luck
    assert all(p.grad is g for p, g in zip(net.parameters(), gradients, strict=True))


def test_later_remedies_see_what_earlier_ones_did() -> None:
    plan = planned(network(), ("relu", "batchnorm"))
    assert [(e.path, e.before, e.after) for e in plan.steps[0].edits] == [(p, "Sigmoid()", "ReLU()") for p in ("1", "3")]
    assert [e.after for e in plan.steps[1].edits] == ["BatchNorm1d(8), ReLU()"] * 2


def test_a_refusal_is_said_without_the_remedys_name() -> None:
    plan = planned(network(), ("gru",))
    assert plan.steps == ()
    assert plan.refusal.startswith("Sequential has no recurrence")


def test_calls_are_named_by_where_they_end_in_the_source() -> None:
    net = Looping()
    net(torch.ones(2, 4))
    plan = planned(net, ("relu",), inputs=torch.ones(2, 4))
    ((edit,),) = [step.edits for step in plan.steps]
    ((call,),) = [edit.calls]
    assert (edit.path, call.before, call.after, call.text) == ("", "tanh(x)", "relu(x)", "x = torch.tanh(self.a(x))")
    (point,) = call.points
    assert point.file == __file__
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[point.line - 1]
    assert line[: point.column].endswith("torch.tanh(self.a(x))")


def test_a_step_tells_whether_it_needs_the_batch() -> None:
    x = torch.ones(2, 4)
    assert [step.needs_batch for step in planned(Looping(), ("relu", "he-init"), inputs=x).steps] == [True, True]
    assert [step.needs_batch for step in planned(network(), ("relu", "lsuv-init"), inputs=x).steps] == [False, True]
    assert [step.needs_batch for step in planned(network(), ("he-init", "relu")).steps] == [False, False]


def test_the_rate_is_that_which_a_scheduler_started_from() -> None:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1e-3)
    ((edit,),) = [step.edits for step in planned(net, ("adamw",), optimizers=(optimizer,)).steps]
    assert (edit.before, edit.after.partition(",")[0]) == ("Adam(lr=0.1)", "AdamW(lr=0.1")
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_a_hook_that_cannot_be_copied_does_not_matter() -> None:
    net, lock = network(), threading.Lock()
    net[1].register_forward_hook(lambda *_, lock=lock: None)
    net[3].register_forward_hook(Locked().hook)
    assert planned(net, ("relu",)).refusal == ""


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def hook(self, *_: object) -> None:
        """Does nothing."""
