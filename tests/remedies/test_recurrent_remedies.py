"""Tests of lstm, gru, forget-bias and identity-rnn-init: what they replace, what it computes, and refusals."""

from __future__ import annotations

import copy
import gc
import io
import math
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from remedy_networks import build_network, example_inputs, mlp
from scipy import stats
from state_of_network import random_state, state_snapshot
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unvanish.errors import NotApplicable, UsageError
from unvanish.remedies import Context, apply, built_in_catalogue
from unvanish.remedies.catalogue.architecture.gru import Gru
from unvanish.remedies.catalogue.architecture.lstm import Lstm
from unvanish.remedies.catalogue.initialisation.forget_bias import ForgetBias
from unvanish.remedies.catalogue.initialisation.identity_rnn_init import IdentityRnnInit
from unvanish.remedies.layers.recurrent import CellStates, LSTMAsRNN, LSTMCellAsRNNCell

CATALOGUE = {each.name: each for each in (Lstm(), Gru(), ForgetBias(), IdentityRnnInit())}
EXCHANGES = pytest.mark.parametrize("name", ["lstm", "gru"])
EVERY = pytest.mark.parametrize("names", [("lstm",), ("gru",), ("lstm", "forget-bias"), ("identity-rnn-init",)], ids="+".join)

ROWS, STEPS, WIDTH, HIDDEN = 3, 7, 4, 5
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers": {"num_layers": 2, "dropout": 0.5, "batch_first": True},
    "both directions": {"bidirectional": True, "batch_first": True, "num_layers": 2},
    "rectified, no bias": {"nonlinearity": "relu", "bias": False},
}
shaped = pytest.mark.parametrize("shape", SHAPES)


