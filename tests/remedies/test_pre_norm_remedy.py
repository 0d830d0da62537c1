"""Tests of pre-norm on torch's transformer layers and on hand-written blocks."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from state_of_network import state_snapshot
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.saved_state_mark import PREFIX


class Block(nn.Module):
    """Attention and a feed-forward part, each with its normalisation behind the sum, written in one expression each."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def mixed(self, x: Tensor) -> Tensor:
        return self.attend(x, x, x, need_weights=False)[0]


class OneLine(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.mixed(x))
        return self.norm2(x + self.feed(x))


class Stepwise(Block):
    def forward(self, x: Tensor) -> Tensor:
        a, _ = self.attend(x, x, x, need_weights=False)
        a = F.dropout(a, 0.0)
        x = a + x
        x = self.norm1(x)
        y = self.feed(x)
        x = self.norm2(x + y)
        return x


class Stack(nn.Module):
    def __init__(self, kind: type[Block], depth: int = 2) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(kind() for _ in range(depth))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


def batch() -> Tensor:
    return torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))


def pre_norm_output(network: Stack, x: Tensor) -> Tensor:
    """What the network computes with every normalisation before its branch, but for the very last."""
    blocks = [block for block in network.blocks if isinstance(block, Block)]
    for block in blocks:
        x = x + block.mixed(block.norm1(x))
        x = block.norm2(x + block.feed(x)) if block is blocks[-1] else x + block.feed(block.norm2(x))
    return network.head(x.mean(1))


@pytest.mark.parametrize("kind", [OneLine, Stepwise])
def test_hand_written_blocks_become_pre_norm_except_the_last_normalisation(kind: type[Block]) -> None:
    network = Stack(kind)
    before, expected = state_snapshot(network), pre_norm_output(network, batch())
    change = apply(network, "pre-norm", inputs=batch())
    assert torch.allclose(network(batch()), expected, atol=1e-6)
    assert torch.equal(pickle.loads(pickle.dumps(network))(batch()), network(batch()))
    assert torch.equal(copy.deepcopy(network)(batch()), network(batch()))
    change.undo()
    assert state_snapshot(network) == before
    assert all(type(block) is kind for block in network.blocks)


@pytest.mark.parametrize("kind", [OneLine, Stepwise])
def test_the_gradient_of_a_deep_stack_no_longer_shrinks(kind: type[Block]) -> None:
    torch.manual_seed(0)
    network = Stack(kind, depth=64)

    def decades() -> float:
        x = batch().requires_grad_()
        network(x).square().sum().backward()
        first, last = (
            block.get_submodule("feed.0").get_parameter("weight").grad for block in (network.blocks[0], network.blocks[-1])
        )
        assert first is not None
        assert last is not None
        decades = float(torch.log10(first.norm() / last.norm()))
        network.zero_grad()
        return decades

    before = decades()
    apply(network, "pre-norm", inputs=batch())
    assert before < -0.5
    assert abs(decades()) < abs(before) / 2


def test_torchs_layers_become_pre_norm_and_their_encoder_gets_a_final_trained_normalisation() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    network = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    optimizer = torch.optim.Adam(network.parameters())
    before = state_snapshot(network, optimizer)
    change = apply(network, "pre-norm", optimizer=optimizer)
    assert [(edit.path, edit.after) for edit in change.edits] == [
        ("layers.0", "norm_first=True"),
        ("layers.1", "norm_first=True"),
        ("norm", "LayerNorm(8)"),
    ]
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in network.parameters()}
    reference = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True), 2, nn.LayerNorm(8), False
    )
    reference.load_state_dict({key: value for key, value in network.state_dict().items() if not key.startswith(PREFIX)})
    assert torch.allclose(network(batch()), reference(batch()), atol=1e-6)
    change.undo()
    assert state_snapshot(network, optimizer) == before
    assert not layer.norm_first


def test_pre_norm_transformers_and_other_networks_are_refused_with_the_reason() -> None:
    with pytest.raises(NotApplicable, match="pre-norm already"):
        apply(nn.TransformerEncoderLayer(8, 2, 16, norm_first=True), "pre-norm")
    with pytest.raises(NotApplicable, match="no post-norm transformer"):
        apply(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), "pre-norm")
    network = Stack(OneLine)
    apply(network, "pre-norm", inputs=batch())
    (edit,) = apply(
        network, "pre-norm", inputs=batch()
    ).edits  # the last normalisation of all is left, and is turned when asked for
    assert edit.path == "blocks.1"
