"""Tests of zero-init-residual: which branches are found, that every block starts as the identity, and Fixup's scale."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from remedy_networks import Block, Gated, Listed, build_network, mlp
from state_of_network import comparable, state_snapshot
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from unvanish.errors import NotApplicable
from unvanish.remedies import Remedy, apply
from unvanish.remedies.catalogue.initialisation.zero_init_residual import ZeroInitResidual, fixup_factor
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.structure.branches import residual_branches

CATALOGUE: dict[str, Remedy] = {"zero-init-residual": ZeroInitResidual()}
WIDTH = 8


class Branch(nn.Module):
    """x + f(x), with f given."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.f = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class Bottleneck(nn.Module):
    """A block of a ResNet, with a projection where the number of channels changes, and a sum in place."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer)
        self.conv2, self.bn2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer)
        self.down = nn.Sequential(nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer)) if inner != outer else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += x if self.down is None else self.down(x)
        return F.relu(out)


class Parallel(nn.Module):
    """Attention and feed-forward beside each other, from one norm, each with a scale that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.scale = nn.LayerNorm(WIDTH), nn.Parameter(torch.ones(WIDTH))
        self.attend = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.up, self.down, self.drop = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH), nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.norm(x)
        return x + self.scale * self.attend(y, y, y, attn_mask=mask)[0] + self.drop(self.down(F.gelu(self.up(y))))


class Excited(nn.Module):
    """Squeeze and excitation at the end of the branch: a product, of which one factor is a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.gate = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(F.silu(self.one(x)))
        return x + torch.sigmoid(self.gate(y)) * y


class Highway(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.map = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        g = torch.sigmoid(self.gate(x))
        return g * x + (1 - g) * torch.tanh(self.map(x))


class HandWritten(nn.Module):
    """A recurrence in a loop: its sums are no residual ones, though one side is a single layer."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.again = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        h = x[:, 0]
        for t in range(1, 4):
            h = torch.tanh(self.read(x[:, t]) + self.again(h))
        return h