class Tagger(nn.Module):
    """A whole-sequence recurrence between two feed-forward layers."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.into = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())
        self.rnn = nn.RNN(WIDTH, HIDDEN, **settings)
        self.head = nn.LazyLinear(2)
        self.head(torch.zeros(1, HIDDEN * (2 if self.rnn.bidirectional else 1)))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.into(x)
        out, last = self.rnn(x if self.rnn.batch_first else x.transpose(0, 1), state)
        return self.head(out if self.rnn.batch_first else out.transpose(0, 1)), last


class Stepper(nn.Module):
    """Two cells, one above the other, called step by step."""

    def __init__(self, between: nn.Module | None = None) -> None:
        super().__init__()
        self.low, self.high = nn.RNNCell(WIDTH, HIDDEN), nn.RNNCell(HIDDEN, HIDDEN)
        self.between = between
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        low = high = x.new_zeros(len(x), HIDDEN)
        for step in x.unbind(1):
            low = self.low(step, low)
            high = self.high(low, high)
            if self.between is not None:
                low, high = self.between(low), self.between(high)
        return self.head(high)


class Written(nn.Module):
    """A recurrence written by hand, with a gate that it does not use for long."""

    def __init__(self) -> None:
        super().__init__()
        self.i2h, self.h2h, self.gate = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), HIDDEN)
        for t in range(x.shape[1]):
            h = torch.tanh(self.i2h(x[:, t]) + self.h2h(h)) * torch.sigmoid(self.gate(h))
        return self.head(h)


def sequences(rows: int = ROWS, steps: int = STEPS, *, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, steps, WIDTH, generator=torch.Generator().manual_seed(3), dtype=dtype)


def treated(network: nn.Module, *names: str, **options: Any) -> nn.Module:
    apply(network, *names, catalogue=CATALOGUE, **options)
    return network


def seeded(kind: Any, *args: Any, **settings: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(*args, **settings)


def plan(name: str, network: nn.Module, batch: Any = None) -> Any:
    return CATALOGUE[name].plan(network, Context(torch.Generator().manual_seed(0), inputs=batch))


# What stands where the recurrence stood


@shaped
@EXCHANGES
def test_the_new_module_has_the_settings_and_the_interface_of_the_old_one(name: str, shape: str) -> None:
    network = seeded(Tagger, **SHAPES[shape]).double().eval()
    network.rnn.weight_hh_l0.requires_grad_(False)
    old, x = network.rnn, sequences(dtype=torch.float64)
    out, last = network(x)
    feed_forward = {key: value.clone() for key, value in network.state_dict().items() if not key.startswith("rnn.")}
    (edit,) = apply(network, name, catalogue=CATALOGUE).edits
    new = network.rnn
    assert (edit.path, edit.action) == ("rnn", "replace")
    for setting in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "training"):
        assert getattr(new, setting) == getattr(old, setting)
    flags = [(key, p.requires_grad, p.dtype, p.device) for key, p in old.named_parameters()]
    assert [(key, p.requires_grad, p.dtype, p.device) for key, p in new.named_parameters()] == flags
    for given in (None, last):
        again = network(x, given)
        assert [each.shape for each in again] == [out.shape, last.shape]
    assert all(torch.equal(network.state_dict()[key], value) for key, value in feed_forward.items())
    new.flatten_parameters()
    assert len(new.all_weights) == len(old.all_weights)


@EXCHANGES
def test_every_cell_and_every_place_of_a_shared_module_is_replaced(name: str) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.ModuleList([nn.RNNCell(4, 4), nn.RNNCell(4, 4, nonlinearity="relu", bias=False)])
            self.again = self.cells[0]

    network = Shared()
    assert [edit.path for edit in apply(network, name, catalogue=CATALOGUE).edits] == ["cells.0", "cells.1"]
    assert network.again is network.cells[0]
    assert [type(cell) for cell in network.cells] == [{"lstm": LSTMCellAsRNNCell, "gru": nn.GRUCell}[name]] * 2
    assert network.cells[1].bias_ih is None


@EXCHANGES
def test_new_weights_fill_torchs_own_interval(name: str) -> None:
    network = treated(nn.Sequential(nn.RNN(30, 100, num_layers=2)), name)
    bound = 1 / math.sqrt(100)
    for key, parameter in network[0].named_parameters():
        if not (name == "lstm" and key.startswith("bias")):
            assert 0.95 * bound < parameter.abs().max() <= bound
            assert stats.kstest(parameter.detach().flatten().numpy(), stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3


def test_a_new_lstm_has_forget_bias_one() -> None:
    rnn = treated(nn.Sequential(nn.RNN(3, 50, bidirectional=True)), "lstm")[0]
    for end in ("l0", "l0_reverse"):
        total = getattr(rnn, f"bias_ih_{end}") + getattr(rnn, f"bias_hh_{end}")
        assert torch.equal(total[50:100], torch.ones(50))
        assert not (total[:50] == 1).any()


@EXCHANGES
def test_the_same_seed_gives_the_same_weights_and_planning_draws_no_random_numbers_for_recurrence(name: str) -> None:
    network, random_before = seeded(Tagger), random_state()
    plan(name, network, sequences())
    assert random_state() == random_before
    one, two = (treated(copy.deepcopy(network), name, seed=5).rnn for _ in range(2))
    other = treated(copy.deepcopy(network), name, seed=6).rnn
    assert torch.equal(one.weight_hh_l0, two.weight_hh_l0)
    assert not torch.equal(one.weight_hh_l0, other.weight_hh_l0)


@EXCHANGES
def test_tied_modules_stay_tied(name: str) -> None:
    network = nn.ModuleList([nn.RNN(4, 4), nn.RNN(4, 4)])
    network[1].weight_hh_l0 = network[0].weight_hh_l0
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    apply(network, name, optimizer=optimizer, catalogue=CATALOGUE)
    assert network[0].weight_hh_l0 is network[1].weight_hh_l0
    assert {*optimizer.param_groups[0]["params"]} == {*network.parameters()}
    assert len(optimizer.param_groups[0]["params"]) == 7
    assert network[1](torch.zeros(2, 1, 4))[0].shape == (2, 1, 4)


# The cell state


@shaped
def test_the_adapter_equals_an_lstm_whose_cell_state_is_carried_by_hand(shape: str) -> None:
    settings = {key: value for key, value in SHAPES[shape].items() if key != "nonlinearity"}
    adapter, x = LSTMAsRNN(WIDTH, HIDDEN, **settings).double().eval(), sequences(dtype=torch.float64)
    plain = nn.LSTM(WIDTH, HIDDEN, **settings).double().eval()
    plain.load_state_dict(adapter.state_dict())
    one, two = (x[:, :3], x[:, 3:]) if adapter.batch_first else (x.transpose(0, 1)[:3], x.transpose(0, 1)[3:])
    out, (h, c) = plain(one)
    mine, state = adapter(one)
    assert torch.equal(mine, out)
    assert torch.equal(state, h)
    for detached in (False, True):
        expected, (last, _) = plain(two, (h.detach(), c.detach()) if detached else (h, c))
        output, end = adapter(two, state.detach() if detached else state)
        assert torch.equal(output, expected)
        assert torch.equal(end, last)
        ours = torch.autograd.grad(output.sum() + end.sum(), adapter.parameters(), retain_graph=True)
        theirs = torch.autograd.grad(expected.sum() + last.sum(), plain.parameters(), retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_cell_in_a_loop_is_an_lstm_in_training_evaluation_and_truncated_backpropagation() -> None:
    cell, x = LSTMCellAsRNNCell(WIDTH, HIDDEN).double(), sequences(dtype=torch.float64)
    plain = nn.LSTMCell(WIDTH, HIDDEN).double()
    plain.load_state_dict(cell.state_dict())

    def ours(cut: int) -> Tensor:
        h = None
        for t, step in enumerate(x.unbind(1)):
            h = cell(step, h.detach() if h is not None and t == cut else h)
        return h

    def theirs(cut: int) -> Tensor:
        state = None
        for t, step in enumerate(x.unbind(1)):
            state = plain(step, tuple(each.detach() for each in state) if state is not None and t == cut else state)
        return state[0]

    for cut in (-1, 4):
        grads = [torch.autograd.grad(f(cut).sum(), m.parameters()) for f, m in ((ours, cell), (theirs, plain))]
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    expected = theirs(-1)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert torch.equal(ours(-1), expected)


def test_a_state_that_was_not_returned_initialises_both_states() -> None:
    adapter, plain = LSTMAsRNN(WIDTH, HIDDEN), nn.LSTM(WIDTH, HIDDEN)
    plain.load_state_dict(adapter.state_dict())
    x, h = torch.randn(STEPS, ROWS, WIDTH), torch.randn(1, ROWS, HIDDEN)
    assert torch.equal(adapter(x, h)[0], plain(x, (h, h))[0])
    assert torch.equal(adapter(x, torch.zeros_like(h))[0], adapter(x)[0])
    with pytest.raises(RuntimeError, match="Expected hidden"):
        adapter(x, torch.zeros(2, ROWS, HIDDEN))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_state_that_is_zeroed_in_place_is_a_fresh_start(mode: Any) -> None:
    cell = LSTMCellAsRNNCell(WIDTH, HIDDEN)
    x = torch.randn(ROWS, WIDTH)
    with mode():
        h = cell(x).detach()
        assert not torch.equal(cell(x, h), cell(x))
        h.zero_()
        assert torch.equal(cell(x, h), cell(x))


def test_parts_of_a_state_get_their_parts_of_the_cell_state() -> None:
    states = CellStates()
    h, c = torch.randn(4, 6, 5, requires_grad=True) * 1, torch.randn(5, 4, 6).permute(1, 2, 0)
    h = states.remember(h, c)
    for view in (lambda t: t[1:3], lambda t: t[-1], lambda t: t[:, :2], lambda t: t.transpose(0, 1), lambda t: t.reshape(24, 5)):
        for given in (view(h), view(h).detach()):
            assert torch.equal(states.recall(given), view(c.contiguous()))
    for other in (h.clone(), h * 1, h.double()):
        assert states.recall(other) is other


def test_a_decoder_gets_the_cell_state_of_the_encoder() -> None:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.RNN(WIDTH, HIDDEN, batch_first=True), nn.RNNCell(WIDTH, HIDDEN)

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(x[:, 0], self.encoder(x)[1][-1])

    network, x = treated(Translator(), "lstm"), sequences()
    _, (h, c) = nn.LSTM.forward(network.encoder, x)
    assert torch.equal(network(x), nn.LSTMCell.forward(network.decoder, x[:, 0], (h[0], c[0]))[0])
    twin = copy.deepcopy(network)
    assert twin.encoder.states is twin.decoder.states
    assert twin.encoder.states is not network.encoder.states
    assert torch.equal(twin(x), network(x))


def test_a_cell_state_goes_with_its_hidden_state() -> None:
    gc.disable()  # what only the collector would find is a leak: there are cycles that it cannot see
    try:
        for module, x in ((LSTMAsRNN(WIDTH, HIDDEN, 2), torch.randn(STEPS, ROWS, WIDTH)), (LSTMCellAsRNNCell(WIDTH, HIDDEN), None)):
            for backward in (False, True):
                h = module(torch.randn(ROWS, WIDTH) if x is None else x)
                h = h if x is None else h[1]
                h = module(torch.randn(ROWS, WIDTH), h) if x is None else module(x, h)[1]
                kept = weakref.ref(module.states.recall(h))
                if backward:
                    h.sum().backward()
                assert kept() is not None
                del h
                assert kept() is None
    finally:
        gc.enable()


def test_packed_sequences_are_supported() -> None:
    x, lengths = sequences(), [3, 7, 5]
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    for name in ("lstm", "gru"):
        rnn = treated(nn.Sequential(seeded(nn.RNN, WIDTH, HIDDEN, batch_first=True, bidirectional=True)), name)[0]
        out, last = rnn(packed)
        assert isinstance(out, PackedSequence)
        padded, _ = pad_packed_sequence(out, batch_first=True)
        for row, length in enumerate(lengths):
            alone, end = rnn(x[row, :length])
            assert torch.allclose(padded[row, :length], alone, atol=1e-6)
            assert torch.allclose(last[:, row], end, atol=1e-6)
        again, _ = rnn(packed, last)
        assert again.data.shape == out.data.shape


# What survives


@EXCHANGES
def test_remedies_of_the_same_call_leave_the_new_recurrence_alone(name: str) -> None:
    network = seeded(Tagger)
    change = apply(network, name, "relu", "he-init", catalogue=CATALOGUE | dict(built_in_catalogue()))
    assert [edit.path for edit in change.edits] == ["rnn", "into.1", "into.0", "head"]
    alone = treated(seeded(Tagger), name)
    assert all(torch.equal(a, b) for a, b in zip(network.rnn.parameters(), alone.rnn.parameters(), strict=True))


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_kept(names: tuple[str, ...], dtype: torch.dtype) -> None:
    network = treated(seeded(Stepper).to(dtype), *names, inputs=sequences(dtype=dtype))
    assert {p.dtype for p in network.parameters()} == {dtype}
    assert network(sequences(dtype=dtype)).isfinite().all()


@EVERY
@pytest.mark.parametrize("kind", [Tagger, Stepper])
def test_a_treated_network_trains_copies_pickles_and_loads(kind: Any, names: tuple[str, ...]) -> None:
    network, x = treated(seeded(kind), *names), sequences()
    optimizer = torch.optim.Adam(network.parameters())
    _trained(network, optimizer)
    expected = _first(network(x))
    stream = io.BytesIO()
    torch.save(network, stream)
    stream.seek(0)
    twin = treated(seeded(kind), *names, seed=9)
    twin.load_state_dict(network.state_dict())
    for other in (copy.deepcopy(network), torch.load(stream, weights_only=False), twin, network):
        assert torch.equal(_first(other(x)), expected)
    _trained(copy.deepcopy(network), optimizer)


@pytest.fixture(scope="module")
def compiler() -> None:
    """Torch's compiler, which wraps nn.Module.__init__ for good when it first compiles: before anything is watched."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # the compiler asks for it at a graph break
