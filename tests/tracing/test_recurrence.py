"""The gradient through time: fused layers equal loops by hand, and the slope equals that of the Jacobians."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from autograd_oracle import log10_rms
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unvanish.record.gradient_flow import GradientFlow, TimeProfile
from unvanish.tracing import trace

EXACT = 1e-9
STEPS, HIDDEN = 12, 6


class ByHand(nn.Module):
    """The same recurrence as the layer's, with its own weights, cell by cell in a loop."""

    def __init__(self, fused: nn.RNNBase) -> None:
        super().__init__()
        kind = {nn.RNN: nn.RNNCell, nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell}[type(fused)]
        self.cell = kind(fused.input_size, fused.hidden_size)
        for name, parameter in self.cell.named_parameters():
            parameter.data = getattr(fused, f"{name}_l0").data.clone()

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        state, states = None, []
        for step in x.unbind(1):
            state = self.cell(step, state)
            states.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(states, 1), None


def fused(kind: type[nn.RNNBase], **options: Any) -> nn.RNNBase:
    torch.manual_seed(0)
    return kind(3, HIDDEN, batch_first=True, **options).double()


def sequences() -> Tensor:
    return torch.randn(4, STEPS, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def last(outputs: Any) -> Tensor:
    return outputs[0][:, -1].square().sum()


def every(outputs: Any) -> Tensor:
    return outputs[0].square().sum()


def profile(model: nn.Module, loss: Callable[[Any], Tensor] = last) -> TimeProfile:
    (time,) = trace(model, sequences(), loss).times
    return time


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("loss", [last, every])
def test_a_fused_layer_has_the_profile_of_the_loop_written_by_hand(kind: type[nn.RNNBase], loss: Callable[[Any], Tensor]) -> None:
    layer = fused(kind)
    one, other = profile(layer, loss), profile(ByHand(layer).double(), loss)
    assert one.steps == other.steps == STEPS
    assert one.log10_gradient_rms == pytest.approx(other.log10_gradient_rms, abs=EXACT)
    assert one.log10_carried == pytest.approx(other.log10_carried, abs=EXACT)
    assert one.decades_per_step == pytest.approx(other.decades_per_step, abs=EXACT)
    assert (one.name, other.name) == ("weight_hh_l0", "cell.weight_hh")


def test_each_step_has_the_gradient_of_its_own_preactivation() -> None:
    """Of a plain recurrence, by autograd on the recurrent products kept step by step."""
    layer = fused(nn.RNN)
    x, state, products = sequences(), torch.zeros(4, HIDDEN, dtype=torch.float64), []
    for step in x.unbind(1):
        products.append(F.linear(state, layer.weight_hh_l0, layer.bias_hh_l0))
        products[-1].retain_grad()
        state = torch.tanh(F.linear(step, layer.weight_ih_l0, layer.bias_ih_l0) + products[-1])
    state.square().sum().backward()
    assert profile(layer).log10_gradient_rms == pytest.approx([log10_rms(p.grad) for p in products], abs=EXACT)


def test_the_carried_gradient_is_the_product_of_the_jacobians() -> None:
    """From the state before the last step on: J^T g, step by step, with dense Jacobians."""
    layer = fused(nn.RNN)
    x, state = sequences(), torch.zeros(4, HIDDEN, dtype=torch.float64)
    slopes: list[Tensor] = []
    for step in x.unbind(1):
        state = torch.tanh(
            F.linear(step, layer.weight_ih_l0, layer.bias_ih_l0) + F.linear(state, layer.weight_hh_l0, layer.bias_hh_l0)
        )
        slopes.append((1.0 - state**2).detach())
    gradient = 2.0 * state.detach() * slopes[-1]
    sizes: list[float] = []
    for slope in reversed(slopes[:-1]):
        gradient = (gradient @ layer.weight_hh_l0.detach()) * slope
        sizes.insert(0, log10_rms(gradient))
    assert profile(layer).log10_carried == pytest.approx(sizes, abs=EXACT)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_the_carried_gradient_does_not_depend_on_which_steps_the_loss_reads(kind: type[nn.RNNBase]) -> None:
    layer = fused(kind)
    one, other = profile(layer, last), profile(layer, every)
    assert one.log10_gradient_rms != other.log10_gradient_rms
    assert one.log10_carried == pytest.approx(other.log10_carried, abs=EXACT)
    assert one.decades_per_step == pytest.approx(other.decades_per_step, abs=EXACT)


def test_stacked_and_bidirectional_layers_have_a_profile_each() -> None:
    flow = trace(fused(nn.LSTM, num_layers=2, bidirectional=True), sequences(), every)
    names = {time.name for time in flow.times}
    assert names == {f"weight_hh_l{layer}{way}" for layer in (0, 1) for way in ("", "_reverse")}
    assert all(time.steps == STEPS and time.decades_per_step < 0 for time in flow.times)


def test_the_reverse_direction_counts_its_steps_as_it_takes_them() -> None:
    """With the weights of the forward direction and the sequence turned round, the reverse one is the forward one."""
    both = fused(nn.GRU, bidirectional=True)
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        getattr(both, f"{name}_reverse").data = getattr(both, name).data.clone()
    x = sequences()
    first = trace(both, x, lambda o: o[0][:, -1, :HIDDEN].square().sum()).times
    turned = trace(both, x.flip(1), lambda o: o[0][:, 0, HIDDEN:].square().sum()).times
    (ahead,) = [time for time in first if time.name == "weight_hh_l0"]
    (back,) = [time for time in turned if time.name == "weight_hh_l0_reverse"]
    assert back.log10_carried == pytest.approx(ahead.log10_carried, abs=EXACT)


class Packing(nn.Module):
    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(x, torch.tensor([STEPS, 9, 7, 3]), batch_first=True)
        return pad_packed_sequence(self.layer(packed)[0], batch_first=True)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_packed_sequences_are_traced_inside_the_network_and_as_its_input(kind: type[nn.RNNBase]) -> None:
    layer = fused(kind)
    inside = trace(Packing(layer), sequences(), every)
    packed = pack_padded_sequence(sequences(), torch.tensor([STEPS, 9, 7, 3]), batch_first=True)
    outside = trace(layer, packed, lambda outputs: outputs[0].data.square().sum())
    for flow in (inside, outside):
        assert sum(flow.shares("op").values()) == pytest.approx(flow.total, abs=EXACT)
        assert [time.steps for time in flow.times] == [STEPS]
    assert inside.times[0].log10_carried == pytest.approx(outside.times[0].log10_carried, abs=EXACT)
    leaf = PackedSequence(packed.data.clone().requires_grad_(), packed.batch_sizes)
    layer(leaf)[0].data.square().sum().backward()
    assert outside.log10_target_rms == pytest.approx(log10_rms(leaf.data.grad), abs=EXACT)


LENGTH = 100


class Adder(nn.Module):
    """Adds the two marked numbers of a long sequence."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.body, self.head = kind(2, 64, batch_first=True), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


def biased(model: Adder, forget: Tensor | float, enter: Tensor | float) -> None:
    """An LSTM's biases, whose gates come as input, forget, cell, output."""
    with torch.no_grad():
        model.body.bias_hh_l0.zero_()
        model.body.bias_ih_l0.zero_()
        model.body.bias_ih_l0[:64] = enter
        model.body.bias_ih_l0[64:128] = forget


def chrono(model: Adder) -> None:
    drawn = torch.empty(64).uniform_(1.0, LENGTH - 1.0).log()
    biased(model, drawn, -drawn)


def as_built(_model: Adder) -> None: ...


# Measured for these tasks over three networks each; one network scatters by a tenth.
@pytest.mark.parametrize(
    ("kind", "prepare", "expected"),
    [
        (nn.RNN, as_built, 0.209),
        (nn.LSTM, as_built, 0.200),
        (nn.LSTM, lambda model: biased(model, 1.0, 0.0), 0.070),
        (nn.LSTM, chrono, 0.0105),
        (nn.GRU, as_built, 0.198),
    ],
    ids=["rnn", "lstm", "lstm with forget bias 1", "lstm with chrono biases", "gru"],
)
def test_the_adding_problem_starts_with_its_known_decades_per_step(
    kind: type[nn.RNNBase], prepare: Callable[[Adder], None], expected: float
) -> None:
    torch.manual_seed(0)
    model = Adder(kind)
    prepare(model)
    values, marks = torch.rand(16, LENGTH), torch.zeros(16, LENGTH)
    marks[:, 20], marks[:, 70] = 1.0, 1.0
    flow = trace(model, torch.stack([values, marks], -1), (values * marks).sum(1, keepdim=True))
    (time,) = flow.times
    assert (time.name, time.path, time.steps) == ("body.weight_hh_l0", "body", LENGTH)
    assert time.decades_per_step == pytest.approx(-expected, rel=0.15)
    assert time.horizon == pytest.approx(3.0 / -time.decades_per_step)


class Plain(nn.Module):
    """A chain of layers called in a loop; tied if there is one layer only."""

    def __init__(self, layers: list[nn.Module], times: int) -> None:
        super().__init__()
        self.layers, self.times = nn.ModuleList(layers), times

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.times):
            x = torch.tanh(self.layers[i % len(self.layers)](x))
        return x


