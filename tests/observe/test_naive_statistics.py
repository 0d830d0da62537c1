"""Every quantity agrees with a naive computation: plain loops and plain autograd on a network run layer by layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from test_head_metrics import NAIVE_HEAD, NAIVE_NETWORK
from torch import Tensor, nn
from trainings import TRAININGS
from watching import observe_training, parameter_values, site_values

from unvanish.observe.statistics.parameter_updates import FINGERPRINT_ELEMENTS
from unvanish.observe.statistics.tensor_statistics import SATURATION_SHARE, SlopeSample, local_slopes, slope_statistics
from unvanish.observe.structure.site_kinds import ELEMENTWISE
from unvanish.record.quantities import QUANTITIES, Axis

RATE = 0.3
CLAMPED = (-1.5, 2.5)


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


def with_nan_input() -> tuple[nn.Sequential, Tensor]:
    layers, inputs = flat()
    inputs[3, 2] = math.nan
    return layers, inputs


def softmax_output() -> tuple[nn.Sequential, Tensor]:
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4), nn.Softmax(-1)), 3 * torch.randn(30, 6) + 1


def single_example() -> tuple[nn.Sequential, Tensor]:
    """One example, so that there are no differences between examples."""
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double(), torch.randn(1, 6, dtype=torch.float64)


NETWORKS = (convolutional, sequential, flat, with_nan_input, softmax_output, single_example)
RELATIVE_TOLERANCE = {"evaluation_gap": 0.03}  # it is computed from unbiased variances, and the output itself from biased ones


def log10_rms(tensor: Tensor | None) -> float:
    if tensor is None:
        return math.nan
    square = tensor.double().square().mean().item()
    return 0.5 * math.log10(square) if square > 0 else math.log10(square) if square else -math.inf


def cosine_by_double_loop(site: NaiveSite) -> float:
    rows = [row.flatten().double() for row in site.output if row.abs().sum() != 0]
    pairs = [(a @ b / (a.norm() * b.norm())).item() for a, b in itertools.combinations(rows, 2)]
    return sum(pairs) / len(pairs) if pairs else math.nan


def example_spread_by_loop(site: NaiveSite) -> float:
    rows = [row.flatten().double() for row in site.output]
    mean = sum(rows) / len(rows)
    spread, size = (sum(v**2 for row in table for v in row.tolist()) for table in ([row - mean for row in rows], rows))
    return math.sqrt(spread / size) if len(rows) > 1 else math.nan


def entropy_by_loop(site: NaiveSite) -> float:
    if not isinstance(site.layer, nn.Softmax):
        return math.nan
    rows = site.output.reshape(-1, site.output.shape[-1]).double().tolist()
    return sum(-sum(w * math.log(w) for w in row) / math.log(len(row)) for row in rows) / len(rows)


def values_per_channel(site: NaiveSite) -> float:
    return float(site.inputs[:, 0].numel()) if isinstance(site.layer, nn.BatchNorm1d | nn.BatchNorm2d) else math.nan


def gap_between_modes(site: NaiveSite) -> float:
    """By the two outputs themselves, without weight and bias, so that a channel's standard deviation is 1."""
    if math.isnan(values_per_channel(site)):
        return math.nan
    kept, x = (site.layer.running_mean.double(), site.layer.running_var.double()), site.inputs.double()
    training = nn.functional.batch_norm(x, None, None, training=True)
    evaluating = nn.functional.batch_norm(x, *kept, training=False)
    return (training - evaluating).square().mean().sqrt().item()


def smallest_by_halving(site: NaiveSite) -> float:
    value = torch.ones((), dtype=site.gradient.dtype)
    while value / 2 > 0:
        value = value / 2
    return math.log10(value.item())


def silent_by_loop(site: NaiveSite) -> float:
    if not activation(site):
        return math.nan
    units = site.output.movedim(1, -1) if site.output.dim() == 4 else site.output
    columns = [units[..., c] for c in range(units.shape[-1])]
    return sum(bool((column == 0).all()) for column in columns) / len(columns)


def activation(site: NaiveSite) -> bool:
    return isinstance(site.layer, nn.ReLU | nn.Sigmoid | nn.Tanh | nn.GELU | nn.Softmax)


def elementwise(site: NaiveSite) -> bool:
    return activation(site) and not isinstance(site.layer, nn.Softmax)