@EVERY
@pytest.mark.parametrize("kind", [Tagger, Stepper])
def test_a_treated_network_compiles(kind: Any, names: tuple[str, ...]) -> None:
    network, x = seeded(kind), sequences()
    compiled = torch.compile(network, backend="eager")
    stale = _first(compiled(x))
    apply(compiled, *names, catalogue=CATALOGUE)
    for batch in (x, sequences(2)):
        expected = _first(network(batch))
        grads = torch.autograd.grad(expected.sum(), list(network.parameters()))
        found = _first(compiled(batch))
        assert torch.allclose(found, expected)
        again = torch.autograd.grad(found.sum(), list(network.parameters()))
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(grads, again, strict=True))
    assert not torch.equal(stale, _first(compiled(x)))


@EVERY
@pytest.mark.parametrize("kind", [Tagger, Stepper])
@pytest.mark.parametrize("owner", [torch.optim.Adam, torch.optim.SGD])
def test_undo_after_training_is_the_identity(kind: Any, names: tuple[str, ...], owner: Any) -> None:
    network = seeded(kind)
    optimizer = owner(network.named_parameters(), lr=0.01)
    _trained(network, optimizer)
    x = sequences()
    before, random_before, expected = state_snapshot(network, optimizer), random_state(), _first(network(x)).clone()
    change = apply(network, *names, optimizer=optimizer, inputs=x, catalogue=CATALOGUE)
    assert random_state() == random_before
    assert {*optimizer.param_groups[0]["params"]} == {*network.parameters()}
    assert len(optimizer.param_groups[0]["params"]) == len(optimizer.param_groups[0]["param_names"]) == len([*network.parameters()])
    _trained(network, optimizer)
    change.undo()
    assert state_snapshot(network, optimizer) == before
    assert torch.equal(_first(network(x)), expected)
    _trained(network, optimizer)


