"""Tests of the replacement of activations that are called inside methods; the module stays the same object."""

from __future__ import annotations

import copy
import functools
import pickle
import traceback
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from state_of_network import state_snapshot
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply

GAIN = 2.0


def squash(x: Tensor) -> Tensor:
    """A helper outside any class."""
    return GAIN * torch.tanh(x)


def twice_removed(x: Tensor) -> Tensor:
    return squash(x) - 1.0


class Two(nn.Module):
    """Two layers; a subclass says what is between them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 2)


class Plain(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.tanh(self.fc1(x)))


class Method(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(
            self.fc1(x)
            .tanh()
        )  # fmt: skip


class Stored(Two):
    def __init__(self, act: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class InPlace(Two):
    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        h.tanh_()
        return self.fc2(h)


class Inherited(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Other(Two):
    """The call stands in another method, with a private name and a default, behind a comprehension."""

    def __squash(self, x: Tensor, *, times: int = 1) -> Tensor:
        return sum([torch.tanh(x) for _ in range(times)], start=torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.__squash(self.fc1(x)))


class Helped(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(twice_removed(self.fc1(x)))


class Counting(Two):
    """A branch on a value: only an example batch can be followed."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(torch.tanh(h) if h.sum() != 0.5 else h)


class Looping(Two):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(len(x)):
            x = torch.tanh(self.fc1(x))
        return self.fc2(x)


KINDS = [Plain, Method, Stored, InPlace, Inherited, Other, Helped, Counting, Looping]


def batch() -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(3))


def expected(network: Two, x: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
    """What the network puts out with another activation, written out."""
    if isinstance(network, Helped):
        return network.fc2(GAIN * act(network.fc1(x)) - 1.0)
    if isinstance(network, Looping):
        for _ in range(len(x)):
            x = act(network.fc1(x))
        return network.fc2(x)
    return network.fc2(act(network.fc1(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_replaced_in_every_kind_of_expression(kind: type[Two]) -> None:
    network = kind()
    before = state_snapshot(network)
    change = apply(network, "elu", inputs=batch())
    assert torch.equal(network(batch()), expected(network, batch(), F.elu))
    assert isinstance(network, kind)
    assert type(network).__name__ == kind.__name__
    change.undo()
    assert type(network) is kind
    assert state_snapshot(network) == before
    assert torch.equal(network(batch()), expected(network, batch(), torch.tanh))


@pytest.fixture(scope="module", autouse=True)
def dynamo_is_loaded() -> None:
    """What torch wraps for good when it first compiles is in place before a test looks at what was left behind."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_module_copies_pickles_and_compiles(kind: type[Two]) -> None:
    network = kind()
    apply(network, "elu", inputs=batch())
    wanted = network(batch())
    assert torch.equal(copy.deepcopy(network)(batch()), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(network))(batch()), wanted)
    assert torch.equal(torch.compile(network, backend="eager")(batch()), wanted)
    fresh = kind()
    apply(fresh, "elu", inputs=batch())
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(fresh(batch()), wanted)


def test_a_copy_of_an_edited_module_can_be_edited_again() -> None:
    network = copy.deepcopy(Plain())
    apply(network, "elu")
    apply(network, "relu")
    assert torch.equal(network(batch()), expected(network, batch(), F.relu))


def test_undoing_two_changes_in_turn_restores_the_network() -> None:
    network = Plain()
    first, second = apply(network, "elu"), apply(network, "relu")
    second.undo()
    assert torch.equal(network(batch()), expected(network, batch(), F.elu))
    first.undo()
    assert type(network) is Plain


def test_other_instances_and_the_class_itself_are_untouched() -> None:
    one, two = Plain(), Plain()
    apply(one, "relu")
    assert torch.equal(two(batch()), expected(two, batch(), torch.tanh))
    assert type(two) is Plain


def test_blocks_of_one_class_are_each_edited() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.fc(x))

    network = nn.Sequential(Block(), Block(), nn.Linear(4, 1))
    assert [edit.path for edit in apply(network, "relu").edits] == ["0", "1"]
    assert (network[:2](batch()) >= 0).all()


def test_the_output_and_gates_stay_beside_replaced_calls() -> None:
    class Mixed(Two):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.fc1(x))
            h = h * torch.sigmoid(h)
            return torch.sigmoid(self.fc2(h))

    network = Mixed()
    (edit,) = apply(network, "relu").edits
    assert edit.before == "tanh(x)"
    h = F.relu(network.fc1(batch()))
    assert torch.equal(network(batch()), torch.sigmoid(network.fc2(h * torch.sigmoid(h))))


def test_lines_of_the_source_stay_where_they_were() -> None:
    class Failing(Two):
        def forward(self, x: Tensor, *, fail: bool = False) -> Tensor:
            h = torch.tanh(self.fc1(x))
            if fail:
                raise RuntimeError("here")
            return self.fc2(h)

    network = Failing()
    apply(network, "relu")
    with pytest.raises(RuntimeError) as caught:
        network(batch(), fail=True)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == 'raise RuntimeError("here")'


def test_a_decorated_method_is_refused_with_the_reason() -> None:
    def logged(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(function)
        def inner(*args: Tensor) -> Tensor:
            return function(*args)

        return inner

    class Decorated(Two):
        @logged
        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(torch.tanh(self.fc1(x)))

    network = Decorated()
    with pytest.raises(NotApplicable, match="cannot be edited"):
        apply(network, "relu")
    assert type(network) is Decorated


def test_missing_source_is_refused_with_the_reason() -> None:
    names: dict[str, object] = {"nn": nn, "torch": torch, "Two": Two}
    exec("class Typed(Two):\n    def forward(self, x):\n        return self.fc2(torch.tanh(self.fc1(x)))\n", names)
    kind = names["Typed"]
    assert isinstance(kind, type)
    with pytest.raises(NotApplicable, match="no source"):
        apply(kind(), "relu")


def test_a_lambda_in_an_attribute_is_refused_with_the_reason() -> None:
    network = Stored(lambda x: torch.tanh(x) + 1.0)
    with pytest.raises(NotApplicable, match="found by its name"):
        apply(network, "relu")
