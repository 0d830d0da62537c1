"""Numbers about tensors: right at the edges of float32, in half precision, and where they wait on a device."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import EveryKindOfLayer
from torch import Tensor, nn
from trainings import TRAININGS
from watching import observe_training, parameter_values, site_values

from unvanish.observe import step_log
from unvanish.observe.hooks.module_outputs import first_tensor
from unvanish.observe.output_head import head_metrics, neighbour_baseline
from unvanish.observe.statistics import (
    attention_entropy,
    batch_norm,
    parameter_updates,
    quantity_rows,
    site_statistics,
    tensor_statistics,
)
from unvanish.record.quantities import QUANTITIES, Axis

GRADIENTS = ("log10_gradient_rms", "log10_weight_gradient_rms", "log10_update_rms")
READS = 7  # of a sampled step: two of its sites, one of its parameters, two of its groups, one each of networks and heads

ordinary = settings(max_examples=25, deadline=None, derandomize=True)


def one_step(scale: float, *, dtype: torch.dtype = torch.float32) -> Any:
    """The record of one step of a small network, whose loss is multiplied by `scale`."""

    def train() -> None:
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        (network(torch.randn(6, 4, dtype=dtype)).square().mean() * scale).backward()
        optimizer.step()

    return observe_training(train)


@ordinary
@given(st.floats(-20, 20))
def test_a_loss_times_k_shifts_every_gradient_by_log10_k(exponent: float) -> None:
    plain, scaled = one_step(1.0), one_step(10.0**exponent)
    for quantity in ("log10_gradient_rms", "log10_weight_gradient_rms"):
        np.testing.assert_allclose(scaled.readings[quantity], plain.readings[quantity] + exponent, atol=1e-4)
    for quantity in (q.name for q in QUANTITIES if q.axis in (Axis.SITE, Axis.PARAMETER) and q.name not in GRADIENTS):
        np.testing.assert_allclose(scaled.readings[quantity], plain.readings[quantity], rtol=1e-5, err_msg=quantity)


def four_steps(scale: float, dtype: torch.dtype) -> Any:
    """The record of four steps whose loss is multiplied by `scale`; the weights stay as they are."""

    def train() -> None:
        torch.manual_seed(2)
        network = EveryKindOfLayer().to(dtype)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        for _ in range(4):
            x, labels = torch.randn(24, 6, dtype=dtype), torch.randint(3, (24,))
            kind, size = network(x)
            optimizer.zero_grad()
            ((F.cross_entropy(kind, labels) + F.mse_loss(size, x[:, :2])) * scale).backward()
            optimizer.step()

    return observe_training(train)


@ordinary
@given(st.one_of(st.tuples(st.just(torch.float32), st.floats(-20, 20)), st.tuples(st.just(torch.float64), st.floats(-200, 200))))
def test_a_loss_times_k_changes_no_quantity_that_is_no_gradient(scaled_by: tuple[torch.dtype, float]) -> None:
    dtype, exponent = scaled_by
    plain, scaled = four_steps(1.0, dtype), four_steps(10.0**exponent, dtype)
    assert scaled.structure.heads[0].criterion == "cross-entropy"
    assert len(scaled.structure.heads) == 2
    for quantity in QUANTITIES:
        shift = exponent if quantity.name in GRADIENTS and quantity.name != "log10_update_rms" else 0.0
        expected = plain.readings[quantity.name] + shift
        assert expected.size, quantity.name
        np.testing.assert_allclose(scaled.readings[quantity.name], expected, rtol=1e-3, atol=1e-3, err_msg=quantity.name)
    for name in ("score", "gradient_agreement", "gradient_along_weight", "attention_entropy", "neighbour_correlation"):
        assert np.isfinite(scaled.readings[name]).any(), name


@pytest.mark.parametrize("exponent", [-30, 30])
def test_gradients_that_float32_cannot_square_are_measured(exponent: int) -> None:
    plain, scaled = one_step(1.0), one_step(10.0**exponent)
    gradients = site_values(scaled, "log10_gradient_rms", "0")
    np.testing.assert_allclose(gradients, site_values(plain, "log10_gradient_rms", "0") + exponent, atol=1e-3)
    np.testing.assert_allclose(
        parameter_values(scaled, "log10_weight_gradient_rms", "0.weight"),
        parameter_values(plain, "log10_weight_gradient_rms", "0.weight") + exponent,
        atol=1e-3,
    )


def test_a_gradient_of_zero_is_minus_infinity_and_none_is_nan() -> None:
    run = one_step(0.0)
    assert site_values(run, "log10_gradient_rms", "0").tolist() == [-math.inf]
    assert parameter_values(run, "log10_update_rms", "0.weight").tolist() == [-math.inf]

    def without_backward() -> None:
        nn.Linear(2, 2)(torch.ones(3, 2))

    assert np.isnan(observe_training(without_backward).readings["log10_gradient_rms"]).all()


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e25])
def test_outputs_are_described_whatever_their_size(size: float) -> None:
    torch.manual_seed(2)
    sample = torch.randn(6, 9)
    ((mean, spread, *rest),) = tensor_statistics.describe([sample])
    ((scaled_mean, scaled_spread, *scaled_rest),) = tensor_statistics.describe([sample * size])
    assert (scaled_mean / size, scaled_spread / size) == pytest.approx((mean, spread), rel=1e-5)
    assert scaled_rest == pytest.approx(rest, abs=1e-6)


def test_a_cosine_needs_two_rows_that_are_not_zero() -> None:
    one, none = torch.zeros(4, 3), torch.zeros(4, 3)
    one[0] = torch.tensor([1.0, 2.0, 3.0])
    assert all(math.isnan(row[3]) for row in tensor_statistics.describe([one, none]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_norms_of_other_precisions_are_those_of_their_values(dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    tensor = (torch.randn(300, dtype=torch.float64) * 3000).to(dtype)
    assert tensor_statistics.euclidean_norm(tensor) == pytest.approx(tensor.double().norm().item(), rel=1e-6)


@pytest.mark.parametrize("exponent", [-300, -160, 160, 300])
def test_norms_of_float64_are_right_where_its_squares_leave_its_range(exponent: int) -> None:
    tensor = torch.tensor([3.0, -4.0], dtype=torch.float64) * 10.0**exponent
    assert tensor_statistics.euclidean_norm(tensor) == pytest.approx(5.0 * 10.0**exponent)


@pytest.mark.parametrize(
    ("values", "norm"), [([0.0, 0.0], 0.0), ([], 0.0), ([1.0, -math.inf], math.inf), ([1.0, math.nan], math.nan)]
)
def test_norms_of_zero_infinite_and_nan_values_are_zero_infinite_and_nan(values: list[float], norm: float) -> None:
    tensor = torch.tensor(values, dtype=torch.float64)
    assert tensor_statistics.euclidean_norm(tensor) == pytest.approx(norm, nan_ok=True)


def test_norms_of_sparse_and_complex_tensors_are_those_of_their_values() -> None:
    sparse = torch.sparse_coo_tensor(torch.tensor([[1, 1, 3]]), torch.tensor([1.0, 2.0, 4.0]), (5,), check_invariants=True)
    assert tensor_statistics.euclidean_norm(sparse) == pytest.approx(5.0)  # the two values at 1 are one element
    assert tensor_statistics.euclidean_norm(torch.tensor([3 + 4j, 0j])) == pytest.approx(5.0)


@ordinary
@given(st.lists(st.tuples(st.floats(1e-300, 1e300), st.integers(1, 10**6)), min_size=1, max_size=6))
def test_an_rms_over_several_tensors_is_exact_at_any_size(parts: list[tuple[float, int]]) -> None:
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 50, -9999, 9999
        square = sum(Decimal(n) ** 2 for n, _ in parts) / sum(size for _, size in parts)
        expected = float(square.log10() / 2)
    assert tensor_statistics.log10_rms([n for n, _ in parts], [s for _, s in parts]) == pytest.approx(expected, abs=1e-12)


def test_an_rms_of_nothing_or_of_nan_is_nan() -> None:
    assert math.isnan(tensor_statistics.log10_rms([], []))
    assert math.isnan(tensor_statistics.log10_rms([1.0, math.nan], [1, 1]))
    assert tensor_statistics.log10_rms([math.inf, 1.0], [1, 1]) == math.inf


def test_nonfinite_values_are_counted_and_a_large_sum_is_none() -> None:
    assert tensor_statistics.count_nonfinite(torch.tensor([1.0, math.inf, math.nan, -math.inf])) == 3
    assert tensor_statistics.count_nonfinite(torch.full((10,), 3e38)) == 0  # the sum is infinite, no element is


def test_a_subsample_is_even_small_and_a_copy() -> None:
    output = torch.arange(100 * 1000.0).reshape(100, 10, 100)
    sample = tensor_statistics.subsample(output)
    assert sample.shape[0] <= tensor_statistics.MAX_EXAMPLES
    assert sample.shape[1] < 2 * tensor_statistics.MAX_FEATURES
    assert set(sample[:, 0].tolist()) == {float(1000 * row) for row in range(0, 100, 4)}
    kept = output.clone()
    sample.zero_()
    assert torch.equal(output, kept)


@pytest.mark.parametrize("kind", ["mlp", "lbfgs with a closure", "gan", "autocast and gradient scaler", "transformer encoder"])
def test_numbers_that_stay_on_a_device_give_the_same_record(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator: every number stays a tensor until it is read back with all the others."""
    as_floats = observe_training(TRAININGS[kind].run)
    tensors_read: list[int] = []

    def as_tensor(function: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
        return lambda tensor: torch.as_tensor(function(tensor), dtype=torch.float64)

    def counting_read_back(numbers: Any) -> list[float]:
        tensors_read.append(sum(isinstance(n, Tensor) for n in numbers))
        return read_back(numbers)

    read_back, to_number = tensor_statistics.read_back, tensor_statistics.to_number
    for module in (tensor_statistics, step_log, head_metrics, neighbour_baseline, attention_entropy, batch_norm):
        monkeypatch.setattr(module, "to_number", as_tensor(to_number))
    monkeypatch.setattr(tensor_statistics, "euclidean_norm", as_tensor(tensor_statistics.euclidean_norm))
    for module in (site_statistics, parameter_updates, quantity_rows):
        monkeypatch.setattr(module, "read_back", counting_read_back)
    as_tensors = observe_training(TRAININGS[kind].run)
    assert max(tensors_read) > 10
    assert len(tensors_read) == READS * len(as_tensors.sampled)
    for quantity in QUANTITIES:
        np.testing.assert_allclose(as_tensors.readings[quantity.name], as_floats.readings[quantity.name], rtol=1e-6)
    np.testing.assert_allclose(as_tensors.losses, as_floats.losses, rtol=1e-6)


@pytest.mark.parametrize("packing", ["tensor", "tuple", "nested", "dict", "data class", "packed sequence", "nothing"])
def test_the_first_tensor_of_an_output_is_found_in_every_container(packing: str) -> None:
    @dataclass
    class Output:
        loss: None
        logits: Tensor

    tensor = torch.ones(2, 3, 1)
    packed = nn.utils.rnn.pack_padded_sequence(tensor, torch.tensor([3, 2]), batch_first=True)
    outputs: dict[str, object] = {
        "tensor": tensor,
        "tuple": (tensor, torch.zeros(1)),
        "nested": [None, (tensor,)],
        "dict": {"logits": tensor},
        "data class": Output(None, tensor),
        "packed sequence": packed,
        "nothing": object(),
    }
    wanted = {"packed sequence": packed.data, "nothing": None}.get(packing, tensor)
    assert first_tensor(outputs[packing]) is wanted