def test_new_parameters_join_the_group_of_the_old_one_of_their_name() -> None:
    network = seeded(Tagger)
    biases = [p for key, p in network.named_parameters() if "bias" in key]
    weights = [p for key, p in network.named_parameters() if "bias" not in key]
    optimizer = torch.optim.AdamW([{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}])
    apply(network, "lstm", optimizer=optimizer, catalogue=CATALOGUE)
    decayed, free = (group["params"] for group in optimizer.param_groups)
    assert {*decayed} == {p for key, p in network.named_parameters() if "bias" not in key}
    assert {*free} == {p for key, p in network.named_parameters() if "bias" in key}
    with pytest.raises(NotApplicable, match="LBFGS"):
        apply(other := Tagger(), "gru", optimizer=torch.optim.LBFGS(other.parameters()), catalogue=CATALOGUE)
    assert type(other.rnn) is nn.RNN


# Biases of gates


def test_chrono_biases_follow_their_distribution() -> None:
    hidden, steps = 1000, 50
    network = nn.Sequential(nn.LSTM(1, hidden, batch_first=True))
    keep = network[0].bias_ih_l0[2 * hidden :].clone()
    rnn = treated(network, "forget-bias", inputs=torch.zeros(1, steps, 1))[0]
    total = (rnn.bias_ih_l0 + rnn.bias_hh_l0).detach()
    into, forget = total[:hidden], total[hidden : 2 * hidden]
    assert torch.equal(into, -forget)
    assert not rnn.bias_hh_l0[: 2 * hidden].any()
    assert torch.equal(rnn.bias_ih_l0[2 * hidden :], keep)
    # b = ln u, u uniform on (1, T - 1): P(b < x) = (e^x - 1) / (T - 2), and E[b] by parts
    found = stats.kstest(forget.numpy(), lambda x: np.clip((np.exp(x) - 1) / (steps - 2), 0, 1))
    assert found.pvalue > 1e-3
    top = steps - 1
    assert forget.mean().item() == pytest.approx((top * math.log(top) - top + 1) / (top - 1), abs=0.1)


