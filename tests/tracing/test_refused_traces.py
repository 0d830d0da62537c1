"""Errors for what cannot be traced say what was wrong, where, and what to do; a dead network is traced."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unvanish.errors import TraceError, UnvanishError, UsageError
from unvanish.tracing import trace

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0])
HERE = inspect.getsourcefile(lambda: None) or ""


class Between(nn.Module):
    """Two linear layers and something between them."""

    def __init__(self, between: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.first, self.between, self.last = nn.Linear(6, 6), between, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))


def frozen() -> nn.Sequential:
    model = plain()
    model[0].weight.requires_grad_(False)
    return model


def line_of(text: str) -> int:
    """The line of this file that ends so."""
    with open(HERE, encoding="utf-8") as file:  # noqa: PTH123
        return next(number for number, line in enumerate(file, 1) if line.rstrip().endswith(text))


def unusable(words: dict[str, tuple[Callable[[], Any], str]]) -> Any:
    return pytest.mark.parametrize(("call", "message"), words.values(), ids=words.keys())


@unusable(
    {
        "a function": (lambda: trace(lambda x: x, X, Y), r"torch\.nn\.Module.*function"),
        "no tensor": (lambda: trace(plain(), 3, Y), r"inputs \(int\) hold no tensor; give a tensor"),
        "nothing": (lambda: trace(plain(), (), Y), r"inputs \(tuple\) hold no tensor"),
        "an array": (lambda: trace(plain(), X.numpy(), Y), r"inputs \(ndarray\) hold no tensor"),
        "no example": (lambda: trace(plain(), X[:0], Y[:0]), r"hold no value \(shape \(0, 6\)\); give at least one example"),
        "a word for a loss": (lambda: trace(plain(), X, "mse"), r"the loss is str; give a function"),
        "a loss of many numbers": (
            lambda: trace(plain(), X, lambda o: o),
            r"shape \(4, 3\); reduce it to one number, such as with \.mean\(\)",
        ),
        "a loss that is no tensor": (lambda: trace(plain(), X, lambda o: 3.0), r"returned float; it must return a tensor"),
        "a parameter misspelt": (
            lambda: trace(plain(), X, Y, to="0.weigth"),
            r"Sequential has no parameter '0\.weigth'; did you mean 0\.weight\?",
        ),
        "a parameter unheard of": (
            lambda: trace(plain(), X, Y, to="kernel"),
            r"no parameter 'kernel'; it has 0\.weight, 0\.bias, 2\.weight, 2\.bias",
        ),
        "a frozen parameter": (lambda: trace(frozen(), X, Y, to="0.weight"), r"0\.weight is frozen \(requires_grad is off\)"),
        "too many classes": (
            lambda: trace(plain(), X, Y[:3]),
            r"outputs of shape \(4, 3\) do not match class targets of shape \(3,\)",
        ),
        "too few values": (
            lambda: trace(plain(), X, torch.randn(4, 2)),
            r"outputs of shape \(4, 3\) do not match targets of shape \(4, 2\)",
        ),
        "no output": (lambda: trace(Between(lambda h: h), X, Y, to=""), r"no parameter ''"),
    }
)
def test_unusable_arguments_are_refused_with_what_to_do(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize(
    ("between", "operation"),
    [
        (lambda h: h.detach(), "detach"),  # cut: detach
        (lambda h: h.data, "data"),  # cut: data
        (lambda h: torch.from_numpy(h.detach().numpy() * 2), "detach"),  # cut: numpy
    ],
    ids=["detach", "data", "numpy"],
)
@pytest.mark.parametrize("to", [None, "first.weight"])
def test_a_detached_branch_names_the_operation_and_its_line(
    between: Callable[[Tensor], Tensor], operation: str, to: str | None, request: pytest.FixtureRequest
) -> None:
    mark = f"# cut: {request.node.callspec.id.split('-')[-1]}"
    with pytest.raises(TraceError, match=f"{operation} in the network itself.*:{line_of(mark)}  ") as raised:
        trace(Between(between), X, Y, to=to)
    assert "test_refused_traces.py" in str(raised.value)
    assert ("that parameter" if to else "the inputs") in str(raised.value)


def test_a_part_without_gradient_mode_names_its_module_and_line() -> None:
    class Frozen(Between):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                hidden = self.first(x)  # the frozen part
            return self.last(hidden)

    with pytest.raises(TraceError, match=f"linear in first.*:{line_of('# the frozen part')}  "):
        trace(Frozen(lambda h: h), X, Y)


def test_a_detached_side_branch_is_a_note_and_no_error() -> None:
    class Side(Between):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)
            return self.last(hidden) * hidden.detach().mean()  # beside the way

    (note,) = trace(Side(lambda h: h), X, Y).notes
    assert note.startswith("detach in the network itself passes no gradient on")
    assert f":{line_of('# beside the way')}" in note


@unusable(
    {
        "argmax": (lambda: trace(Between(lambda h: h), X, lambda o: o.argmax(1).float().mean()), r"argmax in the network itself"),
        "detached loss": (lambda: trace(plain(), X, lambda o: o.detach().sum()), r"it ends at detach"),
        "a loss of nothing": (
            lambda: trace(plain(), X, lambda o: torch.zeros((), requires_grad=True)),
            r"depends on nothing that carries a gradient",
        ),
        "a loss that is constant": (
            lambda: trace(plain(), X, lambda o: (o * 0).sum()),
            r"is exactly zero; does it depend on the outputs",
        ),
        "integers without embedding": (
            lambda: trace(Between(lambda h: h).double(), torch.randint(0, 9, (4, 6)), Y),
            r"Long|integers",
        ),
        "an unused parameter": (lambda: trace(Unused(), X, Y, to="unused"), r"depends on that parameter by no path"),
    }
)
def test_a_loss_without_gradient_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TraceError, RuntimeError), match=message):
        call()


class Unused(Between):
    def __init__(self) -> None:
        super().__init__(lambda h: h)
        self.unused = nn.Parameter(torch.ones(3))


class OfIntegers(nn.Module):
    def __init__(self, *, embedded: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 6) if embedded else None
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.table(x).mean(1) if self.table is not None else x.float())


def test_integers_end_at_their_embedding_or_are_refused() -> None:
    tokens = torch.randint(0, 9, (4, 6))
    flow = trace(OfIntegers(embedded=True), tokens, Y)
    assert flow.target == "embedding table"
    assert "table" not in flow.shares("op")
    assert sum(flow.shares("op").values()) == pytest.approx(flow.total, abs=1e-6)
    with pytest.raises(TraceError, match=r"integers, which have no gradient.*give floating-point inputs, or trace to a parameter"):
        trace(OfIntegers(embedded=False), tokens, Y)
    assert math.isfinite(trace(OfIntegers(embedded=False), tokens, Y, to="last.weight").total)


def test_the_first_values_that_are_not_finite_are_named() -> None:
    with pytest.raises(
        TraceError,
        match=rf"the loss is nan; the first values .* come out of log in the network itself .*:{line_of('# undefined')}  ",
    ):
        trace(Between(lambda h: torch.log(-h.square())), X, Y)  # undefined
    with pytest.raises(TraceError, match="come out of linear in 0"):
        trace(plain(), X * math.nan, Y)
    with pytest.raises(TraceError, match=r"the loss is -?inf"):
        trace(plain(), X, lambda o: o.sum() * math.inf)


def test_a_gradient_that_is_not_finite_names_where_it_arose() -> None:
    with pytest.raises(
        TraceError,
        match=rf"gradient is not finite although the loss is .* backward pass of sqrt .*:{line_of('# infinite slope')}  ",
    ):
        trace(Between(lambda h: torch.sqrt(h.square() * 0.0)), X, Y)  # infinite slope


def test_a_gradient_whose_infinities_are_masked_out_again_is_refused_too() -> None:
    """Plain autograd delivers a finite gradient here, but no share could be computed."""
    with pytest.raises(TraceError, match="masked out later; it first stops being finite in the backward pass of sqrt"):
        trace(Between(lambda h: torch.sqrt(torch.relu(h))), X, Y)


def test_a_dead_network_is_traced_and_the_blocking_operation_named() -> None:
    model = plain()
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    for to in (None, "0.weight"):
        flow = trace(model, X, Y, to=to)
        assert flow.total == flow.log10_target_rms == -math.inf
        assert flow.shares("op") == {"1": -math.inf}
        assert flow.shares("kind") == {"activation": -math.inf}
        assert "-inf" in flow.table()
    assert trace(model, X, Y, to="2.bias").total > -math.inf
    assert {p.name: p.log10_gradient_rms for p in flow.parameters}["0.weight"] == -math.inf


def test_rounding_is_named_as_blocking() -> None:
    """Torch gives it a derivative, of zero."""
    assert trace(Between(torch.round), X, Y).shares("op") == {"Between:round": -math.inf}


def test_a_zero_weight_is_named_as_blocking() -> None:
    model = plain()
    nn.init.zeros_(model[2].weight)
    flow = trace(model, X, Y)
    assert flow.shares("module") == {"2": -math.inf}


def test_the_users_own_exceptions_pass_unchanged() -> None:
    class Fault(Exception):
        pass

    def fail(*_: Any) -> Any:
        raise Fault("mine")

    for call in (lambda: trace(Between(fail), X, Y), lambda: trace(plain(), X, fail)):
        with pytest.raises(Fault, match="mine"):
            call()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trace(plain(), X[:, :5], Y)
    assert not issubclass(Fault, UnvanishError)


def test_inputs_made_without_gradient_mode_are_traced_like_others() -> None:
    model = plain()
    with torch.inference_mode():
        inference = X.clone()
        inside = trace(model, inference, Y)
    with torch.no_grad():
        quiet = trace(model, X, Y)
    outside = trace(model, inference, Y)
    assert inside == quiet == outside == trace(model, X, Y)
