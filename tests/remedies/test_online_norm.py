"""OnlineNorm against scalar loops that follow the formulas, and its statistics and gradient over time."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unvanish.remedies.layers.online_norm import CLAMP_LIMIT, EPS, OnlineNorm

SHAPES = [((3,), 1), ((3, 5), 1), ((3, 2, 4), 1), ((3, 2, 2, 2), 1), ((5, 3), -1), ((2, 3, 4), 2)]
BUFFERS = ("m", "s2", "e_y", "e_1")


class ScalarLoops:
    """The formulas in loops over features, samples and positions, in double precision."""

    def __init__(self, features: int, *, a: float, b: float, eps: float) -> None:
        self.m, self.s2, self.e_y, self.e_1 = [0.0] * features, [1.0] * features, [0.0] * features, [0.0] * features
        self.a, self.b, self.eps = a, b, eps

    def run(self, x: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs and gradients for x and the gradient at the output, both of shape (samples, features, positions)."""
        y, back = np.zeros_like(x), np.zeros_like(x)
        for f in range(x.shape[1]):
            for t in range(x.shape[0]):
                sigma = math.sqrt(self.s2[f] + self.eps)
                xs, gs = x[t, f].tolist(), g[t, f].tolist()
                ys = [(value - self.m[f]) / sigma for value in xs]
                mean = sum(xs) / len(xs)
                var = sum((value - mean) ** 2 for value in xs) / len(xs)
                self.s2[f] = self.a * self.s2[f] + (1 - self.a) * var + self.a * (1 - self.a) * (mean - self.m[f]) ** 2
                self.m[f] = self.a * self.m[f] + (1 - self.a) * mean
                ts = [gi - (1 - self.b) * self.e_y[f] * yi for gi, yi in zip(gs, ys, strict=True)]
                self.e_y[f] += sum(ti * yi for ti, yi in zip(ts, ys, strict=True)) / len(ys)
                ds = [ti / sigma - (1 - self.b) * self.e_1[f] for ti in ts]
                self.e_1[f] += sum(ds) / len(ds)
                y[t, f], back[t, f] = ys, ds
        return y, back


def plain_norm(features: int, axis: int = 1, *, a: float = 0.9, b: float = 0.8) -> OnlineNorm:
    """A norm without weight and bias, with clamping, in double precision."""
    return OnlineNorm(features, axis=axis, forward_decay=a, backward_decay=b, affine=False, scaling="clamp").double()


def samples_features_positions(x: Tensor, axis: int) -> np.ndarray:
    """The tensor as (samples, features, positions)."""
    return x.detach().movedim(axis, 1).flatten(2).numpy() if x.dim() > 2 else x.detach().numpy()[:, :, None]