def test_the_length_is_that_of_the_layers_own_sequences() -> None:
    class Pieces(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.LSTM(WIDTH, HIDDEN, num_layers=2, bidirectional=True)
            self.short, self.cell, self.gru = nn.LSTM(WIDTH, HIDDEN, batch_first=True), nn.LSTMCell(WIDTH, HIDDEN), nn.GRU(WIDTH, 6)
            self.packed = nn.LSTM(WIDTH, HIDDEN, batch_first=True)
            self.chunks = nn.LSTM(WIDTH, HIDDEN, batch_first=True)

        def forward(self, x: Tensor) -> None:
            self.first(x.transpose(0, 1))
            self.short(x[:, :2])
            self.packed(pack_padded_sequence(x, torch.tensor([4, 6, 5]), batch_first=True, enforce_sorted=False))
            self.gru(input=x[0])
            chunks = cell = None
            for step in x[:, :5].unbind(1):
                cell = self.cell(step, hx=cell)
                _, chunks = self.chunks(step[:, None], chunks)
            self.cell(x[:, 0])

    network = Pieces()
    change = apply(network, "forget-bias", inputs={"x": sequences()}, catalogue=CATALOGUE)
    chrono = "chrono for {} steps: {} bias ln U(1, {})"
    assert {edit.path: edit.after for edit in change.edits} == {
        "first": chrono.format(7, "forget", 6) + ", input bias its negative",
        "short": "forget bias 1",
        "cell": chrono.format(5, "forget", 4) + ", input bias its negative",
        "gru": chrono.format(7, "update", 6),
        "packed": chrono.format(6, "forget", 5) + ", input bias its negative",
        "chunks": chrono.format(5, "forget", 4) + ", input bias its negative",
    }
    for end in ("l0", "l0_reverse", "l1", "l1_reverse"):
        forget = (getattr(network.first, f"bias_ih_{end}") + getattr(network.first, f"bias_hh_{end}"))[HIDDEN : 2 * HIDDEN]
        assert ((forget >= 0) & (forget <= math.log(6))).all()


def test_a_gru_with_a_large_update_bias_keeps_the_old_state() -> None:
    network = treated(nn.Sequential(nn.GRU(1, 64)), "forget-bias", inputs=torch.zeros(100_000, 1, 1))
    gru, h = network[0], torch.ones(1, 1, 64)
    with torch.no_grad():
        assert (gru(torch.zeros(1, 1, 1), h)[1] > 0.99).float().mean() > 0.9
        gru.bias_ih_l0[64:128] *= -1
        assert (gru(torch.zeros(1, 1, 1), h)[1] < 0.9).float().mean() > 0.9


def test_without_inputs_memories_are_spread_over_all_lengths() -> None:
    network = nn.ModuleList([nn.LSTM(3, 6, num_layers=2), nn.GRU(3, 6), nn.LSTMCell(3, 6), nn.LSTM(3, 4, bias=False)])
    kept = network[1].bias_ih_l0[:6].clone()
    edits = apply(network, "forget-bias", optimizer=torch.optim.SGD(network.parameters(), lr=0.1), catalogue=CATALOGUE).edits
    lstm, gru = "forget bias from 1 to 6, input bias minus half of it", "update bias from 1 to 6"
    assert [(edit.path, edit.after) for edit in edits] == [("0", lstm), ("1", gru), ("2", lstm)]
    total = (network[0].bias_ih_l1 + network[0].bias_hh_l1).detach()
    assert total[6:12].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert torch.equal(total[:6], -total[6:12] / 2)
    assert (network[1].bias_ih_l0 + network[1].bias_hh_l0)[6:12].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert torch.equal(network[1].bias_ih_l0[:6], kept)


@pytest.mark.parametrize("kind", [Tagger, Stepper])
def test_forget_bias_finds_the_lstm_of_the_same_call(kind: Any) -> None:
    edits = apply(seeded(kind), "lstm", "forget-bias", inputs=sequences(), catalogue=CATALOGUE).edits
    assert "chrono for 7 steps" in edits[-1].after


# Identity


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_an_identity_rnn_equals_a_hand_written_sum(nonlinearity: str) -> None:
    network = seeded(Tagger, nonlinearity=nonlinearity, num_layers=2).double()
    held = list(network.rnn.parameters())
    change = apply(network, "identity-rnn-init", catalogue=CATALOGUE)
    assert [edit.action for edit in change.edits] == (["replace"] if nonlinearity == "tanh" else []) + ["initialise"]
    assert change.edits[-1].before == f"RNN({WIDTH}, {HIDDEN}, num_layers=2, nonlinearity='relu')"
    rnn, x = network.rnn, sequences(dtype=torch.float64).transpose(0, 1)
    assert all(a is b for a, b in zip(held, rnn.parameters(), strict=True))
    assert torch.equal(rnn.weight_hh_l1, torch.eye(HIDDEN, dtype=torch.float64))
    out, last = rnn(x)
    low = high = torch.zeros(ROWS, HIDDEN, dtype=torch.float64)
    for step in x:
        low = (step @ rnn.weight_ih_l0.T + low).relu()
        high = (low @ rnn.weight_ih_l1.T + high).relu()
    assert torch.allclose(out[-1], high, rtol=1e-12, atol=0)
    assert torch.allclose(last[0], low, rtol=1e-12, atol=0)


def test_a_cell_keeps_its_input_weights_beside_the_identity() -> None:
    network = nn.ModuleList([nn.RNNCell(10, 6)])
    kept = network[0].weight_ih.clone()
    cell = treated(network, "identity-rnn-init")[0]
    assert cell.nonlinearity == "relu"
    assert torch.equal(cell.weight_ih, kept)
    assert not cell.bias_ih.any()
    assert not cell.bias_hh.any()


def test_a_hand_written_loop_gets_the_identity_and_its_gate_stays() -> None:
    network = seeded(Written)
    gate, into = network.gate.weight.clone(), network.i2h.weight.clone()
    (edit,) = apply(network, "identity-rnn-init", inputs=sequences(), catalogue=CATALOGUE).edits
    assert (edit.path, edit.after) == ("h2h", "identity; bias 0")
    assert torch.equal(network.h2h.weight, torch.eye(HIDDEN))
    assert not network.h2h.bias.any()
    assert torch.equal(network.gate.weight, gate)
    assert torch.equal(network.i2h.weight, into)


def test_a_layer_that_is_merely_used_twice_is_no_recurrence() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leg, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(self.leg(x)) - torch.tanh(self.leg(-x)))

    for name in CATALOGUE:
        with pytest.raises(NotApplicable, match="has no recurrence"):
            apply(Siamese(), name, inputs=example_inputs("mlp"), catalogue=CATALOGUE)


