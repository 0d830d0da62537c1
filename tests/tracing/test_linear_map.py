"""The Jacobian as a linear map, by its spectrum: choice of layer and example, state left unchanged, refusals."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from spectrum_oracles import deep_network, log10_values, seeded, singular_values_by_autograd
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from unvanish.errors import TraceError, UsageError
from unvanish.tracing.jacobian import singular_values
from unvanish.tracing.jacobian.singular_values import jacobian_spectrum


def test_the_output_of_a_layer_is_taken_before_an_in_place_operation_changes_it() -> None:
    seeded()
    model, x = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)), torch.randn(1, 6)
    spectrum = jacobian_spectrum(model, x, layer="0")
    assert (spectrum.layer, spectrum.rows) == ("0", 6)
    assert log10_values(spectrum) == pytest.approx(
        torch.linalg.svdvals(model[0].weight.double()).flip(0).log10().tolist(), abs=1e-9
    )


def test_each_example_of_a_batch_has_its_own_jacobian() -> None:
    model, x = deep_network(nn.Tanh, depth=3, width=10), torch.randn(5, 10)
    for example in (0, 3, -1):
        assert log10_values(jacobian_spectrum(model, x, example=example)) == pytest.approx(
            singular_values_by_autograd(model, x[example]).log10().tolist(), abs=1e-6
        )


@pytest.mark.parametrize("after", [0, 20])
def test_with_batch_normalisation_the_other_examples_of_the_batch_are_held(after: int) -> None:
    """Also where so little arrives behind it that the outputs alone would not tell."""
    seeded()
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.Flatten(), deep_network(nn.Sigmoid, depth=after, width=12))
    x = torch.randn(6, 2, 4)
    spectrum = jacobian_spectrum(model, x, example=2)
    double = copy.deepcopy(model).double()
    block = torch.autograd.functional.jacobian(double, x.double())[2, :, 2].reshape(12, 8)
    values = torch.linalg.svdvals(block).flip(0)
    assert spectrum.log10_largest == pytest.approx(values[-1].log10().item(), abs=1e-9)
    whole_batch = jacobian_spectrum(model, x, example=None)
    assert (whole_batch.rows, whole_batch.columns) == (72, 48)


def test_keyword_arguments_and_several_inputs_are_accepted() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor, *, gate: Tensor) -> tuple[Tensor, None]:
            return x * gate, None

    gate = torch.tensor([[1.0, 10.0, 100.0], [1.0, 1.0, 1.0]])
    assert log10_values(jacobian_spectrum(Gate(), {"x": torch.randn(2, 3), "gate": gate})) == pytest.approx([0.0, 1.0, 2.0])
    assert jacobian_spectrum(nn.Bilinear(4, 3, 5), (torch.randn(1, 4), torch.randn(1, 3))).columns == 4


def test_the_network_and_every_random_state_are_as_before() -> None:
    seeded()
    model = nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(8, 8)),
        nn.BatchNorm1d(8),
        nn.Dropout(0.4),
        nn.Linear(8, 8),
        nn.RReLU(),
        nn.Linear(8, 4),
    )
    model[3].eval()
    called: list[str] = []
    model[0].register_forward_hook(lambda *_: called.append("hook"))
    x = torch.randn(7, 8, requires_grad=True)
    model(x).sum().backward()
    called.clear()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [p.grad.clone() for p in (*model.parameters(), x) if p.grad is not None]
    flags = [(m.training, len(m._forward_hooks)) for m in model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    with torch.no_grad():
        first = jacobian_spectrum(model, x)
    assert first == jacobian_spectrum(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(map(torch.equal, gradients, [p.grad for p in (*model.parameters(), x)]))
    assert flags == [(m.training, len(m._forward_hooks)) for m in model.modules()]
    assert called == []
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1], states[2].tolist()) == (random.getstate(), np.random.get_state()[1].tolist())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_normalised_networks_can_be_copied() -> None:
    seeded()
    model, x = weight_norm(nn.Linear(5, 5)), torch.randn(1, 5)
    model(x)
    assert log10_values(jacobian_spectrum(model, x)) == pytest.approx(
        torch.linalg.svdvals(model.weight).flip(0).log10().tolist(), abs=1e-5
    )


class FixedPrecision(nn.Module):
    """Makes a constant of its own, so that it runs in float32 only."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ torch.eye(4))


