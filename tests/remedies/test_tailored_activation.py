"""tailored-activation: the module, the kernel shape of networks, and tailored networks measured against theory."""

from __future__ import annotations

import copy
import functools
import math
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations

from unvanish.errors import NotApplicable
from unvanish.record.network_changes import Change
from unvanish.remedies import apply
from unvanish.remedies.catalogue.activation.tailored_activation import TailoredActivations
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.layers.tailored import TAILORABLE, TailoredActivation, tailored
from unvanish.remedies.structure.kernel_shape import kernel_shape
from unvanish.theory import mean_field_maps
from unvanish.theory.kernel_shaping import ShapedActivation, leaky_correlation, tat, tat_leaky_relu
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity
from unvanish.theory.shaped_networks import Layers, Network, Residual, Sequential, compose_map

HALF, TWO_THIRDS = math.sqrt(1 / 2), math.sqrt(2 / 3)
WIDE = 400
SMOOTH = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softsign": nn.Softsign,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "elu": nn.ELU,
}


class Block(nn.Module):
    """x + b(act(a(x)))."""

    def __init__(self, width: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(width, width), nn.Linear(width, width), activation()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.act(self.a(x)))


class PreActivation(Block):
    """Activations first, and the sum written in place."""

    def __init__(self, width: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__(width, activation)
        self.first = activation()

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.act(self.a(self.first(x))))
        y += x
        return y