# Refusals


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_feed_forward_network_is_refused_with_the_reason(name: str) -> None:
    for network, made_of in ((mlp(), "Linear"), (build_network("cnn"), "Conv2d, Linear"), (nn.Sigmoid(), "no weights at all")):
        before = state_snapshot(network)
        with pytest.raises(NotApplicable, match=rf"{name}: \w+ has no recurrence \({made_of}\)"):
            apply(network, name, catalogue=CATALOGUE)
        assert state_snapshot(network) == before


@EXCHANGES
def test_modules_that_cannot_be_replaced_are_named(name: str) -> None:
    class Own(nn.RNN):
        pass

    frozen = nn.Sequential(nn.RNN(3, 3)).requires_grad_(False)
    shared = nn.ModuleList([nn.RNNCell(3, 3, bias=False), nn.Linear(3, 3)])
    shared[1].weight = shared[0].weight_hh
    for network, why in (
        (nn.Sequential(nn.LSTM(3, 3)), r"gated already \('0': LSTM\)"),
        (frozen, "'0' is frozen"),
        (nn.Sequential(Own(3, 3)), r"'0' is a class of its own \(Own\)"),
        (nn.Sequential(parametrizations.weight_norm(nn.RNN(3, 3), "weight_hh_l0")), "computed from other parameters"),
        (shared, "'0' shares a weight"),
        (nn.RNN(3, 3), "is itself the recurrence"),
        (nn.RNNCell(3, 3), "is itself the recurrence"),
        (Written(), "pass inputs="),
    ):
        with pytest.raises(NotApplicable, match=why):
            apply(network, name, catalogue=CATALOGUE)
    with pytest.raises(NotApplicable, match=r"'h2h' runs 7 times, 'gate' runs 7 times.*nn\.GRUCell"):
        apply(Written(), name, inputs=sequences(), catalogue=CATALOGUE)
    with pytest.raises(UsageError, match="inputs= cannot be run"):
        apply(Tagger(), "lstm", inputs=torch.zeros(1), catalogue=CATALOGUE)


