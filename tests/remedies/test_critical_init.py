"""Tests of critical-init: the scale that theory gives, measured on random networks, and refusals."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from remedy_networks import Block, Branching, Gated, example_inputs
from sklearn.datasets import load_digits
from torch import Tensor, nn

from unvanish.errors import NotApplicable, UsageError
from unvanish.remedies import Remedy, apply
from unvanish.remedies.catalogue.initialisation.critical_init import CriticalInit
from unvanish.remedies.graph.forward_graph import GraphStep
from unvanish.remedies.graph.nonlinearities import nonlinearity_of
from unvanish.remedies.graph.signal_kinds import Kind
from unvanish.theory import mean_field_maps
from unvanish.theory.initialisation import critical_initialisation
from unvanish.theory.nonlinearity import Nonlinearity, elu, leaky_relu, nonlinearity
from unvanish.tracing import trace

CATALOGUE: dict[str, Remedy] = {"critical-init": CriticalInit()}
WIDTH, DEPTH = 128, 30
ACTIVATIONS = {
    "tanh": nn.Tanh(),
    "relu": nn.ReLU(),
    "leaky-relu": nn.LeakyReLU(0.3),
    "gelu": nn.GELU(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "softsign": nn.Softsign(),
}
SETTLING = [name for name in ACTIVATIONS if "relu" not in name]
"""Those whose length has a fixed point; that of rectifiers wanders with the width."""


def chain(activation: nn.Module, *, depth: int = DEPTH, width: int = WIDTH) -> nn.Sequential:
    layers = [part for _ in range(depth - 1) for part in (nn.Linear(width, width), activation)]
    return nn.Sequential(*layers, nn.Linear(width, 10)).double()


def batch(rows: int = 64, columns: int = WIDTH) -> Tensor:
    """Inputs from another seed than the weights: one and the same would draw the same numbers for both."""
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def lengths(network: nn.Sequential, x: Tensor) -> list[float]:
    """The mean square of what each Linear layer puts out."""
    mean_squares: list[float] = []
    for module in network:
        x = module(x)
        if isinstance(module, nn.Linear):
            mean_squares.append(x.square().mean().item())
    return mean_squares


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_weights_are_orthogonal_at_the_scale_of_the_theory(name: str) -> None:
    network = chain(ACTIVATIONS[name])
    apply(network, "critical-init", catalogue=CATALOGUE)
    phi = nonlinearity(name, slope=0.3) if name == "leaky-relu" else nonlinearity(name)
    start = critical_initialisation(phi, depth=DEPTH)
    assert float(mean_field_maps.gain(start.q, phi, sw2=start.scale.sw2)) == pytest.approx(1.0)
    for layer in network[2:-1:2]:
        torch.testing.assert_close(
            layer.weight @ layer.weight.T, start.scale.sw2 * torch.eye(WIDTH, dtype=torch.float64), rtol=0.0, atol=1e-6
        )
    drawn = torch.cat([layer.bias for layer in network[2:-1:2]])
    assert drawn.square().mean().item() == pytest.approx(start.scale.sb2, rel=0.1, abs=1e-12)


@pytest.mark.parametrize("name", SETTLING)
def test_the_length_starts_at_the_fixed_point_and_stays_and_the_output_has_length_one(name: str) -> None:
    network = chain(ACTIVATIONS[name])
    x = 3.0 * batch()
    apply(network, "critical-init", inputs=x, catalogue=CATALOGUE)
    q = critical_initialisation(nonlinearity(name), depth=DEPTH).q
    mean_squares = lengths(network, x)
    assert mean_squares[0] == pytest.approx(q, rel=1e-3)
    assert all(0.8 * q < length < 1.2 * q for length in mean_squares[:-1])
    assert 0.7 < mean_squares[-1] < 1.4


@pytest.mark.parametrize("name", SETTLING)
def test_chi_is_one_as_measured_over_a_deep_random_network(name: str) -> None:
    network = chain(ACTIVATIONS[name])
    x = batch()
    apply(network, "critical-init", inputs=x, catalogue=CATALOGUE)
    hidden = network[:-1][1:]  # from the first activation's input to the last activation's output
    start = network[0](x).detach().requires_grad_()
    output = hidden(start)
    output_gradient = torch.randn(output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(output, start, output_gradient)
    # The last activation has no weights behind it, whose scale would make up for its own slope.
    slope = float(mean_field_maps.slope_moment(critical_initialisation(nonlinearity(name), depth=DEPTH).q, nonlinearity(name)))
    decades = math.log10(gradient.norm() / output_gradient.norm()) - 0.5 * math.log10(slope)
    assert decades == pytest.approx(0.0, abs=0.05)


def test_torchs_default_loses_what_critical_init_keeps() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = chain(nn.Tanh(), depth=100, width=32)
    x, y = batch(32, 32), torch.arange(32) % 10

    def lost() -> float:
        return trace(network, x, lambda out: F.cross_entropy(out, y)).total

    assert lost() < -20
    apply(network, "critical-init", inputs=x, catalogue=CATALOGUE)
    assert abs(lost()) < 0.6


def test_a_plain_tanh_network_of_a_hundred_layers_learns_from_it() -> None:
    data = load_digits()
    x = torch.tensor((data.data - data.data.mean()) / data.data.std(), dtype=torch.float32)
    y = torch.tensor(data.target)
    network = chain(nn.Tanh(), depth=100, width=32).float()
    network[0] = nn.Linear(64, 32)
    apply(network, "critical-init", inputs=x[:64], catalogue=CATALOGUE)
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        rows = torch.randint(1400, (128,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(network(x[rows]), y[rows]).backward()
        optimizer.step()
    assert (network(x[1400:]).argmax(1) == y[1400:]).float().mean() > 0.75


def test_the_cost_is_linear_in_depth_and_nothing_recurses() -> None:
    network = nn.Sequential(*(part for _ in range(2000) for part in (nn.Linear(4, 4), nn.Tanh())), nn.Linear(4, 2))
    change = apply(network, "critical-init", catalogue=CATALOGUE)
    assert len(change.edits) == 2001
    assert network(torch.ones(1, 4)).isfinite().all()


def test_activations_of_several_kinds_share_the_smallest_length() -> None:
    network = nn.Sequential(
        nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 4)
    ).double()
    x = batch(256, 64)
    apply(network, "critical-init", inputs=x, catalogue=CATALOGUE)
    q = min(critical_initialisation(nonlinearity(name), depth=4).q for name in ("tanh", "relu", "gelu"))
    assert all(0.7 * q < length < 1.4 * q for length in lengths(network, x)[:-1])
    behind_relu = network[4].weight
    assert (behind_relu.square().mean() * 64).item() == pytest.approx(2.0)


class Words(nn.Module):
    """An embedding, two signals side by side, and reshapes that take sizes of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.one, self.two, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) * 0.5
        x = torch.cat([torch.tanh(self.one(x)), torch.tanh(self.two(x))], dim=-1)
        return self.out(x.reshape(x.shape[0], x.size(1) * x.size(2)))


