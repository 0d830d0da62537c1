"""lstm and gru replace hand-written cells: how cells are recognised, what replaces them, and which are refused."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from state_of_network import random_state, state_snapshot
from torch import Tensor, nn

from unvanish.errors import NotApplicable, UsageError
from unvanish.remedies import Context, apply
from unvanish.remedies.catalogue.architecture.gru import Gru
from unvanish.remedies.catalogue.architecture.lstm import Lstm
from unvanish.remedies.catalogue.initialisation.forget_bias import ForgetBias
from unvanish.remedies.catalogue.initialisation.identity_rnn_init import IdentityRnnInit
from unvanish.remedies.layers.cell_adapter import CellAdapter
from unvanish.remedies.layers.recurrent import LSTMCellAsRNNCell

CATALOGUE = {each.name: each for each in (Lstm(), Gru(), ForgetBias(), IdentityRnnInit())}
both_remedies = pytest.mark.parametrize("name", ["gru", "lstm"])
ROWS, STEPS, WIDTH, HIDDEN = 3, 7, 4, 5


class Elman(nn.Module):
    """A vanilla cell in its most common form."""

    def __init__(self, width: int = WIDTH, hidden: int = HIDDEN, bias: bool = True) -> None:
        super().__init__()
        self.n_hidden = hidden
        self.i2h, self.h2h = nn.Linear(width, hidden, bias=bias), nn.Linear(hidden, hidden, bias=bias)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.i2h(x) + self.h2h(h))


class Rectified(Elman):
    def __init__(self) -> None:
        super().__init__(bias=False)
        self.act = nn.ReLU()

    def forward(self, inp: Tensor, hidden_state: Tensor | None = None) -> Tensor:
        if hidden_state is None:
            hidden_state = torch.zeros(len(inp), self.n_hidden, dtype=inp.dtype)
        return self.act(self.h2h(hidden_state).add(self.i2h(inp)))


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Linear(HIDDEN + WIDTH, HIDDEN)

    def forward(self, x: Tensor, prev_h: Tensor) -> Tensor:
        return F.leaky_relu(self.both(torch.cat([prev_h, x], dim=1)))


class Matrices(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W, self.U = nn.Parameter(torch.randn(WIDTH, HIDDEN)), nn.Parameter(torch.randn(HIDDEN, HIDDEN))
        self.b = nn.Parameter(torch.zeros(HIDDEN))

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.sigmoid(x @ self.W + state @ self.U + self.b)


class StateFirst(Elman):
    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return super().forward(x, h)


class Square(Elman):
    def __init__(self) -> None:
        super().__init__(WIDTH, WIDTH)


class UnnamedCell(Elman):
    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        return super().forward(one, two)


class Reader(nn.Module):
    """A loop over a cell, and a head."""

    def __init__(self, cell: nn.Module, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.hidden = hidden
        self.cell = cell
        self.head = nn.Linear(hidden, 2)

    def initial_state(self, x: Tensor) -> Any:
        return x.new_zeros(len(x), self.hidden)

    def advance(self, x: Tensor, h: Any) -> Any:
        return self.cell(x, h)

    def forward(self, x: Tensor) -> Tensor:
        h = self.initial_state(x)
        for t in range(x.shape[1]):
            h = self.advance(x[:, t], h)
        return self.head(h)


class StateFirstReader(Reader):
    def advance(self, x: Tensor, h: Any) -> Any:
        return self.cell(h, x)


class KeywordReader(Reader):
    def advance(self, x: Tensor, h: Any) -> Any:
        return self.cell(h=h, x=x)


class WithoutInitialState(Reader):
    def initial_state(self, x: Tensor) -> Any:
        return None


class LearnedInitialState(Reader):
    """An initial state that is a parameter, and two sequences, one after the other."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__(cell)
        self.start = nn.Parameter(torch.randn(HIDDEN))

    def initial_state(self, x: Tensor) -> Any:
        return self.start.expand(len(x), HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(-x)


def seeded(kind: Callable[..., Any], *args: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(*args)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "two layers": lambda: Reader(Elman()),
    "no bias, rectified, state optional": lambda: Reader(Rectified()),
    "no state at first": lambda: WithoutInitialState(Rectified()),
    "one layer": lambda: Reader(Joined()),
    "raw matrices": lambda: Reader(Matrices()),
    "state first": lambda: StateFirstReader(StateFirst()),
    "by name": lambda: KeywordReader(Elman()),
    "square": lambda: Reader(Square(), WIDTH),
    "unnamed": lambda: Reader(UnnamedCell()),
    "learned beginning": lambda: LearnedInitialState(Elman()),
}
networks = pytest.mark.parametrize("kind", NETWORKS)
with_inputs = pytest.mark.parametrize("with_inputs", [False, True], ids=["without inputs", "with inputs"])


def sequences(*, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(ROWS, STEPS, WIDTH, generator=torch.Generator().manual_seed(3), dtype=dtype)


def treat(network: nn.Module, *names: str, **options: Any) -> nn.Module:
    apply(network, *names, catalogue=CATALOGUE, **options)
    return network


def refusal(network: nn.Module, batch: Any = None, *, name: str = "gru") -> str:
    """The message with which a network is refused; the network must stay as it was."""
    before = state_snapshot(network)
    with pytest.raises(NotApplicable, match=f"^{name}: ") as caught:
        apply(network, name, inputs=batch, catalogue=CATALOGUE)
    assert state_snapshot(network) == before
    return str(caught.value)


def inner(network: Any) -> Any:
    return network.cell.cell if isinstance(network.cell, CellAdapter) else network.cell


# The replacement


@with_inputs
@networks
@both_remedies
def test_the_treated_network_equals_a_loop_over_a_torch_cell_with_the_same_weights(name: str, kind: str, with_inputs: bool) -> None:
    network, x = seeded(NETWORKS[kind]), sequences()
    old, before = network.cell, [p.clone() for p in network.head.parameters()]
    options = {"inputs": x} if with_inputs else {}
    (edit,) = apply(network, name, catalogue=CATALOGUE, **options).edits
    new = inner(network)
    assert (edit.action, edit.path, edit.before, edit.after) == ("replace", "cell", type(old).__name__, repr(new))
    assert type(new) is {"gru": nn.GRUCell, "lstm": LSTMCellAsRNNCell}[name]
    assert (new.input_size, new.hidden_size) == (WIDTH, network.hidden)
    assert new.bias == any(p.dim() == 1 for p in old.parameters())
    assert isinstance(network.cell, CellAdapter) == (kind in ("state first", "by name"))
    assert all(torch.equal(a, b) for a, b in zip(before, network.head.parameters(), strict=True))
    plain = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}[name](WIDTH, network.hidden, bias=new.bias)
    plain.load_state_dict(new.state_dict())
    expected = torch.zeros(ROWS, 2)
    for sign in (1, -1) if kind == "learned beginning" else (1,):
        h = network.start.expand(ROWS, -1) if kind == "learned beginning" else torch.zeros(ROWS, network.hidden)
        c = h
        for t in range(STEPS):
            if name == "gru":
                h = plain(sign * x[:, t], h)
            else:
                h, c = plain(sign * x[:, t], (h, c))
        expected = expected + network.head(h)
    assert torch.equal(network(x), expected)


@networks
def test_weights_are_the_same_with_and_without_inputs_and_planning_draws_no_random_numbers(kind: str) -> None:
    network, random_before = seeded(NETWORKS[kind]), random_state()
    for batch in (None, sequences()):
        CATALOGUE["gru"].plan(network, Context(torch.Generator().manual_seed(0), inputs=batch))
    assert random_state() == random_before
    one, two = treat(copy.deepcopy(network), "gru"), treat(network, "gru", inputs=sequences())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@with_inputs
@both_remedies
def test_dtype_mode_flags_and_settings_of_the_cell_are_kept(name: str, with_inputs: bool) -> None:
    network = seeded(Reader, Elman()).double()
    network.cell.eval()
    network.cell.i2h.bias.requires_grad_(False)
    network.cell.h2h.bias.requires_grad_(False)
    treat(network, name, **({"inputs": sequences(dtype=torch.float64)} if with_inputs else {}))
    assert {p.dtype for p in network.parameters()} == {torch.float64}
    assert [p.requires_grad for p in network.cell.parameters()] == [True, True, False, False]
    assert (network.cell.training, network.training) == (False, True)
    assert network.cell.n_hidden == HIDDEN
    assert network.cell(torch.zeros(2, WIDTH, dtype=torch.float64)).shape == (2, HIDDEN)


@with_inputs
@both_remedies
def test_every_cell_is_replaced_in_every_place_along_with_torchs_own(name: str, with_inputs: bool) -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.ModuleList([Elman(), nn.RNNCell(HIDDEN, HIDDEN), Elman(HIDDEN, HIDDEN)])
            self.top = self.cells[2]

        def forward(self, x: Tensor) -> Tensor:
            states = [x.new_zeros(len(x), HIDDEN) for _ in self.cells]
            for step in x.unbind(1):
                for at, cell in enumerate(self.cells):
                    states[at] = step = cell(step, states[at])
            return states[-1]

    network = seeded(Stack)
    edits = apply(network, name, catalogue=CATALOGUE, **({"inputs": sequences()} if with_inputs else {})).edits
    assert sorted(edit.path for edit in edits) == ["cells.0", "cells.1", "cells.2"]
    assert network.top is network.cells[2]
    assert network(sequences()).shape == (ROWS, HIDDEN)


def test_with_inputs_a_cell_may_compute_anything_and_the_innermost_cell_is_replaced() -> None:
    class Odd(Elman):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.rate = nn.LayerNorm(HIDDEN), nn.Parameter(torch.tensor(0.3))

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return (1 - self.rate) * h + self.rate * super().forward(x, self.norm(h))

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.inner = nn.Linear(WIDTH, WIDTH), Odd()

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return self.inner(self.embed(x).relu(), h)

    assert "pass inputs=" in refusal(Reader(Odd()))
    network = seeded(Reader, Around())
    (edit,) = apply(network, "gru", inputs=sequences(), catalogue=CATALOGUE).edits
    assert (edit.path, edit.before) == ("cell.inner", "Odd")
    assert type(network.cell) is Around


@with_inputs
def test_forget_bias_finds_the_new_lstm_and_asks_for_lstm_where_there_is_none(with_inputs: bool) -> None:
    options = {"inputs": sequences()} if with_inputs else {}
    assert "no gates ('cell': StateFirst); apply lstm first" in refusal(
        StateFirstReader(StateFirst()), name="forget-bias", batch=options.get("inputs")
    )
    edits = apply(StateFirstReader(StateFirst()), "lstm", "forget-bias", catalogue=CATALOGUE, **options).edits
    assert edits[-1].path == "cell.cell"
    assert edits[-1].after.startswith(f"chrono for {STEPS} steps" if with_inputs else "forget bias from 1 to 6")


# Undo, training, copies and optimizers


@networks
@both_remedies
@pytest.mark.parametrize("owner", [torch.optim.Adam, torch.optim.SGD])
def test_undo_after_training_is_the_identity(name: str, kind: str, owner: Any) -> None:
    network, x = seeded(NETWORKS[kind]), sequences()
    optimizer = owner(network.named_parameters(), lr=0.01)
    _train(network, optimizer)
    before, random_before, expected = state_snapshot(network, optimizer), random_state(), network(x).clone()
    change = apply(network, name, optimizer=optimizer, inputs=x, catalogue=CATALOGUE)
    assert random_state() == random_before
    (group,) = optimizer.param_groups
    assert {*group["params"]} == {*network.parameters()}
    assert len(group["params"]) == len(group["param_names"]) == len([*network.parameters()])
    moved = [p.clone() for p in network.cell.parameters()]
    _train(network, optimizer)
    assert not any(torch.equal(a, b) for a, b in zip(moved, network.cell.parameters(), strict=True))
    change.undo()
    assert state_snapshot(network, optimizer) == before
    assert torch.equal(network(x), expected)
    _train(network, optimizer)


@networks
@both_remedies
def test_a_treated_network_trains_copies_pickles_and_loads(name: str, kind: str) -> None:
    network, x = treat(seeded(NETWORKS[kind]), name), sequences()
    _train(network, torch.optim.Adam(network.parameters()))
    stream = io.BytesIO()
    torch.save(network.cell, stream)
    stream.seek(0)
    loaded = copy.deepcopy(network)
    loaded.cell = torch.load(stream, weights_only=False)
    other_network = treat(seeded(NETWORKS[kind]), name, seed=9)
    other_network.load_state_dict(network.state_dict())
    for other in (loaded, copy.deepcopy(network), other_network):
        assert torch.equal(other(x), network(x))


@pytest.fixture(scope="module")
def compiler() -> None:
    """Runs torch's compiler once, since it wraps nn.Module.__init__ for good when it first compiles."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler asks at a graph break
@both_remedies
@pytest.mark.parametrize("kind", ["two layers", "state first", "by name"])
def test_a_treated_network_compiles(name: str, kind: str) -> None:
    network, x = seeded(NETWORKS[kind]), sequences()
    compiled = torch.compile(network, backend="eager")
    stale = compiled(x)
    apply(compiled, name, catalogue=CATALOGUE)
    assert torch.allclose(compiled(x), network(x))
    assert not torch.equal(stale, compiled(x))


def test_new_biases_join_the_group_of_old_biases_and_matrices_that_of_the_first_matrix() -> None:
    network = seeded(Reader, Elman())
    cell = network.cell
    slow = torch.optim.SGD([cell.h2h.weight], lr=0.001)
    quick = torch.optim.AdamW(
        [
            {"params": [network.head.weight, network.head.bias, cell.i2h.weight], "weight_decay": 0.1},
            {"params": [cell.i2h.bias, cell.h2h.bias], "weight_decay": 0.0},
        ]
    )
    change = apply(network, "gru", optimizer=[slow, quick], catalogue=CATALOGUE)
    decayed, free = (group["params"] for group in quick.param_groups)
    assert {*decayed} == {network.head.weight, network.head.bias, network.cell.weight_ih, network.cell.weight_hh}
    assert {*free} == {network.cell.bias_ih, network.cell.bias_hh}
    assert slow.param_groups[0]["params"] == [cell.h2h.weight]  # torch refuses an optimizer without any
    change.undo()
    with pytest.raises(NotApplicable, match="LBFGS"):
        apply(network, "gru", optimizer=torch.optim.LBFGS(network.parameters()), catalogue=CATALOGUE)
    assert network.cell is cell


def test_an_adapter_accepts_its_arguments_as_the_old_cell_did() -> None:
    cell = nn.GRUCell(WIDTH, HIDDEN)
    adapter, x, h = CellAdapter(cell, ("h", "x"), state=0), torch.randn(2, WIDTH), torch.randn(2, HIDDEN)
    for states in (adapter(h, x), adapter(h, x=x), adapter(x=x, h=h)):
        assert torch.equal(states, cell(x, h))
    assert torch.equal(adapter(x=x), cell(x))
    for args, names in (((h,), {}), ((h, x, x), {}), ((h, x), {"x": x}), ((), {"x": x, "state": h})):
        with pytest.raises(TypeError, match="forward"):
            adapter(*args, **names)


# Refusals


def test_a_cell_that_is_more_than_a_step_is_refused_with_the_reason() -> None:
    class Pairs(Elman):
        def forward(self, x: Tensor, h: Tensor) -> Any:
            h = super().forward(x, h)
            return h, h

    class Unpacking(Reader):
        def advance(self, x: Tensor, h: Any) -> Any:
            return self.cell(x, h)[1]

    class Dropping(Elman):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return F.dropout(super().forward(x, h), 0.5, self.training)

    class Counting(Elman):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x, h) * self.calls

    class Starting(Elman):
        def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
            return super().forward(x, torch.ones(len(x), HIDDEN) if h is None else h)

    class MinimalGated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both, self.gates = nn.Linear(WIDTH + HIDDEN, HIDDEN), nn.Linear(WIDTH + HIDDEN, 2 * HIDDEN)

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            forget, write = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
            return forget * h + write * torch.tanh(self.both(torch.cat([x, h], 1)))

    several = "returns several values"
    for network, without_inputs_reason, with_inputs_reason in (
        (Unpacking(Pairs()), several, several),
        (Reader(Dropping()), "something else than an activation", "depends on more than its input and its state"),
        (Reader(Counting()), "something else than an activation", "depends on more than its input and its state"),
        (WithoutInitialState(Starting()), "something else than an activation", "depends on more than its input and its state"),
        (Reader(MinimalGated()), "pass inputs=", "'cell' (MinimalGated) has gates already"),
    ):
        for name in ("gru", "lstm"):
            assert without_inputs_reason in refusal(network, name=name)
            assert with_inputs_reason in refusal(network, sequences(), name=name)


@both_remedies
def test_a_cell_whose_state_is_altered_between_steps_is_refused(name: str) -> None:
    class Altering(Reader):
        def advance(self, x: Tensor, h: Any) -> Any:
            return self.cell(x, F.dropout(h, 0.5, self.training)) if h.any() else self.cell(x, h)

    class Resetting(Reader):
        def advance(self, x: Tensor, h: Any) -> Any:
            return self.cell(x, h * 0.5 if x[0, 0] > 0 else h)

    assert "'cell.h2h' runs 7 times" in refusal(Altering(Elman()), sequences(), name=name)
    assert "'cell' (Elman) is given a state that was altered" in refusal(Resetting(Elman()), sequences(), name=name)


def test_a_cell_whose_state_comes_back_as_a_copy_is_replaced_by_gru_but_not_by_lstm() -> None:
    class Storing(Reader):
        def forward(self, x: Tensor) -> Tensor:
            states = x.new_zeros(x.shape[1] + 1, len(x), HIDDEN)
            for t in range(x.shape[1]):
                states[t + 1] = self.cell(x[:, t], states[t])
            return self.head(states[-1])

    assert "'cell' is given a state that was altered since it came out" in refusal(Storing(Elman()), sequences(), name="lstm")
    assert len(apply(Storing(Elman()), "gru", inputs=sequences(), catalogue=CATALOGUE).edits) == 1


def test_a_detached_state_is_the_same_state() -> None:
    class Truncated(Reader):
        def advance(self, x: Tensor, h: Any) -> Any:
            return self.cell(x, h.detach() if x[0, 0] > 0 else h)

    assert len(apply(Truncated(Elman()), "lstm", inputs=sequences(), catalogue=CATALOGUE).edits) == 1


@with_inputs
def test_a_cell_that_shares_weights_is_frozen_or_keeps_tensors_is_refused(with_inputs: bool) -> None:
    batch = sequences() if with_inputs else None
    shared = Reader(Elman(), HIDDEN)
    shared.again = shared.cell.h2h
    frozen = Reader(Elman())
    frozen.cell.requires_grad_(False)
    holding = Reader(Elman())
    holding.cell.context = torch.ones(1)
    for network, why in ((shared, "shares a weight"), (frozen, "is frozen"), (holding, "keeps a tensor")):
        assert why in refusal(network, batch)
    itself = Elman()
    assert "Elman is itself the recurrence" in refusal(
        itself, (torch.zeros(1, WIDTH), torch.zeros(1, HIDDEN)) if with_inputs else None
    )


@with_inputs
def test_a_network_that_uses_more_of_its_cell_than_a_step_is_refused(with_inputs: bool) -> None:
    class Offering(Elman):
        def beginning(self, x: Tensor) -> Tensor:
            return x.new_zeros(len(x), self.n_hidden)

    class Asking(Reader):
        def initial_state(self, x: Tensor) -> Any:
            return self.cell.beginning(x)

    message = refusal(Asking(Offering()), sequences() if with_inputs else None)
    assert ("asks more of 'cell' than a step" if with_inputs else "more than a forward (beginning)") in message


def test_modules_that_only_look_like_cells_are_not_recognised() -> None:
    class Fusion(nn.Module):
        """Two modalities of which neither is a state."""

        def __init__(self) -> None:
            super().__init__()
            self.of_sound, self.of_text = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, HIDDEN)

        def forward(self, sound: Tensor, text: Tensor) -> Tensor:
            return torch.relu(self.of_sound(sound) + self.of_text(text))

    class Once(nn.Module):
        """A cell that a traceable network calls once: nothing recurs."""

        def __init__(self) -> None:
            super().__init__()
            self.cell, self.text = Elman(), nn.Linear(WIDTH, HIDDEN)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x[:, 0], self.text(x[:, 1]))

    class Merging(Reader):
        def advance(self, x: Tensor, h: Any) -> Any:
            return self.cell(x, x.new_ones(len(x), HIDDEN))

    assert "has no recurrence" in refusal(Reader(Fusion()))
    for batch in (None, sequences()):
        assert "has no recurrence (Linear), so" in refusal(Once(), batch)
    assert "has no recurrence" in refusal(Merging(Elman()), sequences())


def test_a_cell_in_a_traceable_loop_is_recognised_as_recurrent() -> None:
    class Fixed(Reader):
        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(x.shape[0], self.hidden)
            for t in range(STEPS):
                h = self.cell(x[:, t], h)
            return self.head(h)

    assert [edit.path for edit in apply(Fixed(Elman()), "gru", catalogue=CATALOGUE).edits] == ["cell"]


def test_a_cell_whose_argument_names_do_not_tell_the_state_needs_inputs() -> None:
    class Level(UnnamedCell):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.i2h, self.h2h = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    class RecurrentMerge(Joined):
        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            return super().forward(one, two)

    for cell, hidden in ((Level(), WIDTH), (RecurrentMerge(), HIDDEN)):
        network = Reader(cell, hidden)
        assert "pass inputs=" in refusal(network)
        assert len(apply(network, "gru", inputs=sequences(), catalogue=CATALOGUE).edits) == 1
    with pytest.raises(UsageError, match="inputs= cannot be run"):
        apply(Reader(Elman()), "gru", inputs=torch.zeros(1), catalogue=CATALOGUE)


def _train(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Two training steps on a made-up loss."""
    for _ in range(2):
        optimizer.zero_grad()
        network(sequences()).square().sum().backward()
        optimizer.step()