def batches(shape: tuple[int, ...], *sizes: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(2, size, *shape, generator=generator, dtype=torch.float64) for size in sizes]
    return [(0.5 + 0.8 * pair[0], 0.3 + pair[1]) for pair in draw]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_forward_and_backward_follow_the_formulas_over_several_batches(shape: tuple[int, ...], axis: int) -> None:
    norm, loops = plain_norm(3, axis), ScalarLoops(3, a=0.9, b=0.8, eps=1e-5)
    for x, g in batches(shape, 1, 2, 7, 1, 16, 5):
        x.requires_grad_()
        y = norm(x)
        (gradient,) = torch.autograd.grad(y, x, g)
        expected, back = loops.run(samples_features_positions(x, axis), samples_features_positions(g, axis))
        assert np.abs(expected).max() < CLAMP_LIMIT
        np.testing.assert_allclose(samples_features_positions(y, axis), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(samples_features_positions(gradient, axis), back, rtol=0, atol=1e-12)
    for name in BUFFERS:
        np.testing.assert_allclose(getattr(norm, name).numpy(), getattr(loops, name), rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_results_do_not_depend_on_how_samples_are_batched(sizes: list[int], seed: int) -> None:
    undivided, divided = plain_norm(4), plain_norm(4)
    ((x, g),) = batches((4, 3), sum(sizes), seed=seed)
    x.requires_grad_()
    y = undivided(x)
    (gradient,) = torch.autograd.grad(y, x, g)
    for part, g_part, y_part, gradient_part in zip(*(each.split(sizes) for each in (x, g, y, gradient)), strict=True):
        piece = part.detach().requires_grad_()
        out = divided(piece)
        torch.testing.assert_close(out, y_part, rtol=0, atol=1e-12)
        torch.testing.assert_close(torch.autograd.grad(out, piece, g_part)[0], gradient_part, rtol=0, atol=1e-12)


def test_one_sample_at_a_time_gives_mean_zero_and_variance_one() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = OnlineNorm(2, affine=False, scaling="clamp")
    scale, shift = torch.tensor([3.0, 0.5]), torch.tensor([-4.0, 1.0])
    outputs = torch.cat([norm(shift + scale * torch.randn(1, 2, generator=generator)) for _ in range(8000)])[4000:]
    torch.testing.assert_close(outputs.mean(0), torch.zeros(2), rtol=0, atol=0.08)
    torch.testing.assert_close(outputs.var(0), torch.ones(2), rtol=0, atol=0.1)
    torch.testing.assert_close(norm.m, shift, rtol=0.1, atol=0.1)
    torch.testing.assert_close(norm.s2, scale**2, rtol=0.15, atol=0.0)


def test_statistics_of_maps_are_those_of_all_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = OnlineNorm(2, affine=False, scaling="clamp", forward_decay=0.99)
    for _ in range(300):
        x = 2.0 + 3.0 * torch.randn(4, 2, 8, 8, generator=generator)
        norm(x)
    torch.testing.assert_close(norm.m, torch.full((2,), 2.0), rtol=0.05, atol=0.0)
    torch.testing.assert_close(norm.s2, torch.full((2,), 9.0), rtol=0.05, atol=0.0)


def test_over_time_the_gradient_is_orthogonal_to_the_output_and_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = OnlineNorm(3, affine=False, scaling="clamp")
    along_y, along_1, size = torch.zeros(3), torch.zeros(3), torch.zeros(3)
    for step in range(3000):
        x = torch.randn(2, 3, generator=generator).requires_grad_()
        y = norm(x)
        output_gradient = 1.0 + 2.0 * y.detach() + 0.3 * torch.randn(2, 3, generator=generator)
        (gradient,) = torch.autograd.grad(y, x, output_gradient)
        if step >= 1000:
            along_y += (gradient * y.detach()).sum(0)
            along_1 += gradient.sum(0)
            size += output_gradient.abs().sum(0)
    assert torch.all(along_1.abs() < 0.01 * size)
    assert torch.all(along_y.abs() < 0.02 * size)


def test_layer_scaling_divides_a_sample_by_its_root_mean_square_with_an_ordinary_gradient() -> None:
    plain, scaled = plain_norm(3), plain_norm(3)
    scaled.scaling = "layer"
    for x, g in batches((3, 4), 5, 2):
        ordinary = x.clone().requires_grad_()
        y = plain(ordinary)
        (z := y / (y.square().mean((1, 2), keepdim=True) + EPS).sqrt()).backward(g)
        x.requires_grad_()
        out = scaled(x)
        out.backward(g)
        torch.testing.assert_close(out, z)
        torch.testing.assert_close(x.grad, ordinary.grad)
        torch.testing.assert_close(out.square().mean((1, 2)), torch.ones(len(x), dtype=torch.float64), rtol=1e-3, atol=0)


def test_clamp_scaling_clamps_outliers() -> None:
    assert OnlineNorm(1, scaling="clamp")(torch.tensor([[1000.0], [-1000.0]])).tolist() == [[5.0], [-5.0]]


def test_evaluation_uses_the_running_statistics_without_updating_them() -> None:
    norm = OnlineNorm(3, scaling="clamp").double()
    for x, g in batches((3,), 4, 4):
        norm(x.requires_grad_()).backward(g)
    norm.eval()
    before = {name: getattr(norm, name).clone() for name in BUFFERS}
    ((x, g),) = batches((3,), 6, seed=1)
    x.requires_grad_()
    y = norm(x)
    torch.testing.assert_close(y, (x - norm.m) / (norm.s2 + EPS).sqrt(), rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(y, x, g)
    torch.testing.assert_close(gradient, g / (norm.s2 + EPS).sqrt(), rtol=0, atol=1e-12)
    assert all(torch.equal(value, getattr(norm, name)) for name, value in before.items())


def test_weight_and_bias_scale_and_shift_each_feature() -> None:
    norm, without = OnlineNorm(3, axis=2), OnlineNorm(3, axis=2, affine=False)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.0, -1.0, 4.0]))
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(x), without(x) * norm.weight + norm.bias)
    assert list(without.parameters()) == []


