"""DynamicTanh follows its formula for every axis, and copies, pickles and compiles like any module."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from unvanish.remedies.layers.dynamic_tanh import DynamicTanh


def trained_layer(features: int, axis: int) -> DynamicTanh:
    """A layer with parameters other than at the start."""
    layer = DynamicTanh(features, axis=axis)
    with torch.no_grad():
        layer.alpha.fill_(0.7)
        layer.weight.copy_(torch.arange(1.0, features + 1.0))
        layer.bias.copy_(-torch.arange(features) / 2.0)
    return layer


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3), -1), ((2, 3), 1), ((2, 5, 3), -1), ((2, 3, 5), 1), ((2, 3, 2, 2), 1), ((2, 3, 1, 2, 2), 1)]
)
def test_each_output_follows_the_formula(shape: tuple[int, ...], axis: int) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    y = trained_layer(3, axis)(x)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist():
        feature = index[axis]
        expected = (1.0 + feature) * math.tanh(0.7 * x[tuple(index)].item()) - feature / 2.0
        assert y[tuple(index)].item() == pytest.approx(expected, abs=1e-6)


def test_it_starts_as_tanh_of_half_its_input() -> None:
    x = torch.linspace(-3, 3, 8).reshape(2, 4)
    torch.testing.assert_close(DynamicTanh(4)(x), torch.tanh(x / 2))
    torch.testing.assert_close(DynamicTanh(4, alpha=2.0)(x), torch.tanh(2 * x))


def test_its_gradient_is_right() -> None:
    layer = trained_layer(3, 1).double()
    x = torch.randn(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    names = dict(layer.named_parameters())
    values = tuple(p.detach().requires_grad_() for p in names.values())
    assert sorted(names) == ["alpha", "bias", "weight"]
    assert torch.autograd.gradcheck(
        lambda x, *values_of_parameters: torch.func.functional_call(
            layer, dict(zip(names, values_of_parameters, strict=True)), (x,)
        ),
        (x, *values),
    )


def test_copies_pickles_and_half_precision_work() -> None:
    layer = trained_layer(3, -1)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), layer(x))
    narrow = copy.deepcopy(layer).bfloat16()(x.bfloat16())
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), layer(x), rtol=0.02, atol=0.02)


@pytest.fixture(scope="module")
def dynamo() -> None:
    """Runs torch's compiler once, since it patches torch for good when it first runs."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


@pytest.mark.usefixtures("dynamo")
def test_a_compiled_layer_computes_the_same() -> None:
    network = nn.Sequential(nn.Linear(3, 3), trained_layer(3, -1))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.compile(network, backend="aot_eager")(x), network(x))


@pytest.mark.parametrize(("shape", "axis"), [((2, 4), -1), ((2,), 1), ((3, 2), 1)])
def test_an_input_of_another_shape_is_refused(shape: tuple[int, ...], axis: int) -> None:
    with pytest.raises((RuntimeError, IndexError)):
        DynamicTanh(3, axis=axis)(torch.zeros(shape))
