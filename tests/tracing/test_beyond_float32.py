"""Gradients of any size in the network's own dtype, against float64, and mpmath where that fails too."""

from __future__ import annotations

import copy
import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from autograd_oracle import log10_rms, sizes_by_autograd
from network_cases import NetworkCase
from torch import Tensor, nn

from unvanish.record.gradient_flow import GROUPINGS
from unvanish.tracing import trace

WIDTH = 8
CLASSES = torch.randint(0, 5, (16,), generator=torch.Generator().manual_seed(1))


class Times(nn.Module):
    """Multiplies by a constant, forwards by `forwards` and backwards by `backwards`."""

    def __init__(self, forwards: float, backwards: float) -> None:
        super().__init__()
        self.forwards, self.backwards = forwards, backwards

    def forward(self, x: Tensor) -> Tensor:
        return Uneven.apply(x, self.forwards, self.backwards)


class Uneven(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, forwards, backwards):
        ctx.factor = backwards
        return x * forwards

    @staticmethod
    def backward(ctx, g):
        return g * ctx.factor, None, None


class Wave(nn.Module):
    """Bounded, with a large slope."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(100.0 * x)


def deep(depth: int, activation: type[nn.Module] = nn.Sigmoid) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(WIDTH, WIDTH), activation())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, 5))


def batch() -> Tensor:
    return torch.randn(16, WIDTH, generator=torch.Generator().manual_seed(2))


def doubled(model: nn.Sequential, x: Tensor) -> NetworkCase:
    return NetworkCase(copy.deepcopy(model).double(), x.double(), lambda outputs: F.cross_entropy(outputs, CLASSES), "0.weight")


@pytest.mark.parametrize("to", [None, "0.weight"])
def test_the_total_of_sigmoid_networks_is_linear_in_the_depth(to: str | None) -> None:
    depths = (10, 50, 200, 1000)
    totals = []
    for depth in depths:
        flow = trace(deep(depth), batch(), CLASSES, to=to)
        assert sum(flow.shares("op").values()) == pytest.approx(flow.total, abs=1e-9)
        totals.append(flow.total)
    rate = (totals[-1] - totals[0]) / (depths[-1] - depths[0])
    assert rate < -0.7
    for depth, total in zip(depths, totals, strict=True):
        assert total == pytest.approx(totals[0] + rate * (depth - depths[0]), abs=0.05 * depth)


@pytest.mark.parametrize(("activation", "depth"), [(nn.Sigmoid, 50), (nn.Sigmoid, 200), (nn.Tanh, 300), (nn.ReLU, 20), (Wave, 40)])
def test_float32_networks_have_the_totals_of_float64(activation: type[nn.Module], depth: int) -> None:
    """Beyond the range of float32 at either end. ReLU is shallow here, since units at its kink flip with the dtype."""
    model, x = deep(depth, activation), batch()
    if activation is Wave:  # chaotic: the dtype's rounding would grow to another trajectory
        model = model.double()
        x = x.double()
    for to in (None, "0.weight"):
        flow, expected = trace(model, x, CLASSES, to=to), sizes_by_autograd(doubled(model, x), to)
        assert abs(flow.total) > 6.0
        assert flow.total == pytest.approx(expected.target - expected.source, abs=2e-4)


def test_a_gradient_beyond_float64_equals_that_of_mpmath() -> None:
    """400 sigmoid layers of width 3: 1e-353, which no float holds; mpmath's exponents have no end."""
    depth = 400
    torch.manual_seed(3)
    model = nn.Sequential(*(layer for _ in range(depth) for layer in (nn.Linear(3, 3), nn.Sigmoid()))).double()
    x = torch.randn(1, 3, dtype=torch.float64)
    flow = trace(model, x, lambda outputs: outputs.sum())
    with mpmath.workdps(40):
        state = mpmath.matrix([mpmath.mpf(v) for v in x[0].tolist()])
        slopes, weights = [], []
        for layer in model[::2]:
            weight = mpmath.matrix([[mpmath.mpf(v) for v in row] for row in layer.weight.tolist()])
            z = weight * state + mpmath.matrix([mpmath.mpf(v) for v in layer.bias.tolist()])
            state = z.apply(lambda v: 1 / (1 + mpmath.exp(-v)))
            slopes.append(state.apply(lambda v: v * (1 - v)))
            weights.append(weight)
        gradient = mpmath.matrix([1, 1, 1])
        for weight, slope in zip(reversed(weights), reversed(slopes), strict=True):
            gradient = weight.T * mpmath.matrix([g * s for g, s in zip(gradient, slope, strict=True)])
        expected = float(mpmath.log10(mpmath.sqrt(sum(g**2 for g in gradient) / 3)))
    assert expected < -350.0
    assert flow.total == pytest.approx(expected, abs=1e-9)
    assert flow.log10_target_rms == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("dtype", "each", "times"),
    [
        *((dtype, each, 10) for dtype in (torch.float32, torch.float64, torch.bfloat16) for each in (1e-30, 1e30)),
        (torch.float64, 1e-100, 5),
        (torch.float64, 1e100, 5),
    ],
)
def test_known_factors_are_measured_in_every_dtype(dtype: torch.dtype, each: float, times: int) -> None:
    chain = nn.Sequential(*(Times(1.0, each) for _ in range(times)))
    flow = trace(chain, torch.randn(4, 4, dtype=dtype), lambda outputs: outputs.float().sum())
    assert flow.total == pytest.approx(times * math.log10(each), abs=0.05 if dtype is torch.bfloat16 else 1e-4)
    assert all(op.decades == pytest.approx(math.log10(each), abs=0.01) for op in flow.ops if op.op == "uneven")


