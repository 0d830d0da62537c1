"""Tests of the remedy muon: which weights it trains, and its steps against torch's own Muon and AdamW."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from digits import deep_network, loss_after_training
from optimisation_remedies import CATALOGUE
from remedy_networks import Listed, Nested, Sequences, SharedLayer, Tied, cnn, example_inputs, mlp, training_step
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.optimizers import muon
from unvanish.remedies.optimizers.muon import RATE_RATIO, MuonWithAdamW, orthogonalise

needs_torch_muon = pytest.mark.skipif(muon.TORCH_MUON is None, reason="this torch has no Muon")

MATRICES = {
    Nested: ["body.0.first.weight", "body.0.second.weight", "body.1.first.weight", "body.1.second.weight"],
    Listed: ["layers.1.weight", "layers.2.weight"],
    mlp: ["2.weight"],
}


def treated(network: nn.Module, *, lr: float = 0.01) -> MuonWithAdamW:
    optimizer = Adam(network.parameters(), lr=lr)
    apply(network, "muon", optimizer=optimizer, catalogue=CATALOGUE)
    assert isinstance(optimizer, MuonWithAdamW)
    return optimizer


def matrix_names(network: nn.Module, optimizer: MuonWithAdamW) -> list[str]:
    return [name for name, p in network.named_parameters() if any(p is matrix for matrix in optimizer.matrices)]


@pytest.mark.parametrize("kind", MATRICES, ids=lambda kind: kind.__name__)
def test_muon_trains_the_weights_between_the_first_and_the_last_layer(kind) -> None:
    network = kind()
    assert matrix_names(network, treated(network)) == MATRICES[kind]


def test_muon_trains_kernels_except_grouped_and_transposed_ones() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.ConvTranspose2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    assert matrix_names(network, treated(network)) == ["1.weight"]
    with pytest.raises(NotApplicable, match="use adamw"):
        treated(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))


def test_embeddings_recurrent_layers_and_packed_attention_are_left_to_adamw() -> None:
    network = Sequences()
    assert matrix_names(network, treated(network)) == ["mix.0.weight", "attend.out_proj.weight"]

    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(9, 8)
            self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1, enable_nested_tensor=False)
            self.head = nn.Linear(8, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(self.embed(x)))

    translator = Translator()
    names = [f"body.layers.0.{name}.weight" for name in ("self_attn.out_proj", "linear1", "linear2")]
    assert matrix_names(translator, treated(translator)) == names


def test_muon_trains_shared_weights_once_and_only_where_all_uses_are_hidden() -> None:
    with pytest.raises(NotApplicable, match="no Linear or Conv layer"):
        treated(SharedLayer())  # which also runs first
    network = nn.Sequential(nn.Linear(6, 6), Tied(), nn.Linear(3, 2))
    optimizer = treated(network)
    assert matrix_names(network, optimizer) == ["1.one.weight", "1.out.weight"]
    assert len(optimizer.matrices) == 2


@needs_torch_muon
@pytest.mark.parametrize("has_torch_muon", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_are_those_of_torchs_muon_and_adamw(nesterov: bool, has_torch_muon: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_muon = muon.TORCH_MUON
    if not has_torch_muon:
        monkeypatch.setattr(muon, "TORCH_MUON", None)
    network, other = (deep_network(4, nn.Tanh, width=12) for _ in range(2))
    hidden = [network[at].weight for at in (2, 4, 6)]
    optimizer = MuonWithAdamW(network.parameters(), lr=0.01, matrices=hidden, weight_decay=0.1, nesterov=nesterov)
    matrices = [other[at].weight for at in (2, 4, 6)]
    rest = [p for p in other.parameters() if not any(p is m for m in matrices)]
    plain_muon = torch_muon(matrices, lr=0.01 * RATE_RATIO, weight_decay=0.1 / RATE_RATIO, nesterov=nesterov, momentum=0.95)
    adamw = AdamW(rest, lr=0.01, weight_decay=0.1)
    batch = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    for at in range(4):
        training_step(network, optimizer, batch)
        plain_muon.zero_grad()
        training_step(other, adamw, batch)
        plain_muon.step()
        allowed = 2e-3 if at else 1e-6  # from equal gradients; then their last bits may turn a bit of bfloat16, times 0.2
        assert all(torch.allclose(a, b, atol=allowed) for a, b in zip(network.parameters(), other.parameters(), strict=True))
        network.load_state_dict(other.state_dict())


SHAPES = [
    ((16, 16), torch.contiguous_format),
    ((24, 8), torch.contiguous_format),
    ((8, 24), torch.contiguous_format),
    ((8, 4, 3, 3), torch.contiguous_format),
    ((8, 4, 3, 3), torch.channels_last),
]


@needs_torch_muon
@pytest.mark.parametrize(("shape", "memory_format"), SHAPES)
@pytest.mark.parametrize("settings", [{}, {"nesterov": False}, {"maximize": True}, {"lr": torch.tensor(0.01)}], ids=str)
def test_steps_without_torchs_muon_differ_by_rounding_only(
    shape: tuple[int, ...], memory_format: torch.memory_format, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator).contiguous(memory_format=memory_format)
    gradients = [torch.randn(shape, generator=generator).contiguous(memory_format=memory_format) for _ in range(20)]
    trained: list[nn.Parameter] = []
    for has_torch_muon in (True, False):
        if not has_torch_muon:
            monkeypatch.setattr(muon, "TORCH_MUON", None)
        parameter = nn.Parameter(start.clone(memory_format=torch.preserve_format))
        optimizer = MuonWithAdamW([parameter], matrices=[parameter], **{"lr": 0.01, "weight_decay": 0.1} | settings)
        for gradient in gradients:
            parameter.grad = gradient.clone(memory_format=torch.preserve_format)
            optimizer.step()
        assert optimizer.state[parameter]["momentum_buffer"].shape == shape
        trained.append(parameter)
    assert not torch.allclose(trained[0], start, atol=0.1)
    assert torch.allclose(trained[0], trained[1], rtol=0.0, atol=2e-6)


@needs_torch_muon
def test_training_without_torchs_muon_ends_at_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    for has_torch_muon in (True, False):
        if not has_torch_muon:
            monkeypatch.setattr(muon, "TORCH_MUON", None)
        network = deep_network(6, nn.Tanh, width=64)
        losses.append(loss_after_training(network, treated(network, lr=1e-3), steps=30))
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_a_step_calls_hooks_for_all_optimizers_once() -> None:
    network = deep_network(4, nn.Tanh, width=12)
    optimizer = treated(network)
    calls: list[Optimizer] = []
    handles = [
        register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: calls.append(optimizer)),
        register_optimizer_step_post_hook(lambda optimizer, args, kwargs: calls.append(optimizer)),
    ]
    try:
        training_step(network, optimizer, torch.randn(16, 64, generator=torch.Generator().manual_seed(0)))
    finally:
        for handle in handles:
            handle.remove()
    assert calls == [optimizer, optimizer]


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16)])
def test_singular_values_become_almost_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    orthogonal = orthogonalise(matrix, steps=5)
    assert orthogonal.dtype is torch.float64
    values = torch.linalg.svdvals(orthogonal)
    assert ((values > 0.5) & (values < 1.3)).all()
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity((u @ v).flatten(), orthogonal.flatten(), dim=0) > 0.97
    assert torch.equal(orthogonalise(torch.zeros(shape), steps=5), torch.zeros(shape))


def test_it_maximises_where_the_group_did() -> None:
    network = deep_network(3, nn.Tanh, width=12)
    optimizer = SGD(network.parameters(), lr=0.01, maximize=True)
    apply(network, "muon", optimizer=optimizer, catalogue=CATALOGUE)
    batch = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    before = float(network(batch).detach().square().sum())
    for _ in range(5):
        training_step(network, optimizer, batch)
    assert float(network(batch).detach().square().sum()) > before


def test_kernels_step_as_their_flattened_matrices() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(96, 3))
    optimizer = treated(network)
    before = network[1].weight.detach().clone()
    training_step(network, optimizer, example_inputs("cnn"))
    gradient = network[1].weight.grad
    average = gradient * 0.05
    direction = orthogonalise(gradient.lerp(average, 0.95).flatten(1), steps=5).view_as(before)
    expected = before * (1 - 0.01 * 0.01) - 0.01 * RATE_RATIO * direction
    assert torch.allclose(network[1].weight.detach(), expected, atol=1e-4)


def test_copies_and_pickles_keep_their_matrices() -> None:
    network = cnn()
    optimizer = treated(network)
    training_step(network, optimizer, example_inputs("cnn"))
    pairs = (copy.deepcopy((network, optimizer)), pickle.loads(pickle.dumps((network, optimizer))))
    training_step(network, optimizer, example_inputs("cnn"))
    for other, optimizer_copy in pairs:
        assert matrix_names(other, optimizer_copy) == matrix_names(network, optimizer)
        training_step(other, optimizer_copy, example_inputs("cnn"))
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    assert "matrices" not in optimizer.state_dict()


def test_matrices_stay_matrices_when_parameters_leave_or_join_a_group() -> None:
    network = mlp()
    optimizer = treated(network)
    optimizer.param_groups[0]["params"].pop(0)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3, 3))]})
    training_step(network, optimizer, example_inputs("mlp"))
    assert list(optimizer.state[network[2].weight]) == ["momentum_buffer"]
    assert "exp_avg" in optimizer.state[network[4].weight]
