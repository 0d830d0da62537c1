"""Tests of lecun-init, orthogonal-init and delta-orthogonal-init: the weights they draw, and which weights stay."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from remedy_networks import Tied, build_network, example_inputs, mlp, training_step
from state_of_network import comparable, random_state, state_snapshot
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from unvanish.errors import NotApplicable
from unvanish.remedies import Remedy, apply
from unvanish.remedies.catalogue.initialisation.critical_init import CriticalInit
from unvanish.remedies.catalogue.initialisation.delta_orthogonal_init import DeltaOrthogonalInit
from unvanish.remedies.catalogue.initialisation.lecun_init import LecunInit
from unvanish.remedies.catalogue.initialisation.lsuv_init import LsuvInit
from unvanish.remedies.catalogue.initialisation.orthogonal_init import OrthogonalInit
from unvanish.remedies.catalogue.initialisation.zero_init_residual import ZeroInitResidual
from unvanish.remedies.init.orthogonal import delta_orthogonal_, orthogonal_, semi_orthogonal
from unvanish.remedies.init.weight_scale import fans

CATALOGUE: dict[str, Remedy] = {
    each.name: each
    for each in (LecunInit(), OrthogonalInit(), CriticalInit(), DeltaOrthogonalInit(), LsuvInit(), ZeroInitResidual())
}
ROOT2 = math.sqrt(2.0)
EXACT = 1e-6


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(x)))


def taker(name: str) -> tuple[nn.Module, Tensor]:
    """A network on which the remedy of that name acts, and a batch for it."""
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "delta-orthogonal-init":
            network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3))
            return network, torch.randn(8, 2, 6, 6, generator=generator)
        blocks = (
            (Residual(), Residual()) if name == "zero-init-residual" else (nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
        )
        return nn.Sequential(*blocks, nn.Linear(6, 3)), torch.randn(8, 6, generator=generator)


def gram(matrix: Tensor) -> Tensor:
    """The products of the rows or columns, whichever are fewer."""
    wide = matrix.detach().double()
    return wide @ wide.T if wide.shape[0] <= wide.shape[1] else wide.T @ wide


def assert_orthogonal(matrix: Tensor, gain: float = 1.0) -> None:
    found = gram(matrix)
    torch.testing.assert_close(found, gain**2 * torch.eye(len(found), dtype=found.dtype), rtol=0.0, atol=EXACT * gain**2)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_is_kept(name: str, dtype: torch.dtype) -> None:
    network, batch = taker(name)
    apply(network.to(dtype), name, inputs=batch.to(dtype), catalogue=CATALOGUE)
    assert {p.dtype for p in network.parameters()} == {dtype}
    assert all(torch.isfinite(p).all() for p in network.parameters())


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_same_seed_gives_the_same_weights_and_the_programs_random_state_stays(name: str) -> None:
    one, batch = taker(name)
    other, _ = taker(name)
    third, _ = taker(name)
    other.eval()
    torch.manual_seed(5)
    before = random_state()
    apply(one, name, inputs=batch, catalogue=CATALOGUE)
    assert random_state() == before
    torch.manual_seed(6)
    apply(other, name, inputs=batch, catalogue=CATALOGUE)
    apply(third, name, inputs=batch, catalogue=CATALOGUE, seed=1)
    assert comparable(one.state_dict()) == comparable(other.state_dict())
    assert comparable(one.state_dict()) != comparable(third.state_dict())


@pytest.mark.parametrize("name", CATALOGUE)
def test_undo_restores_weights_and_optimizer_exactly(name: str) -> None:
    network, batch = taker(name)
    optimizer = torch.optim.Adam(network.parameters())
    training_step(network, optimizer, batch)
    before = state_snapshot(network, optimizer)
    change = apply(network, name, inputs=batch, optimizer=optimizer, catalogue=CATALOGUE)
    assert state_snapshot(network, optimizer) != before
    assert network[-1].weight not in optimizer.state
    training_step(network, optimizer, batch)
    change.undo()
    assert state_snapshot(network, optimizer) == before


@pytest.mark.parametrize("name", CATALOGUE)
def test_frozen_weights_stay(name: str) -> None:
    network, batch = taker(name)
    frozen = network[0].first if name == "zero-init-residual" else network[0]
    frozen.requires_grad_(False)
    kept = comparable(frozen.state_dict())
    change = apply(network, name, inputs=batch, catalogue=CATALOGUE)
    assert comparable(frozen.state_dict()) == kept
    assert {"0", "0.first"}.isdisjoint(edit.path for edit in change.edits)


@pytest.mark.parametrize("name", ["lecun-init", "orthogonal-init", "lsuv-init"])
def test_tied_weights_stay_tied_and_are_drawn_once(name: str) -> None:
    network = Tied()
    change = apply(network, name, inputs=example_inputs("tied weights"), catalogue=CATALOGUE)
    assert network.one.weight is network.two.weight
    assert [edit.path for edit in change.edits if edit.path] == ["one", "out"]


def test_lecun_draws_the_variance_of_the_paper_and_no_bias() -> None:
    network = nn.Sequential(nn.Linear(300, 500), nn.SELU(), nn.Conv2d(8, 60, 5), nn.Linear(500, 300))
    apply(network, "lecun-init", catalogue=CATALOGUE)
    for layer in (network[0], network[2], network[3]):
        fan_in, _ = fans(layer)
        assert layer.weight.std().item() * math.sqrt(fan_in) == pytest.approx(1.0, rel=0.02)
        assert not layer.bias.any()


def test_lecun_holds_the_length_of_a_selu_network_at_its_fixed_point() -> None:
    network = nn.Sequential(*(part for _ in range(30) for part in (nn.Linear(256, 256), nn.SELU())))
    apply(network, "lecun-init", catalogue=CATALOGUE)
    made = network(torch.randn(256, 256, generator=torch.Generator().manual_seed(0)))
    assert made.std().item() == pytest.approx(1.0, abs=0.1)
    assert made.mean().item() == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(("rows", "columns"), [(7, 7), (9, 4), (4, 9), (1, 5)])
def test_semi_orthogonal_matrices_are_uniform_among_all(rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([semi_orthogonal(rows, columns, generator=generator) for _ in range(2000)])
    assert_orthogonal(drawn[0])
    # A uniform one has entries of mean 0 and mean square 1 / max(rows, columns), and no sign that depends on the place.
    torch.testing.assert_close(drawn.mean(0), torch.zeros_like(drawn[0]), rtol=0.0, atol=0.06)
    torch.testing.assert_close(drawn.square().mean(0), torch.full_like(drawn[0], 1 / max(rows, columns)), rtol=0.0, atol=0.06)


@pytest.mark.parametrize(
    ("activation", "gain"), [(nn.ReLU(), ROOT2), (nn.LeakyReLU(0.5), math.sqrt(2 / 1.25)), (nn.Tanh(), 1.0), (nn.SELU(), 1.0)]
)
def test_linear_layers_become_orthogonal_times_the_gain_of_the_next_activation(activation: nn.Module, gain: float) -> None:
    network = nn.Sequential(nn.Linear(48, 48), activation, nn.Linear(48, 20), activation, nn.Linear(20, 45))
    apply(network, "orthogonal-init", catalogue=CATALOGUE)
    assert_orthogonal(network[0].weight, gain)
    assert_orthogonal(network[2].weight, gain)
    assert_orthogonal(network[4].weight, 1.5)  # sqrt(45 / 20), and no activation behind
    assert not any(layer.bias.any() for layer in (network[0], network[2], network[4]))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 40),
        nn.Linear(40, 6),
        nn.Conv1d(6, 4, 3, groups=2),
        nn.Conv2d(4, 80, 3),
        nn.Conv2d(4, 4, 4, stride=2),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ConvTranspose1d(6, 4, 4, stride=2, groups=2),
        nn.ConvTranspose2d(4, 6, 2, stride=2),
        nn.ConvTranspose3d(2, 2, 2),
    ],
    ids=repr,
)
def test_the_mean_square_of_orthogonal_weights_is_that_of_gaussian_ones(layer: nn.Module) -> None:
    network = nn.Sequential(layer.double(), nn.ReLU(), nn.Conv2d(1, 1, 1, dtype=torch.float64))
    apply(network, "orthogonal-init", catalogue=CATALOGUE)
    fan_in, _ = fans(layer)
    assert layer.weight.square().mean().item() * fan_in == pytest.approx(2.0)


def test_every_group_of_a_kernel_is_orthogonal_by_itself() -> None:
    weight = torch.empty(12, 3, 3)
    orthogonal_(weight, fan_in=9.0, gain=1.0, generator=torch.Generator().manual_seed(0), groups=2)
    for block in weight.view(2, 6, 9):
        assert_orthogonal(block)


def test_orthogonal_weights_keep_signal_and_gradient_of_a_deep_linear_network() -> None:
    network = nn.Sequential(*(nn.Linear(32, 32, dtype=torch.float64) for _ in range(200)))
    apply(network, "orthogonal-init", catalogue=CATALOGUE)
    x = torch.randn(16, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = network(x)
    assert y.norm().item() == pytest.approx(x.norm().item())
    (back,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert back.norm().item() == pytest.approx(math.sqrt(16 * 32))


@pytest.mark.parametrize(
    ("module", "gates"),
    [
        (nn.RNN(5, 8, num_layers=2, bidirectional=True), 1),
        (nn.LSTM(5, 8), 4),
        (nn.LSTM(5, 8, proj_size=3), 4),
        (nn.GRU(5, 8), 3),
        (nn.RNNCell(5, 8), 1),
        (nn.LSTMCell(5, 8, bias=False), 4),
        (nn.GRUCell(5, 8), 3),
    ],
    ids=repr,
)
def test_recurrent_blocks_are_orthogonal_for_each_gate(module: nn.Module, gates: int) -> None:
    before = {name: p.clone() for name, p in module.named_parameters()}
    change = apply(module, "orthogonal-init", catalogue=CATALOGUE)
    assert [edit.action for edit in change.edits] == ["initialise"]
    for name, parameter in module.named_parameters():
        if name.startswith("weight_hh"):
            for block in parameter.chunk(gates):
                assert_orthogonal(block)
        elif name.startswith("weight_hr"):
            assert_orthogonal(parameter)
        elif name.startswith("weight_ih"):
            bound = math.sqrt(6 / (parameter.shape[1] + 8))
            assert 0.8 * bound < parameter.abs().max() <= bound
        else:
            assert torch.equal(parameter, before[name])


def test_a_recurrent_state_keeps_its_length_where_torchs_default_shrinks_it() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.RNN(4, 64, bias=False)
    start = 1e-3 * torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(0))  # where tanh is linear
    silence = torch.zeros(100, 1, 4)
    assert module(silence, start)[1].norm() < 1e-6 * start.norm()
    apply(module, "orthogonal-init", catalogue=CATALOGUE)
    assert module(silence, start)[1].norm().item() == pytest.approx(start.norm().item(), rel=1e-3)


def test_frozen_and_computed_recurrent_weights_stay() -> None:
    module = parametrizations.weight_norm(nn.RNN(4, 4), "weight_hh_l0")
    module.weight_ih_l0.requires_grad_(False)
    with pytest.raises(NotApplicable, match="no Linear or convolution"):
        apply(module, "orthogonal-init", catalogue=CATALOGUE)


def test_feed_forward_and_recurrent_parts_are_initialised_together() -> None:
    network = nn.ModuleDict({"read": nn.Linear(4, 4), "time": nn.GRU(4, 4)})
    assert [edit.path for edit in apply(network, "orthogonal-init", catalogue=CATALOGUE).edits] == ["read", "time"]


@pytest.mark.parametrize(("inner", "outer", "groups"), [(6, 6, 1), (6, 6, 2), (4, 9, 1)])
def test_a_delta_orthogonal_kernel_preserves_norms_on_periodic_padding(inner: int, outer: int, groups: int) -> None:
    weight = torch.empty(outer, inner // groups, 3, 5, dtype=torch.float64)
    delta_orthogonal_(weight, gain=1.0, generator=torch.Generator().manual_seed(0), groups=groups)
    x = torch.randn(2, inner, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = F.conv2d(F.pad(x, (2, 2, 1, 1), mode="circular"), weight, groups=groups)
    # Every input of its own, not on average alone; a layer that widens keeps the mean square, so its norm grows.
    torch.testing.assert_close(y.norm(dim=1), math.sqrt(outer / inner) * x.norm(dim=1))
    assert weight.count_nonzero() <= outer * inner // groups


def test_convolutions_become_delta_orthogonal_and_the_edit_says_which_cannot() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3),
        nn.Conv2d(4, 4, 2),
        nn.ConvTranspose2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(36, 4),
    )
    changed = {edit.path: edit.after for edit in apply(network, "delta-orthogonal-init", catalogue=CATALOGUE).edits}
    assert changed == {
        "0": "delta-orthogonal, gain 1.41; bias 0",
        "2": "orthogonal, gain 1 (no delta kernel: fewer outputs than inputs); bias 0",
        "3": "orthogonal, gain 1 (no delta kernel: an even kernel has no centre); bias 0",
        "4": "orthogonal, gain 1 (no delta kernel: transposed); bias 0",
        "6": "orthogonal, gain 1; bias 0",
    }
    centre = network[0].weight[:, :, 1, 1]
    assert_orthogonal(centre, ROOT2 * math.sqrt(8 / 3))
    assert network[0].weight.count_nonzero() == centre.count_nonzero()
    assert_orthogonal(network[2].weight.flatten(1))


def test_delta_orthogonal_layers_keep_every_frequency_where_ordinary_kernels_blur() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular", bias=False, dtype=torch.float64) for _ in range(60))
    )
    x = torch.randn(1, 8, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def kept_of_each_frequency() -> Tensor:
        return torch.fft.fft2(network(x)).norm(dim=1) / torch.fft.fft2(x).norm(dim=1)

    apply(network, "orthogonal-init", catalogue=CATALOGUE)
    assert kept_of_each_frequency().max() > 30 * kept_of_each_frequency().min()
    apply(network, "delta-orthogonal-init", catalogue=CATALOGUE)
    torch.testing.assert_close(kept_of_each_frequency(), torch.ones(1, 8, 8, dtype=torch.float64))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (mlp(), "no trainable convolution"),
        (nn.Sequential(nn.Conv2d(4, 2, 3), nn.ConvTranspose2d(2, 4, 3)), "fewer outputs.*transposed"),
    ],
    ids=["no convolution", "none that can"],
)
def test_delta_orthogonal_is_refused_where_no_kernel_fits(network: nn.Module, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason + ".*use orthogonal-init"):
        apply(network, "delta-orthogonal-init", catalogue=CATALOGUE)


def test_the_shared_layer_of_a_loop_is_orthogonal_like_any_other() -> None:
    network = build_network("shared layer")
    apply(network, "orthogonal-init", catalogue=CATALOGUE)
    assert_orthogonal(network.layer.weight)