def test_networks_that_cannot_run_in_float64_run_in_their_own_precision(monkeypatch) -> None:
    spectrum = jacobian_spectrum(FixedPrecision(), torch.zeros(1, 4))
    assert (spectrum.dtype, spectrum.log10_largest) == ("float32", pytest.approx(0.0, abs=1e-6))
    assert spectrum.log10_floor > -7.0
    monkeypatch.setattr(singular_values, "MAX_EXACT_SIDE", 0)
    assert jacobian_spectrum(FixedPrecision(), torch.zeros(1, 4)).log10_largest == pytest.approx(0.0, abs=1e-6)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g


class Twofold(torch.autograd.Function):
    """As `Once`, with a forward derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x**3

    backward = Once.backward

    @staticmethod
    def jvp(ctx, t):
        return 3 * ctx.saved_tensors[0] ** 2 * t


class Cubed(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


@pytest.mark.parametrize("large", [False, True])
def test_forward_mode_replaces_a_missing_second_derivative(large: bool, monkeypatch) -> None:
    if large:
        monkeypatch.setattr(singular_values, "MAX_EXACT_SIDE", 0)
    spectrum = jacobian_spectrum(Cubed(Twofold), torch.tensor([[1.0, 2.0, 3.0]]))
    assert (10**spectrum.log10_smallest, 10**spectrum.log10_largest) == pytest.approx((3.0, 27.0))


def test_without_any_second_derivative_small_jacobians_still_have_a_spectrum(monkeypatch) -> None:
    spectrum = jacobian_spectrum(Cubed(Once), torch.tensor([[1.0, 2.0, 3.0]]))
    assert (10**spectrum.log10_smallest, 10**spectrum.log10_largest) == pytest.approx((3.0, 27.0))
    monkeypatch.setattr(singular_values, "MAX_EXACT_SIDE", 0)
    with pytest.raises(TraceError, match="neither a second nor a forward derivative"):
        jacobian_spectrum(Cubed(Once), torch.tensor([[1.0, 2.0, 3.0]]))


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach() * 2.0


class Unstable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x * 0.0) * x


NET = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Tanh(), nn.Linear(4, 2)))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 2)


@pytest.mark.parametrize(
    ("model", "inputs", "options", "kind", "words"),
    [
        (NET, torch.zeros(1, 4), {"layer": "1.2"}, UsageError, r"no module '1.2'; did you mean '1.[01]'"),
        (NET, torch.zeros(1, 4, dtype=torch.long), {}, UsageError, "embedding's output"),
        (NET, torch.zeros(1, 5), {}, UsageError, "cannot be run through Sequential"),
        (NET, torch.zeros(0, 4), {}, UsageError, "is empty"),
        (NET, {"x": 3}, {}, UsageError, "holds no tensor"),
        (NET, torch.zeros(2, 4), {"example": 2}, UsageError, "2 examples, 0 to 1"),
        (NET, torch.zeros(2, 4), {"probes": 1}, UsageError, "at least two probes"),
        (NET.forward, torch.zeros(2, 4), {}, UsageError, "needs a torch.nn.Module"),
        (Unused(), torch.zeros(2, 4), {}, UsageError, "example=None"),
        (Unused(), torch.zeros(1, 4), {"layer": "spare"}, UsageError, "not called"),
        (Detached(), torch.ones(1, 4), {}, TraceError, "no gradient leads"),
        (Unstable(), torch.ones(1, 4), {}, TraceError, "not finite"),
    ],
)
def test_unusable_arguments_are_refused_with_advice(model, inputs, options, kind, words) -> None:
    with pytest.raises(kind, match=words):
        jacobian_spectrum(model, inputs, **options)