def derivative(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    z = inputs.detach().double().flatten().requires_grad_()
    return torch.autograd.grad(function(z).sum(), z)[0].abs()


def slope_rms(site: NaiveSite) -> float:
    return log10_rms(derivative(site.layer, site.inputs)) if elementwise(site) else math.nan


def saturated(site: NaiveSite) -> float:
    if not elementwise(site):
        return math.nan
    steepest = derivative(site.layer, torch.linspace(-8, 8, 4001)).max()
    return (derivative(site.layer, site.inputs) < SATURATION_SHARE * steepest).double().mean().item()


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
    "example_spread": example_spread_by_loop,
    "attention_entropy": entropy_by_loop,
    "values_per_statistic": values_per_channel,
    "evaluation_gap": gap_between_modes,
    "log10_gradient_rms": lambda s: log10_rms(s.gradient),
    "gradient_zero_fraction": lambda s: sum(v == 0 for v in s.gradient.flatten().tolist()) / s.gradient.numel(),
    "log10_smallest_gradient": smallest_by_halving,
    "gradient_nonfinite": lambda s: float(not s.gradient.isfinite().all()),
}


def cosine(one: Tensor, other: Tensor | None) -> float:
    """Plain sums of products in Python's floats."""
    if other is None:
        return math.nan
    a, b = one.flatten().tolist(), other.flatten().tolist()
    size = math.sqrt(math.fsum(v * v for v in a)) * math.sqrt(math.fsum(v * v for v in b))
    return math.fsum(v * w for v, w in zip(a, b, strict=True)) / size if size else math.nan


NAIVE_PARAMETER: dict[str, Callable[[NaiveParameter], float]] = {
    "log10_weight_rms": lambda p: log10_rms(p.before),
    "log10_weight_gradient_rms": lambda p: log10_rms(p.gradient),
    "log10_update_rms": lambda p: log10_rms(p.after.double() - p.before.double()),
    "unit_spread": spread_by_rows,
    "gradient_along_weight": lambda p: cosine(p.before, p.gradient),
}
BETWEEN_STEPS = {"gradient_agreement", "log10_stale_share", "log10_gradient_kept"}


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


def test_every_quantity_has_a_naive_computation() -> None:
    assert set(NAIVE_SITE) == {q.name for q in QUANTITIES if q.axis is Axis.SITE}
    measured = {q.name for q in QUANTITIES if q.axis in (Axis.PARAMETER, Axis.GROUP)}
    assert {*NAIVE_PARAMETER, *BETWEEN_STEPS, "learning_rate"} == measured
    assert set(NAIVE_NETWORK) == {q.name for q in QUANTITIES if q.axis is Axis.NETWORK}
    assert set(NAIVE_HEAD) == {q.name for q in QUANTITIES if q.axis is Axis.HEAD}


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

    run = observe_training(train)
    for label, site in sites.items():
        for quantity, naive in NAIVE_SITE.items():
            np.testing.assert_allclose(
                site_values(run, quantity, label),
                [naive(site)],
                rtol=RELATIVE_TOLERANCE.get(quantity, 1e-4),
                atol=1e-5,
                err_msg=f"{quantity} at {label}",
            )
    for label, parameter in parameters.items():
        for quantity, naive in NAIVE_PARAMETER.items():
            np.testing.assert_allclose(
                parameter_values(run, quantity, label), [naive(parameter)], rtol=1e-4, atol=1e-5, err_msg=f"{quantity} of {label}"
            )
    assert run.readings["learning_rate"][0] == pytest.approx([RATE])


