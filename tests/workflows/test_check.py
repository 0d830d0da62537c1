"""`unvanish.check(model, inputs, loss)`: findings before any training, and a network that is afterwards as it was before."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import check_networks
import numpy as np
import pytest
import torch
from check_networks import HEALTHY, SICK, Made
from torch import Tensor, nn

import unvanish
from unvanish.record.theory_prediction import Prediction


class Restless(nn.Module):
    """Has running statistics, draws from every generator, keeps a gradient, a hook and its evaluation mode in a part."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.still = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8)).eval()
        self.register_buffer("calls", torch.zeros(()))
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        noise = random.random() + float(np.random.rand()) + torch.rand(())
        x = torch.dropout(self.still(torch.relu(self.norm(self.first(x)))), 0.5, train=True) * noise
        if self.fails:
            raise ZeroDivisionError
        return self.last(x)


X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def state(model: Restless) -> dict[str, Any]:
    """All that a check must leave alone, in values that `==` compares."""
    return {
        "values": {name: value.tolist() for name, value in model.state_dict().items()},
        "gradients": {n: (id(p.grad), None if p.grad is None else p.grad.tolist()) for n, p in model.named_parameters()},
        "trained": {n: p.requires_grad for n, p in model.named_parameters()},
        "modes": [module.training for module in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        "tensor hooks": [p._backward_hooks for p in model.parameters()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "inputs": (X.tolist(), X.requires_grad, X.grad),
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),
        "python": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
    }


def restless() -> Restless:
    """One with some gradients there already, a frozen layer and a hook of its user's."""
    torch.manual_seed(0)
    model = Restless()
    model(X).square().mean().backward()
    model.last.bias.grad = None
    model.first.bias.requires_grad_(False)
    model.first.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("make", HEALTHY, ids=lambda make: make.__name__)
def test_a_network_that_should_train_is_left_alone(make: Callable[[], Made]) -> None:
    checked = unvanish.check(*make())
    assert checked.run.facts.faults == ()
    assert [(finding.code, finding.why) for finding in checked.findings if finding.severity.loud] == []
    assert checked.healthy


@pytest.mark.parametrize(("make", "code", "cause"), SICK, ids=[make.__name__ for make, _, _ in SICK])
def test_what_is_wrong_is_named_first_with_its_cause(make: Callable[[], Made], code: str, cause: str) -> None:
    checked = unvanish.check(*make())
    assert checked.run.facts.faults == ()
    root = checked.findings[0]
    assert (root.code, root.cause.code if root.cause else None) == (code, cause)
    assert root.severity.loud
    assert not checked.healthy


def test_a_network_of_zeros_is_symmetric() -> None:
    assert [finding.code for finding in unvanish.check(*check_networks.zeros()).findings] == ["symmetric-init"]


def test_a_head_that_starts_at_zero_mends_itself_with_the_first_step_and_is_no_finding() -> None:
    torch.manual_seed(0)
    head = nn.Linear(16, 3)
    nn.init.zeros_(head.weight)
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), head)
    checked = unvanish.check(model, torch.randn(8, 16), torch.arange(8) % 3)
    assert checked.healthy
    assert checked.flow.total == -math.inf


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
def test_the_network_and_the_program_are_as_they_were(training: bool) -> None:
    model = restless()
    model.train(training)
    before = state(model)
    unvanish.check(model, X, Y)
    assert state(model) == before


def test_they_are_so_also_after_a_fault_in_the_forward_pass() -> None:
    model = restless()
    model.fails = True
    before = state(model)
    with pytest.raises(ZeroDivisionError):
        unvanish.check(model, X, Y)
    assert state(model) == before


def test_a_training_after_a_check_is_bit_for_bit_the_training_without() -> None:
    ends: list[list[Any]] = []
    for looked in (False, True):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        model = Restless()
        if looked:
            unvanish.check(model, X, Y)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X), Y).backward()
            optimizer.step()
        ends.append([value.tolist() for value in model.state_dict().values()])
    assert ends[0] == ends[1]


def test_checking_and_tracing_agree_and_can_be_repeated() -> None:
    network = check_networks.glorot_tanh()
    totals = {unvanish.check(*network).flow.total, unvanish.trace(*network).total, unvanish.check(*network).flow.total}
    assert len(totals) == 1


def test_the_total_is_that_of_plain_autograd() -> None:
    model, x, y = check_networks.he_relu()
    inputs = x.clone().requires_grad_()
    outputs = model(inputs)
    outputs.retain_grad()
    nn.functional.cross_entropy(outputs, y).backward()
    assert inputs.grad is not None
    assert outputs.grad is not None
    expected = inputs.grad.square().mean().sqrt().log10() - outputs.grad.square().mean().sqrt().log10()
    model.zero_grad()
    assert unvanish.check(model, x, y).flow.total == pytest.approx(expected.item(), abs=1e-4)


def test_a_network_of_integers_names_every_weight_where_it_is_used() -> None:
    flow = unvanish.trace(*check_networks.transformer())
    used = {op.label: op.parameters for op in flow.ops if op.kind == "weight"}
    assert used["head"] == ("head.bias", "head.weight")
    assert used["encoder.layers.5.linear2"] == ("encoder.layers.5.linear2.bias", "encoder.layers.5.linear2.weight")
    assert sum(op.kind == "merge" for op in flow.ops) > 12


