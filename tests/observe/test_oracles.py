"""Every quantity against a naive computation: plain loops and plain autograd on a network run layer by layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from watching import at_parameter, at_site, observed

from unvanish.observe.catalogue import ELEMENTWISE
from unvanish.observe.statistics import SATURATED, SlopeSample, slope_numbers, slopes
from unvanish.record.reading import QUANTITIES, Axis

RATE = 0.3


@dataclass(slots=True)
class NaiveSite:
    layer: nn.Module
    inputs: Tensor
    output: Tensor
    gradient: Tensor


@dataclass(slots=True)
class NaiveParameter:
    before: Tensor
    gradient: Tensor | None
    after: Tensor


def convolutional() -> tuple[nn.Sequential, Tensor]:
    layers = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.Tanh(), nn.Flatten())
    with torch.no_grad():
        layers[1].bias[1] = -50.0  # a channel that is silent for every example
    return layers, torch.randn(6, 2, 5, 5)


def sequential() -> tuple[nn.Sequential, Tensor]:
    layers = nn.Sequential(nn.Embedding(9, 5), nn.Linear(5, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 3), nn.Sigmoid())
    with torch.no_grad():
        layers[1].bias[:2] = -50.0  # units that are silent at every position
    return layers, torch.randint(9, (4, 7))


def flat() -> tuple[nn.Sequential, Tensor]:
    layers = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 3))
    with torch.no_grad():
        layers[0].weight *= 8  # some inputs of the sigmoid are saturated
    return layers, torch.randn(10, 6)


def poisoned() -> tuple[nn.Sequential, Tensor]:
    layers, inputs = flat()
    inputs[3, 2] = math.nan
    return layers, inputs


NETWORKS = (convolutional, sequential, flat, poisoned)


def log10_rms(tensor: Tensor | None) -> float:
    if tensor is None:
        return math.nan
    square = tensor.double().square().mean().item()
    return 0.5 * math.log10(square) if square > 0 else math.log10(square) if square else -math.inf


def cosine_by_double_loop(site: NaiveSite) -> float:
    rows = [row.flatten().double() for row in site.output if row.abs().sum() != 0]
    pairs = [(a @ b / (a.norm() * b.norm())).item() for a, b in itertools.combinations(rows, 2)]
    return sum(pairs) / len(pairs)


def silent_by_loop(site: NaiveSite) -> float:
    if not activation(site):
        return math.nan
    units = site.output.movedim(1, -1) if site.output.dim() == 4 else site.output
    columns = [units[..., c] for c in range(units.shape[-1])]
    return sum(bool((column == 0).all()) for column in columns) / len(columns)


def activation(site: NaiveSite) -> bool:
    return isinstance(site.layer, nn.ReLU | nn.Sigmoid | nn.Tanh | nn.GELU)


def derivative(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    z = inputs.detach().double().flatten().requires_grad_()
    return torch.autograd.grad(function(z).sum(), z)[0].abs()


def slope_rms(site: NaiveSite) -> float:
    return log10_rms(derivative(site.layer, site.inputs)) if activation(site) else math.nan


def saturated(site: NaiveSite) -> float:
    if not activation(site):
        return math.nan
    steepest = derivative(site.layer, torch.linspace(-8, 8, 4001)).max()
    return (derivative(site.layer, site.inputs) < SATURATED * steepest).double().mean().item()


def spread_by_rows(parameter: NaiveParameter) -> float:
    if parameter.before.dim() < 2:
        return math.nan
    rows = parameter.before.flatten(1).double()
    return ((rows - rows.mean(0)).square().mean() / rows.square().mean()).sqrt().item()


NAIVE_SITE: dict[str, Callable[[NaiveSite], float]] = {
    "activation_mean": lambda s: s.output.double().mean().item(),
    "activation_std": lambda s: s.output.double().std(correction=0).item(),
    "zero_fraction": lambda s: sum(v == 0 for v in s.output.flatten().tolist()) / s.output.numel(),
    "silent_fraction": silent_by_loop,
    "saturated_fraction": saturated,
    "log10_slope_rms": slope_rms,
    "nonfinite_count": lambda s: sum(not math.isfinite(v) for v in s.output.flatten().tolist()),
    "example_cosine": cosine_by_double_loop,
    "log10_gradient_rms": lambda s: log10_rms(s.gradient),
    "gradient_nonfinite": lambda s: float(not s.gradient.isfinite().all()),
}
NAIVE_PARAMETER: dict[str, Callable[[NaiveParameter], float]] = {
    "log10_weight_rms": lambda p: log10_rms(p.before),
    "log10_weight_gradient_rms": lambda p: log10_rms(p.gradient),
    "log10_update_rms": lambda p: log10_rms(p.after.double() - p.before.double()),
    "unit_spread": spread_by_rows,
}


def naive_step(layers: nn.Sequential, inputs: Tensor) -> tuple[dict[str, NaiveSite], dict[str, NaiveParameter]]:
    """One step of gradient descent, layer by layer, with everything kept."""
    outputs, x = {}, inputs
    for name, layer in layers.named_children():
        before, x = x, layer(x)
        if not isinstance(layer, nn.Flatten):
            x.retain_grad()
            outputs[name] = (layer, before.detach().clone(), x)
    layers.zero_grad()
    x.square().mean().backward()
    sites = {name: NaiveSite(layer, before, out.detach(), out.grad) for name, (layer, before, out) in outputs.items()}
    parameters = {}
    for name, p in layers.named_parameters():
        parameters[name] = NaiveParameter(p.detach().clone(), p.grad, (p - RATE * p.grad).detach())
    return sites, parameters


def test_every_quantity_has_a_naive_twin() -> None:
    assert set(NAIVE_SITE) == {q.name for q in QUANTITIES if q.axis is Axis.SITE}
    assert set(NAIVE_PARAMETER) == {q.name for q in QUANTITIES if q.axis is Axis.PARAMETER}
    assert {q.name for q in QUANTITIES if q.axis is Axis.GROUP} == {"learning_rate"}


@pytest.mark.parametrize("build", NETWORKS)
def test_readings_agree_with_naive_ones(build: Callable[[], tuple[nn.Sequential, Tensor]]) -> None:
    torch.manual_seed(3)
    layers, inputs = build()
    state = {name: value.clone() for name, value in layers.state_dict().items()}
    sites, parameters = naive_step(layers, inputs)
    layers.load_state_dict(state)

    def train() -> None:
        optimizer = torch.optim.SGD(layers.parameters(), lr=RATE)
        optimizer.zero_grad()
        layers(inputs).square().mean().backward()
        optimizer.step()

    run = observed(train)
    for label, site in sites.items():
        for quantity, naive in NAIVE_SITE.items():
            np.testing.assert_allclose(
                at_site(run, quantity, label), [naive(site)], rtol=1e-4, atol=1e-5, err_msg=f"{quantity} at {label}"
            )
    for label, parameter in parameters.items():
        for quantity, naive in NAIVE_PARAMETER.items():
            np.testing.assert_allclose(
                at_parameter(run, quantity, label), [naive(parameter)], rtol=1e-4, atol=1e-5, err_msg=f"{quantity} of {label}"
            )
    assert run.readings["learning_rate"][0] == pytest.approx([RATE])


def spellings(name: str) -> list[Callable[[Tensor], Tensor]]:
    """The activation as torch offers it, in each of its homes."""
    homes = (torch.nn.functional, torch, torch.special)
    functions = [getattr(home, name) for home in homes if callable(getattr(home, name, None))]
    assert functions
    return [lambda z, f=f: f(z, 0.1, 20.0) for f in functions] if name == "threshold" else functions


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_slopes_agree_with_autograd(name: str) -> None:
    inputs = torch.cat([torch.randn(500, dtype=torch.float64) * 4, torch.tensor([1e3, -1e3, 1e12, -1e12], dtype=torch.float64)])
    for function in spellings(name):
        torch.testing.assert_close(slopes(function, inputs), derivative(function, inputs), rtol=1e-3, atol=3e-5)
        ((rms, share),) = slope_numbers([SlopeSample(name, inputs, function)])
        assert math.log10(rms) == pytest.approx(log10_rms(derivative(function, inputs)), abs=1e-4)
        steepest = derivative(function, torch.linspace(-8, 8, 4001)).max()
        assert share == pytest.approx((derivative(function, inputs) < SATURATED * steepest).double().mean().item(), abs=0.005)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_slopes_at_round_numbers_are_those_of_backward(name: str) -> None:
    """Kinks and jumps lie at round numbers, and an untrained network's inputs often do too."""
    inputs = torch.arange(-6, 6.5, 0.5, dtype=torch.float64)
    if name == "selu":  # the one whose steeper side is the one that torch takes at its kink
        inputs = inputs[inputs != 0]
    for function in spellings(name):
        torch.testing.assert_close(slopes(function, inputs), derivative(function, inputs), rtol=1e-3, atol=3e-5)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "selu", "hardtanh"])
def test_slopes_of_in_place_functions_are_those_of_the_others(name: str) -> None:
    inputs = torch.randn(50, dtype=torch.float64)
    kept = inputs.clone()
    in_place = getattr(torch.nn.functional, f"{name}_", None) or getattr(torch, f"{name}_")
    assert torch.equal(slopes(in_place, inputs), slopes(getattr(torch, name, None) or getattr(torch.nn.functional, name), inputs))
    assert torch.equal(inputs, kept)