def test_inputs_are_measured_behind_an_embedding_and_signals_side_by_side_are_one() -> None:
    network = Words()
    tokens = torch.arange(20).reshape(10, 2) % 7
    kept = network.embed.weight.clone()
    apply(network, "critical-init", inputs=tokens, catalogue=CATALOGUE)
    assert torch.equal(network.embed.weight, kept)
    q = critical_initialisation(nonlinearity("tanh"), depth=2).q
    length = (0.5 * network.embed(tokens)).square().mean().item()
    for layer in (network.one, network.two):
        assert layer.weight.square().mean().item() * 6 == pytest.approx(q / length, rel=1e-5)


def test_convolutions_become_delta_orthogonal_where_they_can() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Tanh(),
        nn.Conv2d(8, 4, 3),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    changed = {edit.path: edit.after.split(",")[0] for edit in apply(network, "critical-init", catalogue=CATALOGUE).edits}
    assert changed == {"0": "delta-orthogonal", "2": "delta-orthogonal", "4": "orthogonal", "6": "orthogonal"}
    assert network[0].weight.count_nonzero() == 24


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Sequential(nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 3)), "critical initialisation keeps signals of sigmoid.*relu"),
        (nn.Sequential(nn.Linear(6, 6), nn.Softplus(), nn.Linear(6, 3)), "softplus.*tailored-activation"),
        (nn.Sequential(nn.Linear(6, 6), nn.Tanhshrink(), nn.Linear(6, 3)), "no formula for tanhshrink in 1.*lsuv-init"),
        (nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.ReLU(), nn.Linear(6, 3)), "relu in 2 follows another activation"),
        (nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)), "normalisation .layernorm in 1"),
        (nn.Sequential(Block(6), nn.Linear(6, 3)), "two signals are summed .add in 0.*zero-init-residual"),
        (Gated(), "two signals are multiplied .mul.*lsuv-init"),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1), "is one layer.*use orthogonal-init"),
        (nn.Linear(3, 3), "is one layer"),
        (nn.Sequential(nn.Linear(4, 4), nn.GRUCell(4, 4), nn.Linear(4, 4)), "'1' .GRUCell. is no plain layer"),
        (nn.LSTM(3, 3), "no Linear or convolution"),
        (Branching(), "could not be traced.*pass inputs="),
    ],
)
def test_networks_without_theory_are_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(NotApplicable, match="critical-init: .*" + reason):
        apply(network, "critical-init", catalogue=CATALOGUE)