class Projected(PreActivation):
    """Both paths begin with the same activation."""

    def __init__(self, width: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__(width, activation)
        self.skip = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.skip(x) - self.b(self.act(self.a(x)))


class Uneven(Projected):
    """A path of one layer beside one of two."""

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(self.first(x)) + self.b(self.act(self.a(self.act_too(x))))

    def __init__(self, width: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__(width, activation)
        self.act_too = nn.Sequential(nn.Linear(width, width), activation())


class FunctionalCalls(nn.Module):
    """Activations as functional calls alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(torch.tanh(self.a(F.silu(x))))


def deep_network(depth: int, activation: Callable[[], nn.Module], *, width: int = 6, out: int = 3) -> nn.Sequential:
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, out))


def residual_network(
    kind: Callable[..., nn.Module], count: int, activation: Callable[[], nn.Module], *, width: int = 6
) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), *(kind(width, activation) for _ in range(count)), nn.Linear(width, 3))


def tailor(network: nn.Module, **options: object) -> Change:
    return apply(network, "tailored-activation", catalogue={"tailored-activation": TailoredActivations()}, **options)  # pyright: ignore


def shape_from(graph: ForwardGraph) -> Network:
    return kernel_shape(graph, {position for position, _ in graph.activations()}).network


# The module


@pytest.mark.parametrize("name", SMOOTH)
def test_the_function_equals_the_theorys_formula(name: str) -> None:
    expected = ShapedActivation(nonlinearity(name), 0.3, -0.7, 2.5, 0.4)
    x = torch.linspace(-9, 9, 101, dtype=torch.float64)
    y = tailored(x, phi=name, alpha=0.3, beta=-0.7, gamma=2.5, delta=0.4)
    torch.testing.assert_close(y, torch.from_numpy(expected.nonlinearity().function(x.numpy())), rtol=1e-9, atol=1e-8)


def test_the_module_is_the_function_and_shows_its_arguments() -> None:
    module = TailoredActivation("leaky_relu", negative_slope=1 / 3, gamma=math.pi)
    x = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(module(x), math.pi * F.leaky_relu(x, 1 / 3))
    assert module.gamma == math.pi
    assert repr(module) == "TailoredActivation('leaky_relu', gamma=3.141592653589793, negative_slope=0.3333333333333333)"


def test_the_module_copies_pickles_and_traces_and_refuses_unknown_activations() -> None:
    module = TailoredActivation("sigmoid", alpha=0.16, beta=1.05, gamma=31.9, delta=-0.74)
    x = torch.linspace(-2, 2, 9)
    graph = fx.symbolic_trace(nn.Sequential(module))
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), graph):
        assert torch.equal(other(x), module(x))
    assert [node.target for node in graph.graph.nodes][1] is tailored
    assert "tanh" in TAILORABLE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_exact_as_its_input(dtype: torch.dtype) -> None:
    module = TailoredActivation("sigmoid", alpha=0.1633, beta=1.052, gamma=31.88, delta=-0.7416)
    x = torch.linspace(-3, 3, 200).to(dtype)
    assert module(x).dtype == dtype
    torch.testing.assert_close(module(x).float(), module(x.float()), rtol=torch.finfo(dtype).eps, atol=1e-6)


# The shape


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (deep_network(3, nn.Tanh), Layers(3)),
        (nn.Sequential(nn.Tanh(), nn.Linear(6, 6), nn.Dropout(), nn.ReLU(), nn.Linear(6, 3)), Layers(2)),
        (residual_network(Block, 2, nn.Tanh), Sequential((Residual(Layers(1), HALF), Residual(Layers(1), TWO_THIRDS)))),
        (residual_network(PreActivation, 2, nn.Tanh), Sequential((Residual(Layers(2), HALF), Residual(Layers(2), TWO_THIRDS)))),
        (residual_network(Projected, 1, nn.Tanh), Sequential((Layers(1), Residual(Layers(1), HALF)))),
        (residual_network(Uneven, 1, nn.Tanh), Sequential((Layers(1), Residual(Layers(1), HALF)))),
        (nn.Sequential(deep_network(2, nn.Tanh, out=6), Block(6, nn.Tanh)), Sequential((Layers(2), Residual(Layers(1), HALF)))),
        (
            nn.Sequential(nn.Linear(6, 6), Block(6, functools.partial(Block, 6, nn.Tanh))),
            Residual(Residual(Layers(1), HALF), math.sqrt(1 / 3)),
        ),
    ],
)
def test_the_shape_of_a_network(network: nn.Module, expected: Network) -> None:
    shape = shape_from(trace_graph(network))
    assert rounded(shape) == rounded(expected)
    assert rounded(shape_from(trace_graph(network, torch.zeros(2, 6)))) == rounded(expected)


def rounded(network: Network) -> object:
    """A network as values that can be compared, with rounded weights."""
    match network:
        case Layers(count):
            return count
        case Sequential(parts):
            return [rounded(part) for part in parts]
        case Residual(branch, w):
            return round(w, 12), rounded(branch)


def test_the_deepest_of_two_heads_counts() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.short, self.long = deep_network(2, nn.Tanh, out=6), deep_network(1, nn.Tanh), deep_network(4, nn.Tanh)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            x = torch.relu(self.body(x))
            return {"a": self.short(x), "b": torch.softmax(self.long(x).mean(0), -1)}

    assert shape_from(trace_graph(Heads())) == Layers(7)


def test_embeddings_scaling_and_reshaping_of_the_input_change_nothing() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places, self.body = nn.Embedding(9, 3), nn.Embedding(2, 3), deep_network(2, nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            h = (self.words(x) + self.places.weight) * 0.7
            return self.body(h.view(h.size(0), -1))

    assert shape_from(trace_graph(Words(), torch.zeros(4, 2, dtype=torch.long))) == Layers(2)


def test_convolutions_pooling_and_flattening_are_supported() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 8, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 4),
        nn.ReLU(),
        nn.Linear(4, 2),
    )
    assert shape_from(trace_graph(network)) == Layers(3)
    assert [edit.after for edit in tailor(network).edits if edit.action == "initialise"] == [
        f"{kind}, gain 1; bias 0" for kind in ("delta-orthogonal", "orthogonal", "orthogonal", "orthogonal")
    ]


# The tailored network


@pytest.mark.parametrize(("depth", "slope"), [(50, 0.4305), (100, 0.5704)])
def test_rectifiers_get_the_published_slope(depth: int, slope: float) -> None:
    network = deep_network(depth, nn.ReLU)
    change = tailor(network)
    numbers = network[1].settings
    assert change.edits[0].after == repr(network[1])
    assert numbers == {"negative_slope": pytest.approx(slope, abs=5e-5)}
    assert network[1].gamma == pytest.approx(math.sqrt(2 / (1 + numbers["negative_slope"] ** 2)), rel=1e-8)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_get_theorys_own_numbers(name: str) -> None:
    network, expected = deep_network(20, SMOOTH[name]), tat(nonlinearity(name), Layers(20))
    tailor(network)
    module = network[1]
    assert isinstance(module, TailoredActivation)
    numbers = (expected.alpha, expected.beta, expected.gamma, expected.delta)
    assert module.phi == name
    assert (module.alpha, module.beta, module.gamma, module.delta) == pytest.approx(numbers, rel=1e-8)  # as float32 holds them


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU])
def test_leaky_relatives_of_relu_are_treated_alike(activation: Callable[[], nn.Module]) -> None:
    network = deep_network(30, activation)
    tailor(network)
    assert network[1].settings["negative_slope"] == pytest.approx(dict(tat_leaky_relu(Layers(30)).phi.settings)["slope"], rel=1e-8)


def test_calls_in_forward_are_tailored_as_modules_are() -> None:
    network = nn.Sequential(nn.Linear(6, 6), FunctionalCalls(6), FunctionalCalls(6), nn.Linear(6, 2))
    change = tailor(network)
    solved = {
        name: tat(
            nonlinearity(name), shape_from(trace_graph(nn.Sequential(nn.Linear(6, 6), FunctionalCalls(6), FunctionalCalls(6))))
        )
        for name in ("silu", "tanh")
    }

    def run(x: Tensor) -> Tensor:
        x = network[0](x)
        for length, block in ((1.0, network[1]), (2.0, network[2])):
            x = x + block.b(act(block.a(act(x, "silu", length)), "tanh", 1.0))
        return network[3](x)

    def act(x: Tensor, name: str, length: float) -> Tensor:
        tailored_phi = solved[name]
        return tailored_phi.gamma * (
            getattr(F, name)(tailored_phi.alpha * x / math.sqrt(length) + tailored_phi.beta) + tailored_phi.delta
        )

    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(x), run(x))
    torch.testing.assert_close(copy.deepcopy(network)(x), run(x))
    change.undo()
    torch.testing.assert_close(network[1](x), x + network[1].b(torch.tanh(network[1].a(F.silu(x)))))


KINDS = {"block": Block, "pre": PreActivation, "projected": Projected, "uneven": Uneven}


@pytest.mark.parametrize("name", ["tanh", "silu", "softplus"])
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_outputs_of_every_activation_have_the_expected_mean_square(kind: str, name: str) -> None:
    network = residual_network(KINDS[kind], 6, SMOOTH[name], width=WIDE)
    generator = torch.Generator().manual_seed(0)
    sizes: list[tuple[float, float]] = []
    tailor(network)
    alphas = {module.alpha for module in network.modules() if isinstance(module, TailoredActivation)}

    def note(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(module, TailoredActivation)
        sizes.append((args[0].square().mean().item() * (module.alpha / max(alphas)) ** 2, output.square().mean().item()))

    for module in network.modules():
        if isinstance(module, TailoredActivation):
            module.register_forward_hook(note)
    with torch.no_grad():
        out = network(torch.randn(64, WIDE, generator=generator))
    assert len(sizes) >= 6
    for read, written in sizes:
        assert read == pytest.approx(1.0, rel=0.1)
        assert written == pytest.approx(1.0, rel=0.1)
    assert out.square().mean().item() == pytest.approx(1.0, rel=0.5)


def mean_correlation(build: Callable[[], nn.Sequential], *, seeds: int) -> float:
    """The mean correlation, before the output layer, of inputs that are orthogonal to each other."""
    rows = torch.linalg.qr(torch.randn(WIDE, 24, generator=torch.Generator().manual_seed(0)))[0].T * math.sqrt(WIDE)
    correlations: list[Tensor] = []
    for seed in range(seeds):
        network = build()
        tailor(network, seed=seed)
        with torch.no_grad():
            out = F.normalize(network[:-1](rows))
        correlations.append((out @ out.T)[~torch.eye(len(rows), dtype=torch.bool)].mean())
    return torch.stack(correlations).mean().item()


@pytest.mark.parametrize(("kind", "expected"), [("block", 0.3805), ("pre", 0.5277), ("projected", 0.8504)])
def test_a_wide_network_correlates_inputs_as_its_shape_predicts(kind: str, expected: float) -> None:
    build = functools.partial(residual_network, KINDS[kind], 6, nn.ReLU, width=WIDE)
    shape = shape_from(trace_graph(build()))
    slope = dict(tat_leaky_relu(shape).phi.settings)["slope"]
    assert compose_map(shape, functools.partial(leaky_correlation, slope=slope))(0.0) == pytest.approx(expected, abs=1e-4)
    assert mean_correlation(build, seeds=4) == pytest.approx(expected, abs=0.05)  # with w^2 = 1/2 each time 0.57, 0.73


def test_a_wide_deep_chain_correlates_inputs_as_the_paper_asks() -> None:
    assert mean_correlation(functools.partial(deep_network, 50, nn.ReLU, width=WIDE), seeds=2) == pytest.approx(0.9, abs=0.03)


def test_gradients_neither_fade_nor_grow_over_two_hundred_layers() -> None:
    for activation in (nn.Sigmoid, nn.ReLU):
        network = deep_network(200, activation, width=64)
        tailor(network)
        network(torch.randn(32, 64, generator=torch.Generator().manual_seed(0))).square().mean().backward()
        sizes = torch.stack([layer.weight.grad.norm().log10() for layer in network if isinstance(layer, nn.Linear)])
        assert (sizes[0] - sizes[-2]).abs() < 1.0  # decades; at torch's default more than 40


def test_fifty_layers_of_sigmoid_learn_digits() -> None:
    data = load_digits()
    x, y = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    network = nn.Sequential(nn.Linear(64, 32), deep_network(49, nn.Sigmoid, width=32, out=10))
    tailor(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(60):
        rows = torch.randperm(len(x), generator=order)[:128]
        optimizer.zero_grad()
        F.cross_entropy(network(x[rows]), y[rows]).backward()
        optimizer.step()
    assert (network(x).argmax(1) == y).float().mean() > 0.8


def test_activations_of_several_kinds_are_each_tailored() -> None:
    network = nn.Sequential(
        nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid()
    )
    tailor(network)
    assert [network[at].phi for at in (1, 3, 5)] == ["tanh", "gelu", "leaky_relu"]
    assert isinstance(network[7], nn.Sigmoid)


@pytest.mark.parametrize("phi", ["tanh", "gelu"])
def test_signals_of_the_tailored_activation_keep_their_length_and_gradient(phi: str) -> None:
    network = deep_network(30, SMOOTH[phi])
    tailor(network)
    module = network[1]
    tailored_phi: Nonlinearity = ShapedActivation(
        nonlinearity(phi), module.alpha, module.beta, module.gamma, module.delta
    ).nonlinearity()
    assert mean_field_maps.length(1.0, tailored_phi, sw2=1.0) == pytest.approx(1.0, abs=1e-6)
    assert mean_field_maps.gain(1.0, tailored_phi, sw2=1.0) == pytest.approx(1.0, abs=1e-6)


# Refusals


class Wrapped(nn.Module):
    """Layers around a body that a function computes."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor], activation: Callable[[], nn.Module] = nn.Tanh) -> None:
        super().__init__()
        self.run = run
        self.fc, self.act, self.other = nn.Linear(6, 6), activation(), nn.Linear(6, 6)
        self.norm, self.scale = nn.LayerNorm(6), nn.Parameter(torch.ones(()))
        self.last, self.out = nn.Tanh(), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.last(self.run(self, x)))


def deep(run: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Wrapped(run)


def frozen() -> nn.Module:
    network = deep_network(3, nn.Tanh)
    network[2].weight.requires_grad_(False)
    return network


def tied() -> nn.Module:
    network = deep_network(3, nn.Tanh)
    network[2].weight = network[0].weight
    return network


REFUSED: list[tuple[str, Callable[[], nn.Module], str]] = [
    ("normalisation", deep(lambda m, x: m.norm(m.fc(x))), "normalises, which fixes the scale"),
    ("recurrence", deep(lambda m, x: m.fc(m.act(m.fc(x)))), "'fc' runs several times"),
    ("gate", deep(lambda m, x: m.fc(x) * torch.sigmoid(m.other(x))), "multiplies signals"),
    ("attention", deep(lambda m, x: m.fc(x) @ m.other(x).T @ x), "matmul in the network itself is no Linear"),
    ("concatenation", deep(lambda m, x: torch.cat([m.fc(x), m.other(x)])), "no theory of what cat"),
    ("scaled skip", deep(lambda m, x: x + 0.1 * m.fc(x)), "scales or shifts a signal"),
    ("learned scale", deep(lambda m, x: x + m.scale * m.fc(x)), "scales or shifts a signal"),
    (
        "dependent sum",
        deep(lambda m, x: (h := m.fc(x)) + F.dropout(h)),
        "depend on each other",
    ),
    ("input added twice", deep(lambda m, x: (h := m.fc(x)) + m.other(h) + h), "depend on each other"),
    ("activations added", deep(lambda m, x: (h := m.act(m.fc(x))) + m.last(m.other(h))), "results of two activations"),
    ("shared weights", tied, "shared with another layer"),
    ("frozen weights", frozen, "are frozen"),
    ("weight norm", lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 6)), *deep_network(1, nn.Tanh)), "weight_norm"),
    ("hard activation", lambda: deep_network(3, nn.Hardtanh), "slope that jumps"),
    ("scaled exponential", lambda: deep_network(3, nn.SELU), "slope that jumps"),
    ("no formula", lambda: deep_network(3, nn.LogSigmoid), "has no formula here"),
    ("no hidden activation", lambda: nn.Sequential(nn.Linear(6, 2), nn.Sigmoid()), "no hidden activation"),
    (
        "one activation for all blocks",
        lambda: residual_network(Block, 2, functools.partial(lambda act: act, nn.Tanh())),
        "several places",
    ),
    ("unknown settings", deep(lambda m, x: F.elu(m.fc(x), 0.3)), "settings that are not known"),
]