@pytest.mark.parametrize("between", [nn.Dropout(0.5), nn.LayerNorm(HIDDEN)], ids=repr)
def test_lstm_refuses_a_state_that_is_altered_between_steps_and_gru_does_not(between: nn.Module) -> None:
    network = seeded(Stepper, between)
    with pytest.raises(NotApplicable, match="apply gru"):
        apply(network, "lstm", inputs=sequences(), catalogue=CATALOGUE)
    assert [edit.path for edit in apply(network, "gru", inputs=sequences(), catalogue=CATALOGUE).edits] == ["low", "high"]
    assert len(apply(seeded(Stepper), "lstm", inputs=sequences(), catalogue=CATALOGUE).edits) == 2


def test_gates_without_a_bias_to_set_are_refused() -> None:
    for network, batch, why in (
        (nn.Sequential(nn.LSTM(3, 3, bias=False)), None, "no gate of Sequential has a bias"),
        (nn.Sequential(nn.LSTM(3, 3)).requires_grad_(False), None, "unfreeze"),
        (nn.Sequential(nn.GRU(3, 3, bias=False)), None, "no gate of Sequential has a bias"),
        (nn.Sequential(nn.GRU(3, 3)), torch.zeros(2, 1, 3), "fewer than 3 steps"),
        (nn.Sequential(nn.RNN(3, 3)), None, "apply lstm first"),
    ):
        with pytest.raises(NotApplicable, match=why):
            apply(network, "forget-bias", inputs=batch, catalogue=CATALOGUE)