@pytest.mark.parametrize("cleared", [True, False])
def test_readings_between_steps_agree_with_naive_ones(cleared: bool) -> None:
    """Three steps whose gradients are clipped, and cleared between steps or not."""
    torch.manual_seed(5)
    layers, _ = flat()
    batches = [torch.randn(10, 6) for _ in range(3)]
    used: dict[str, list[Tensor]] = {name: [] for name, _ in layers.named_parameters()}
    held, kept = {name: list[float]() for name in used}, list[float]()

    def total_norm(gradients: list[Tensor]) -> float:
        return math.sqrt(sum(v * v for g in gradients for v in g.flatten().tolist()))

    def train() -> None:
        optimizer = torch.optim.SGD(layers.parameters(), lr=RATE)
        for batch in batches:
            if cleared:
                optimizer.zero_grad()
            for name, p in layers.named_parameters():
                held[name].append(0.0 if p.grad is None else total_norm([p.grad.flatten()[:FINGERPRINT_ELEMENTS]]))
            layers(batch).square().mean().backward()
            before = total_norm([p.grad for p in layers.parameters()])
            nn.utils.clip_grad_norm_(layers.parameters(), 0.01)
            kept.append(math.log10(total_norm([p.grad for p in layers.parameters()]) / before))
            for name, p in layers.named_parameters():
                used[name].append(p.grad.clone())
            optimizer.step()

    run = observe_training(train)
    assert max(kept) < -0.1
    np.testing.assert_allclose(run.readings["log10_gradient_kept"][:, 0], kept, atol=1e-5)
    for name, gradients in used.items():
        agreements = [math.nan, *(cosine(a, b) for a, b in itertools.pairwise(gradients))]
        np.testing.assert_allclose(parameter_values(run, "gradient_agreement", name), agreements, atol=1e-5)
        shares = [h / total_norm([g.flatten()[:FINGERPRINT_ELEMENTS]]) for h, g in zip(held[name], gradients, strict=True)]
        logs = [math.log10(share) if share else -math.inf for share in shares]
        np.testing.assert_allclose(parameter_values(run, "log10_stale_share", name), logs, atol=1e-5)


def spellings(name: str) -> list[Callable[[Tensor], Tensor]]:
    """The activation as torch offers it, in each of its homes."""
    homes = (torch.nn.functional, torch, torch.special)
    functions = [getattr(home, name) for home in homes if callable(getattr(home, name, None))]
    assert functions
    settings = {"threshold": (0.1, 20.0), "clamp": CLAMPED, "clip": CLAMPED}.get(name, ())
    return [lambda z, f=f: f(z, *settings) for f in functions] if settings else functions


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_slopes_agree_with_autograd(name: str) -> None:
    inputs = torch.cat([torch.randn(500, dtype=torch.float64) * 4, torch.tensor([1e3, -1e3, 1e12, -1e12], dtype=torch.float64)])
    for function in spellings(name):
        torch.testing.assert_close(local_slopes(function, inputs), derivative(function, inputs), rtol=1e-3, atol=3e-5)
        ((rms, share),) = slope_statistics([SlopeSample(name, inputs, function)])
        assert math.log10(rms) == pytest.approx(log10_rms(derivative(function, inputs)), abs=1e-4)
        steepest = derivative(function, torch.linspace(-8, 8, 4001)).max()
        assert share == pytest.approx(
            (derivative(function, inputs) < SATURATION_SHARE * steepest).double().mean().item(), abs=0.005
        )


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_slopes_at_round_numbers_are_those_of_backward(name: str) -> None:
    """Kinks and jumps lie at round numbers, and an untrained network's inputs often do too."""
    inputs = torch.arange(-6, 6.5, 0.5, dtype=torch.float64)
    for kink in {"selu": (0.0,), "clamp": CLAMPED, "clip": CLAMPED}.get(name, ()):  # torch takes the steeper side there
        inputs = inputs[inputs != kink]
    for function in spellings(name):
        torch.testing.assert_close(local_slopes(function, inputs), derivative(function, inputs), rtol=1e-3, atol=3e-5)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "selu", "hardtanh"])
def test_slopes_of_in_place_functions_are_those_of_the_others(name: str) -> None:
    inputs = torch.randn(50, dtype=torch.float64)
    kept = inputs.clone()
    in_place = getattr(torch.nn.functional, f"{name}_", None) or getattr(torch, f"{name}_")
    assert torch.equal(
        local_slopes(in_place, inputs), local_slopes(getattr(torch, name, None) or getattr(torch.nn.functional, name), inputs)
    )
    assert torch.equal(inputs, kept)


@pytest.mark.parametrize("kind", ["gan", "gan with five critic steps", "lbfgs with a closure", "autocast and gradient scaler"])
def test_without_clipping_the_whole_gradient_is_kept(kind: str) -> None:
    """Also where another network's backward adds to gradients after their step, or where a closure makes them within it."""
    kept = observe_training(TRAININGS[kind].run).readings["log10_gradient_kept"]
    scaled = math.log10(1024.0) if "scaler" in kind else 0.0
    np.testing.assert_allclose(kept[0][np.isfinite(kept[0])], -scaled, atol=1e-5)
    assert scaled or not (np.abs(kept) > 1e-5).any()
    assert np.isnan(kept).all() == (kind == "lbfgs with a closure")
