"""muon: which weights it takes, and its steps against torch's own Muon and AdamW."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from digits import chain
from optimisation_remedies import SHELF
from remedy_networks import Listed, Nested, Sequences, SharedLayer, Tied, cnn, inputs, mlp, step
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.optimizers.muon import RATE_RATIO, MuonWithAdamW, orthogonalised

MATRICES = {
    Nested: ["body.0.first.weight", "body.0.second.weight", "body.1.first.weight", "body.1.second.weight"],
    Listed: ["layers.1.weight", "layers.2.weight"],
    mlp: ["2.weight"],
}


def treated(network: nn.Module, *, lr: float = 0.01) -> MuonWithAdamW:
    optimizer = Adam(network.parameters(), lr=lr)
    apply(network, "muon", optimizer=optimizer, catalogue=SHELF)
    assert isinstance(optimizer, MuonWithAdamW)
    return optimizer


def chosen(network: nn.Module, optimizer: MuonWithAdamW) -> list[str]:
    return [name for name, p in network.named_parameters() if any(p is matrix for matrix in optimizer.matrices)]


@pytest.mark.parametrize("kind", MATRICES, ids=lambda kind: kind.__name__)
def test_the_weights_between_the_first_and_the_last_layer_are_taken(kind) -> None:
    network = kind()
    assert chosen(network, treated(network)) == MATRICES[kind]


def test_kernels_are_taken_but_for_grouped_and_transposed_ones() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.ConvTranspose2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    assert chosen(network, treated(network)) == ["1.weight"]
    with pytest.raises(NotApplicable, match="use adamw"):
        treated(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))


def test_embeddings_recurrent_layers_and_packed_attention_are_left_to_adamw() -> None:
    network = Sequences()
    assert chosen(network, treated(network)) == ["mix.0.weight", "attend.out_proj.weight"]

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
    assert chosen(translator, treated(translator)) == names


def test_shared_weights_are_taken_once_and_only_where_no_use_is_at_an_end() -> None:
    with pytest.raises(NotApplicable, match="no Linear or Conv layer"):
        treated(SharedLayer())  # which also runs first
    network = nn.Sequential(nn.Linear(6, 6), Tied(), nn.Linear(3, 2))
    optimizer = treated(network)
    assert chosen(network, optimizer) == ["1.one.weight", "1.out.weight"]
    assert len(optimizer.matrices) == 2


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_are_those_of_torchs_muon_and_adamw(nesterov: bool) -> None:
    torch_muon = getattr(torch.optim, "Muon", None)
    if torch_muon is None:
        pytest.skip("this torch has no Muon")
    network, other = (chain(4, nn.Tanh, width=12) for _ in range(2))
    hidden = [network[at].weight for at in (2, 4, 6)]
    optimizer = MuonWithAdamW(network.parameters(), lr=0.01, matrices=hidden, weight_decay=0.1, nesterov=nesterov)
    matrices = [other[at].weight for at in (2, 4, 6)]
    rest = [p for p in other.parameters() if not any(p is m for m in matrices)]
    muon = torch_muon(matrices, lr=0.01 * RATE_RATIO, weight_decay=0.1 / RATE_RATIO, nesterov=nesterov, momentum=0.95)
    adamw = AdamW(rest, lr=0.01, weight_decay=0.1)
    batch = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    for at in range(4):
        step(network, optimizer, batch)
        muon.zero_grad()
        step(other, adamw, batch)
        muon.step()
        allowed = 2e-3 if at else 1e-6  # from equal gradients; then their last bits may turn a bit of bfloat16, times 0.2
        assert all(torch.allclose(a, b, atol=allowed) for a, b in zip(network.parameters(), other.parameters(), strict=True))
        network.load_state_dict(other.state_dict())


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16)])
def test_singular_values_become_almost_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = orthogonalised(matrix, steps=5)
    assert turned.dtype is torch.float64
    values = torch.linalg.svdvals(turned)
    assert ((values > 0.5) & (values < 1.3)).all()
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity((u @ v).flatten(), turned.flatten(), dim=0) > 0.97
    assert torch.equal(orthogonalised(torch.zeros(shape), steps=5), torch.zeros(shape))


def test_it_maximises_where_the_group_did() -> None:
    network = chain(3, nn.Tanh, width=12)
    optimizer = SGD(network.parameters(), lr=0.01, maximize=True)
    apply(network, "muon", optimizer=optimizer, catalogue=SHELF)
    batch = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    before = float(network(batch).detach().square().sum())
    for _ in range(5):
        step(network, optimizer, batch)
    assert float(network(batch).detach().square().sum()) > before


def test_kernels_step_as_their_flattened_matrices() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(96, 3))
    optimizer = treated(network)
    before = network[1].weight.detach().clone()
    step(network, optimizer, inputs("cnn"))
    gradient = network[1].weight.grad
    average = gradient * 0.05
    turned = orthogonalised(gradient.lerp(average, 0.95).flatten(1), steps=5).view_as(before)
    expected = before * (1 - 0.01 * 0.01) - 0.01 * RATE_RATIO * turned
    assert torch.allclose(network[1].weight.detach(), expected, atol=1e-4)


def test_copies_and_pickles_know_their_matrices() -> None:
    network = cnn()
    optimizer = treated(network)
    step(network, optimizer, inputs("cnn"))
    pairs = (copy.deepcopy((network, optimizer)), pickle.loads(pickle.dumps((network, optimizer))))
    step(network, optimizer, inputs("cnn"))
    for other, twin in pairs:
        assert chosen(other, twin) == chosen(network, optimizer)
        step(other, twin, inputs("cnn"))
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    assert "matrices" not in optimizer.state_dict()


def test_parameters_that_leave_a_group_or_join_one_do_not_shift_the_marks() -> None:
    network = mlp()
    optimizer = treated(network)
    optimizer.param_groups[0]["params"].pop(0)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3, 3))]})
    step(network, optimizer, inputs("mlp"))
    assert list(optimizer.state[network[2].weight]) == ["momentum_buffer"]
    assert "exp_avg" in optimizer.state[network[4].weight]