def test_identity_is_refused_where_nothing_maps_a_state_to_the_next() -> None:
    class Joined(Written):
        def __init__(self) -> None:
            super().__init__()
            self.both = nn.Linear(WIDTH + HIDDEN, HIDDEN)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(len(x), HIDDEN)
            for t in range(x.shape[1]):
                h = torch.tanh(self.both(torch.cat([x[:, t], h], 1)))
            return self.head(h)

    with pytest.raises(NotApplicable, match=r"'both' runs again.*its own nn\.Linear"):
        apply(Joined(), "identity-rnn-init", inputs=sequences(), catalogue=CATALOGUE)
    with pytest.raises(NotApplicable, match="nonlinearity='relu'"):
        apply(nn.RNN(3, 3), "identity-rnn-init", catalogue=CATALOGUE)
    network = treated(nn.RNN(3, 3, nonlinearity="relu"), "identity-rnn-init")
    assert torch.equal(network.weight_hh_l0, torch.eye(3))
    with pytest.raises(NotApplicable, match="gated already"):
        apply(nn.Sequential(nn.GRU(3, 3)), "identity-rnn-init", catalogue=CATALOGUE)


@EXCHANGES
def test_the_gradient_reaches_further_back_in_time(name: str) -> None:
    def reach(network: nn.Module) -> float:
        x = sequences(8, 60).requires_grad_()
        network(x)[0][:, -1].square().sum().backward()
        return float(x.grad[:, 0].norm() / x.grad[:, -1].norm())

    network = seeded(Tagger, batch_first=True)
    lost = reach(network)
    options = {"inputs": sequences(8, 60)}
    kept = reach(treated(network, name, "forget-bias", **options))
    assert lost < 1e-10
    assert kept > 1e-3


def _first(outputs: Any) -> Tensor:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def _trained(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Two training steps on a made-up loss."""
    for _ in range(2):
        optimizer.zero_grad()
        _first(network(sequences())).square().sum().backward()
        optimizer.step()