def test_the_report_tells_it_with_pictures(tmp_path: Path) -> None:
    checked = unvanish.check(*check_networks.deep_sigmoid())
    page = checked.report(tmp_path / "look.html").read_text()
    assert checked.findings[0].summary in page
    for name in ("waterfall", "kinds", "depth", "spectrum"):
        assert f'id="{name}-title"' in page
    assert checked.report(tmp_path / "again.html").read_text() == page


def test_a_flow_draws_itself() -> None:
    assert unvanish.check(*check_networks.small()).flow.plot() is not None


WRONG: dict[str, tuple[tuple[Any, Any, Any], str]] = {
    "no module": (("net", X, Y), "check needs a torch.nn.Module, and was given str"),
    "a class": ((nn.Linear, X, Y), "was given type"),
    "no tensor": ((nn.Linear(6, 3), "x", Y), "hold no tensor"),
    "no loss": ((nn.Linear(6, 3), X, None), "the loss is NoneType"),
    "a loss of many numbers": ((nn.Linear(6, 3), X, lambda out: out), r"shape \(8, 3\); reduce it to one number"),
    "a loss that is no tensor": ((nn.Linear(6, 3), X, lambda out: 1.0), "returned float"),
    "targets of another shape": ((nn.Linear(6, 3), X, Y[:3]), "do not match class targets"),
    "a loss by itself": ((nn.Linear(6, 3), X, lambda out: torch.ones((), requires_grad=True)), "depends on"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_checked_is_refused_with_the_reason(name: str) -> None:
    arguments, words = WRONG[name]
    with pytest.raises(unvanish.UnvanishError, match=words):
        unvanish.check(*arguments)


# What theory says


def predict_and_trace(model: nn.Module, x: Tensor, y: Any) -> tuple[Prediction, float]:
    """The forecast and the measured decades."""
    checked = unvanish.check(model, x, y)
    assert checked.prediction is not None
    return checked.prediction, checked.flow.total


def convolutions() -> Made:
    torch.manual_seed(0)
    layers = [layer for i in range(8) for layer in (nn.Conv2d(1 if i == 0 else 16, 16, 3, padding=1), nn.Tanh())]
    for layer in layers[::2]:
        nn.init.normal_(layer.weight, std=(layer.weight[0].numel()) ** -0.5)
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 5))
    return model, torch.randn(8, 1, 8, 8), torch.randint(0, 5, (8,))


def normalised() -> Made:
    torch.manual_seed(0)
    x = torch.randn(128, 64)
    layers = [layer for _ in range(12) for layer in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(64, 5)), x, torch.randint(0, 5, (128,))


CHAINS: dict[str, tuple[Callable[[], Made], float]] = {
    **{
        f"{name} of {depth}": (lambda kind=kind, depth=depth: check_networks.mlp(kind, depth), tolerance)
        for name, kind in {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}.items()
        for depth, tolerance in ((10, 0.5), (30, 1.0))
    },
    "orthogonal tanh": (lambda: check_networks.mlp(nn.Tanh, 30, nn.init.orthogonal_), 0.5),
    "convolutions": (convolutions, 0.5),
    "batch norm": (normalised, 0.5),
}


@pytest.mark.parametrize("name", CHAINS)
def test_theory_foretells_what_is_measured(name: str) -> None:
    make, tolerance = CHAINS[name]
    predicted, measured = predict_and_trace(*make())
    assert predicted.decades == pytest.approx(measured, abs=tolerance)
    assert predicted.reason == "" or predicted.critical_sw is None


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (check_networks.resnet, "paths part"),
        (check_networks.rnn, "paths part"),
        (check_networks.transformer, "inputs are integers"),
        (lambda: check_networks.mlp(nn.Hardshrink, 3), "no formula for hardshrink"),
        (lambda: (nn.Linear(32, 5), *check_networks.points()), "too few layers"),
    ],
    ids=["resnet", "rnn", "transformer", "unknown activation", "one layer"],
)
def test_where_theory_has_no_number_it_says_why(make: Callable[[], Made], why: str) -> None:
    predicted, _ = predict_and_trace(*make())
    assert predicted.decades is None
    assert why in predicted.reason


def test_orthogonal_weights_are_recognised_by_what_they_are() -> None:
    orthogonal, _ = predict_and_trace(*check_networks.mlp(nn.Tanh, 10, nn.init.orthogonal_))
    gaussian, _ = predict_and_trace(*check_networks.mlp(nn.Tanh, 10, lambda w: nn.init.normal_(w, std=w.shape[1] ** -0.5)))
    assert orthogonal.sw == pytest.approx(1.0, abs=1e-3)
    assert orthogonal.decades is not None
    assert gaussian.decades is not None
    assert orthogonal.scatter is not None
    assert gaussian.scatter is not None
    assert orthogonal.scatter < gaussian.scatter


def test_a_copy_gives_the_same_findings() -> None:
    model, x, y = check_networks.deep_relu()
    assert repr(unvanish.check(copy.deepcopy(model), x, y).findings) == repr(unvanish.check(model, x, y).findings)