def test_a_gradient_of_1e_300_is_measured_beside_one_of_ordinary_size() -> None:
    """A skip carries the gradient; the starved branch's own weight shows what the branch gets."""

    class Starved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.throttle = nn.Linear(4, 4), Times(1.0, 1e-300)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.throttle(self.inner(x))

    torch.manual_seed(0)
    model = Starved().double()
    x = torch.randn(6, 4, dtype=torch.float64)
    assert trace(model, x, lambda outputs: outputs.sum()).total == pytest.approx(0.0, abs=1e-9)
    starved = trace(model, x, lambda outputs: outputs.sum(), to="inner.weight")
    model.throttle = Times(1.0, 1.0)
    inputs_batch = trace(model, x, lambda outputs: outputs.sum(), to="inner.weight")
    assert starved.total - inputs_batch.total == pytest.approx(-300.0, abs=1e-9)
    assert starved.shares("op")["throttle:uneven"] == pytest.approx(-300.0, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_have_the_totals_of_float64(dtype: torch.dtype) -> None:
    """The weights are rounded first, so only the arithmetic differs: three digits a layer in bfloat16."""
    depth = 30
    model = deep(depth).to(dtype)
    x = batch().to(dtype)
    flow = trace(model, x, lambda outputs: F.cross_entropy(outputs.float(), CLASSES))
    expected = sizes_by_autograd(doubled(model, x))
    assert flow.dtype == str(dtype).removeprefix("torch.")
    assert expected.target < -20.0
    assert flow.total == pytest.approx(expected.target - expected.source, abs=0.05)
    for by in GROUPINGS:
        assert sum(flow.shares(by).values()) == pytest.approx(flow.total, abs=1e-9)


def test_the_gradient_of_an_exploding_recurrence_is_measured_through_time() -> None:
    torch.manual_seed(0)
    model = nn.RNN(4, 8, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        model.weight_hh_l0.copy_(torch.eye(8) * 3.0)
        model.bias_hh_l0.zero_()
        model.bias_ih_l0.zero_()
        model.weight_ih_l0.abs_()
    x = torch.zeros(2, 100, 4)
    x[:, :40] = 1e-20  # small, so that the state stays finite; the Jacobian is 3 a step all the same
    (time,) = trace(model, x, lambda outputs: outputs[0][:, -1].sum()).times
    assert time.decades_per_step == pytest.approx(math.log10(3.0), abs=1e-4)
    assert time.horizon is None
    assert time.log10_carried[0] > 38.0


def test_single_gradients_keep_their_sizes_in_the_parameters() -> None:
    model, x = deep(100), batch()
    flow = trace(model, x, CLASSES)
    case = doubled(model, x)
    expected = sizes_by_autograd(case).parameters
    assert log10_rms(case.model[0].weight) == pytest.approx(flow.parameters[0].log10_rms, abs=1e-6)
    assert flow.parameters[0].log10_gradient_rms < -70.0
    for measured in flow.parameters:
        assert measured.log10_gradient_rms == pytest.approx(expected[measured.name], abs=1e-4)