def test_a_forward_that_cannot_be_traced_needs_inputs_for_critical_init() -> None:
    network = Branching()
    network.act = nn.Tanh()
    assert len(apply(network, "critical-init", inputs=example_inputs("mlp"), catalogue=CATALOGUE).edits) == 3


def test_inputs_without_a_mean_square_are_refused() -> None:
    network = chain(nn.Tanh(), depth=3)
    with pytest.raises(NotApplicable, match=r"mean square 0\.0; pass a batch"):
        apply(network, "critical-init", inputs=0 * batch(), catalogue=CATALOGUE)
    with pytest.raises(UsageError, match="cannot be run"):
        apply(network, "critical-init", inputs=batch(4, 3), catalogue=CATALOGUE)


@pytest.mark.parametrize(
    ("module", "phi"),
    [
        (nn.Tanh(), nonlinearity("tanh")),
        (nn.ReLU6(), nonlinearity("relu6")),
        (nn.LeakyReLU(0.2), leaky_relu(slope=0.2)),
        (nn.PReLU(init=0.3), leaky_relu(slope=0.3)),
        (nn.RReLU(0.1, 0.3), leaky_relu(slope=0.2)),
        (nn.ELU(0.5), elu(alpha=0.5)),
        (nn.CELU(), elu()),
        (nn.Hardtanh(), nonlinearity("hard-tanh")),
        (nn.Threshold(0.0, 0.0), nonlinearity("relu")),
        (nn.Softplus(), nonlinearity("softplus")),
        (nn.GELU(approximate="tanh"), nonlinearity("gelu")),
        (nn.SELU(), nonlinearity("selu")),
        (nn.SiLU(), nonlinearity("silu")),
        (nn.Mish(), nonlinearity("mish")),
        (nn.Hardswish(), nonlinearity("hard-swish")),
        (nn.Hardsigmoid(), nonlinearity("hard-sigmoid")),
        (nn.Softsign(), nonlinearity("softsign")),
    ],
    ids=repr,
)
def test_the_catalogues_formula_is_the_modules_function(module: nn.Module, phi: Nonlinearity) -> None:
    formula = nonlinearity_of(GraphStep("", type(module).__name__.lower(), Kind.ACTIVATION, (), module))
    assert formula is not None
    assert (formula.name, dict(formula.settings)) == (phi.name, pytest.approx(dict(phi.settings), rel=1e-6))
    x = torch.linspace(-8, 8, 1001)
    with torch.no_grad():
        expected = module.eval()(x).double()
    torch.testing.assert_close(expected, torch.from_numpy(formula.function(x.double().numpy())), rtol=1e-5, atol=5e-4)


@pytest.mark.parametrize("module", [nn.CELU(0.5), nn.Hardtanh(0.0, 1.0), nn.Threshold(1.0, 0.0), nn.Softplus(2.0), nn.LogSigmoid()])
def test_settings_without_a_formula_have_none(module: nn.Module) -> None:
    assert nonlinearity_of(GraphStep("", "", Kind.ACTIVATION, (), module)) is None