class Masked(nn.Module):
    """A branch that takes a mask besides the signal."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Linear(WIDTH, WIDTH), Parallel()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.block(self.stem(x), mask.bool())


def linear() -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH)


def batch(*shape: int) -> Tensor:
    return torch.randn(*(shape or (5, WIDTH)), generator=torch.Generator().manual_seed(7))


def zeroed(network: nn.Module) -> list[str]:
    """The paths of the modules whose parameters are all zero."""
    own = [(path, list(module.parameters(recurse=False))) for path, module in network.named_modules()]
    return [path for path, parameters in own if parameters and not any(p.any() for p in parameters)]


@pytest.mark.parametrize(
    ("block", "x", "ends"),
    [
        (Branch(linear(), nn.ReLU(), linear()), batch(), ["f.2"]),
        (Branch(linear(), nn.GELU(), linear(), nn.Dropout(0.5)), batch(), ["f.2"]),
        (Branch(linear(), nn.Tanh()), batch(), ["f.0"]),
        (Branch(nn.LayerNorm(WIDTH), linear(), nn.ReLU(), linear()), batch(), ["f.3"]),
        (Branch(linear(), nn.ReLU(), linear(), nn.LayerNorm(WIDTH)), batch(), ["f.3"]),
        (Branch(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)), batch(2, 3, 4, 4), ["f.1"]),
        (Parallel(), batch(2, 5, WIDTH), ["attend.out_proj", "down"]),
        (Excited(), batch(), ["two"]),
        (
            nn.TransformerEncoderLayer(WIDTH, 2, 16, norm_first=True, batch_first=True),
            batch(2, 5, WIDTH),
            ["self_attn.out_proj", "linear2"],
        ),
    ],
)
def test_a_block_is_the_identity_at_the_start_and_learns(block: nn.Module, x: Tensor, ends: list[str]) -> None:
    assert not torch.allclose(block.eval()(x), x)
    changed = [edit.path for edit in apply(block, "zero-init-residual", catalogue=CATALOGUE).edits if edit.after.startswith("zero")]
    assert sorted(changed) == sorted(ends)
    assert set(ends) <= set(zeroed(block))
    torch.testing.assert_close(block(x), x)
    block.train()(x).square().sum().backward()
    for path in ends:
        assert block.get_submodule(path).weight.grad.any()


def test_a_branch_inside_a_branch_starts_at_zero_too_and_learns() -> None:
    network = Branch(Branch(linear(), nn.ReLU(), linear()), linear())
    apply(network, "zero-init-residual", catalogue=CATALOGUE)
    assert zeroed(network) == ["f.0.f.2", "f.1"]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        network(batch()).square().mean().backward()
        optimizer.step()
    assert zeroed(network) == []


def test_a_resnet_starts_without_its_blocks_as_in_the_paper() -> None:
    network = nn.Sequential(Bottleneck(4, 4), Bottleneck(4, 6), Bottleneck(6, 6), nn.Flatten(), nn.Linear(96, 3))
    kept = comparable({name: value for name, value in network.state_dict().items() if "bn2" not in name})
    change = apply(network, "zero-init-residual", catalogue=CATALOGUE)
    assert [edit.path for edit in change.edits] == ["0.bn2", "1.bn2", "2.bn2"]
    assert comparable({name: value for name, value in network.state_dict().items() if "bn2" not in name}) == kept
    x = batch(4, 4, 4, 4)
    torch.testing.assert_close(network[0](x), F.relu(x))
    torch.testing.assert_close(network[1](x), F.relu(network[1].down(x)))


def test_every_layer_of_torchs_transformers_starts_as_its_norms() -> None:
    network = nn.Transformer(WIDTH, 2, 2, 2, 16, batch_first=True)
    changed = {edit.path for edit in apply(network, "zero-init-residual", catalogue=CATALOGUE).edits}
    assert len(changed) == 2 * 2 + 2 * 3
    assert changed == set(zeroed(network))
    layer, x = network.encoder.layers[0], batch(2, 5, WIDTH)
    torch.testing.assert_close(layer(x), layer.norm2(layer.norm1(x)))


def test_branches_without_normalisation_are_scaled_after_fixup() -> None:
    blocks = [Branch(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)) for _ in range(4)]
    network = nn.Sequential(nn.Linear(WIDTH, 256), *blocks, nn.Linear(256, 3))
    stem = network[0].weight.clone()
    apply(network, "zero-init-residual", catalogue=CATALOGUE)
    expected = math.sqrt(2 / 256) * 4 ** (-1 / 4)  # L = 4, m = 3
    for block in blocks:
        for at in (0, 2):
            assert block.f[at].weight.std().item() == pytest.approx(expected, rel=0.02)
            assert not block.f[at].bias.any()
    assert zeroed(network) == ["1.f.4", "2.f.4", "3.f.4", "4.f.4", "5"]
    assert torch.equal(network[0].weight, stem)


def test_fixups_factor_is_that_of_the_paper() -> None:
    assert fixup_factor(branches=100, layers=2) == pytest.approx(0.1)
    assert fixup_factor(branches=16, layers=3) == pytest.approx(0.5)
    assert fixup_factor(branches=9, layers=1) == 1.0


def test_a_sum_that_is_normalised_needs_no_fixup() -> None:
    network = nn.Sequential(Branch(linear(), nn.ReLU(), linear()), nn.LayerNorm(WIDTH), linear())
    assert [edit.path for edit in apply(network, "zero-init-residual", catalogue=CATALOGUE).edits] == ["0.f.2"]


def test_a_deep_residual_network_without_normalisation_no_longer_explodes() -> None:
    blocks = [Branch(linear(), nn.ReLU(), linear()) for _ in range(100)]
    network = nn.Sequential(*blocks, linear())
    apply(network, "he-init")
    assert network(batch()).abs().max() > 1e6
    apply(network, "zero-init-residual", catalogue=CATALOGUE)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (network(batch()) - batch().flip(1)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_branch_is_found_past_other_inputs_of_its_own() -> None:
    network = Masked()
    changed = [edit.path for edit in apply(network, "zero-init-residual", catalogue=CATALOGUE).edits]
    assert changed == ["block.attend.out_proj", "block.down"]


def test_a_forward_that_cannot_be_traced_needs_inputs_for_branches() -> None:
    class Branching(Branch):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(-x if x.sum() > 0 else x)

    network = Branching(linear(), nn.ReLU(), linear())
    with pytest.raises(NotApplicable, match=r"could not be traced.*pass inputs="):
        apply(network, "zero-init-residual", catalogue=CATALOGUE)
    apply(network, "zero-init-residual", inputs=batch(), catalogue=CATALOGUE)
    assert zeroed(network) == ["f.2"]


def shared_end() -> nn.Module:
    last = linear()
    return nn.Sequential(last, Branch(linear(), nn.ReLU(), last))


def tied_end() -> nn.Module:
    network = nn.Sequential(linear(), Branch(linear(), nn.ReLU(), linear()))
    network[0].weight = network[1].f[2].weight
    return network


def frozen_end() -> nn.Module:
    network = Branch(linear(), nn.ReLU(), linear())
    network.f[2].bias.requires_grad_(False)
    return network


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (mlp(), "no residual sum.*he-init"),
        (Listed(), "no residual sum"),
        (Gated(), "no residual sum"),
        (Highway(), "no residual sum"),
        (HandWritten(), "no residual sum"),
        (nn.LSTM(3, 3), "could not be traced"),
        (Block(6), "sigmoid in bend at the end.*no sigmoid or rectifier behind.*residual"),
        (Branch(linear(), nn.ReLU()), "relu in f.1 at the end"),
        (Branch(linear(), nn.LayerNorm(WIDTH, elementwise_affine=False)), "layernorm in f.1"),
        (Branch(parametrizations.weight_norm(linear())), "a trainable layer of its own"),
        (shared_end(), "a trainable layer of its own"),
        (tied_end(), "a trainable layer of its own"),
        (frozen_end(), "a trainable layer of its own"),
        (build_network("nested"), "no residual branch of Nested can start at zero"),
    ],
    ids=repr,
)
def test_it_is_refused_where_no_branch_can_start_at_zero(network: nn.Module, reason: str) -> None:
    before = state_snapshot(network)
    with pytest.raises(NotApplicable, match="zero-init-residual: .*" + reason):
        apply(network, "zero-init-residual", catalogue=CATALOGUE)
    assert state_snapshot(network) == before


def test_a_layer_that_ends_every_branch_is_zeroed_once() -> None:
    last = linear()
    network = nn.Sequential(*(Branch(linear(), nn.ReLU(), last) for _ in range(3)))
    zeros = [edit for edit in apply(network, "zero-init-residual", catalogue=CATALOGUE).edits if edit.after.startswith("zero")]
    assert [edit.path for edit in zeros] == ["0.f.2"]


def test_an_output_layer_that_a_rectifier_follows_is_not_zeroed() -> None:
    network = nn.Sequential(Branch(linear(), nn.ReLU(), linear()), linear(), nn.ReLU())
    apply(network, "zero-init-residual", catalogue=CATALOGUE)
    assert zeroed(network) == ["0.f.2"]


def test_branches_are_distinguished_from_their_skips() -> None:
    layout = trace_graph(nn.Sequential(Bottleneck(4, 6), Bottleneck(6, 6)))
    branches = residual_branches(layout)
    assert [layout.steps[branch.end].path for branch in branches] == ["0.bn2", "1.bn2"]
    assert [[layout.steps[at].path for at in branch.weights(layout)] for branch in branches] == [
        ["0.conv1", "0.conv2"],
        ["1.conv1", "1.conv2"],
    ]
    assert all(branch.is_normalised for branch in branches)