@pytest.mark.parametrize(("build", "reason"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_networks_without_theory_are_refused_with_the_reason(build: Callable[[], nn.Module], reason: str) -> None:
    network = build()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(NotApplicable, match=f"tailored-activation: .*{reason}.*; .*"):
        tailor(network)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_a_forward_that_cannot_be_traced_needs_inputs() -> None:
    class Branching(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(-x if x.sum() > 0 else x)

    network = Branching(*deep_network(3, nn.Tanh))
    with pytest.raises(NotApplicable, match="pass inputs="):
        tailor(network)
    tailor(network, inputs=torch.ones(2, 6))
    assert isinstance(network[1], TailoredActivation)


def test_a_tailored_network_is_not_tailored_again() -> None:
    for network in (deep_network(3, nn.Tanh), nn.Sequential(nn.Linear(6, 6), FunctionalCalls(6), nn.Linear(6, 2))):
        tailor(network)
        with pytest.raises(NotApplicable, match="has tailored activations"):
            tailor(network)


def test_anything_may_follow_the_last_tailored_activation() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.norm = deep_network(3, nn.Tanh, out=6), nn.LayerNorm(6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.body(x))
            return torch.cat([x * torch.sigmoid(x), x], -1)

    network = Gated()
    tailor(network)
    assert isinstance(network.body[1], TailoredActivation)