def test_buffers_and_sums_stay_in_float32_where_the_network_is_in_half_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    wide, narrow = OnlineNorm(4), OnlineNorm(4).bfloat16()
    assert {narrow.weight.dtype, narrow.bias.dtype} == {torch.bfloat16}
    for _ in range(500):
        x = (1.0 + torch.randn(2, 4, generator=generator)).bfloat16()
        g = torch.randn(2, 4, generator=generator).bfloat16()
        for norm, row in ((wide, x.float()), (narrow, x)):
            row.requires_grad_()
            out = norm(row)
            assert out.dtype == row.dtype
            out.backward(g.to(row.dtype))
    for name in BUFFERS:
        assert getattr(narrow, name).dtype == torch.float32
        torch.testing.assert_close(getattr(narrow, name), getattr(wide, name), rtol=0.02, atol=0.02)
    assert OnlineNorm(2).double().m.dtype == torch.float64


def test_a_gradient_that_overflowed_leaves_the_errors_as_they_were() -> None:
    norm = OnlineNorm(2)
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    norm(x).square().sum().backward()
    before = norm.e_y.clone(), norm.e_1.clone()
    norm(x).backward(torch.full((3, 2), math.inf))
    assert torch.equal(norm.e_y, before[0])
    assert torch.equal(norm.e_1, before[1])
    assert norm.e_y.any()


def test_copies_pickles_and_state_dicts_continue_identically() -> None:
    norm = OnlineNorm(3)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    norm(x).square().mean().backward()
    stored = io.BytesIO()
    torch.save(norm, stored)
    stored.seek(0)
    loaded = OnlineNorm(3)
    loaded.load_state_dict(norm.state_dict())
    others = [copy.deepcopy(norm), torch.load(stored, weights_only=False), loaded]
    expected = one_more_pass(norm, x)
    for other in others:
        torch.testing.assert_close(one_more_pass(other, x), expected, rtol=0, atol=0)


def one_more_pass(norm: OnlineNorm, x: Tensor) -> list[Tensor]:
    """Output, gradient and buffers after one more pass."""
    leaf = x.clone().requires_grad_()
    y = norm(leaf)
    (gradient,) = torch.autograd.grad((y * x).sum(), leaf)
    return [y, gradient, *(getattr(norm, name) for name in BUFFERS)]


@pytest.fixture(scope="module")
def dynamo() -> None:
    """Runs torch's compiler once, since it patches torch for good when it first runs."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


@pytest.mark.filterwarnings("ignore:.*Function.*should not be instantiated:DeprecationWarning")  # the compiler does that itself
@pytest.mark.usefixtures("dynamo")
def test_a_compiled_network_trains_as_the_plain_one_does() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Linear(4, 4), OnlineNorm(4), nn.ReLU(), nn.Linear(4, 2))
    copied = copy.deepcopy(plain)
    compiled = torch.compile(copied, backend="aot_eager")
    for seed in range(3):
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
        for network in (plain, compiled):
            network.zero_grad()
            network(x).square().sum().backward()
        torch.testing.assert_close([p.grad for p in copied.parameters()], [p.grad for p in plain.parameters()])
    torch.testing.assert_close(copied.state_dict(), plain.state_dict())


@pytest.mark.parametrize("shape", [(2, 4), (0, 3), (3, 2)])
def test_an_input_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises((RuntimeError, IndexError)):
        OnlineNorm(3)(torch.zeros(shape))