def test_different_layers_in_a_loop_are_no_recurrence_and_one_layer_used_repeatedly_is() -> None:
    x = torch.randn(4, 5)
    assert trace(Plain([nn.Linear(5, 5) for _ in range(8)], 8), x, Tensor.sum).times == ()
    (time,) = trace(Plain([nn.Linear(5, 5)], 8), x, Tensor.sum).times
    assert (time.name, time.steps) == ("layers.0.weight", 8)


def test_two_layers_in_turn_are_two_recurrences() -> None:
    flow = trace(Plain([nn.Linear(5, 5), nn.Linear(5, 5)], 8), torch.randn(4, 5), Tensor.sum)
    assert {time.name: time.steps for time in flow.times} == {"layers.0.weight": 4, "layers.1.weight": 4}


def test_one_weight_used_side_by_side_is_no_recurrence() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return sum(torch.tanh(self.tower(x * k)) for k in range(1, 6))

    assert trace(Siamese(), torch.randn(4, 5), Tensor.sum).times == ()


def slope_of(factors: list[float]) -> GradientFlow:
    """A scalar recurrence h -> w h with known factors besides."""

    class Known(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            state = x
            for factor in factors:
                state = F.linear(state, self.weight) * factor
            return state

    return trace(Known(), torch.ones(2, 1, dtype=torch.float64), Tensor.sum)


@pytest.mark.parametrize("factor", [0.1, 0.9, 1.0, 3.0, 1e-30])
def test_a_known_recurrence_has_its_known_slope_and_horizon(factor: float) -> None:
    (time,) = slope_of([factor] * 20).times
    assert time.decades_per_step == pytest.approx(math.log10(factor), abs=EXACT)
    if factor < 1.0:
        assert time.horizon == pytest.approx(-3.0 / math.log10(factor))
    if factor > 1.0:
        assert time.horizon is None
