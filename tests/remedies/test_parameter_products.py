"""Initialisation of weights that are bare parameters: recognised by the products in `forward`, in any order of axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply

WIDE, NARROW = 300, 200
PRODUCTS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]] = {
    "x @ w": (lambda x, w: x @ w, (NARROW, WIDE)),
    "x @ w.T": (lambda x, w: x @ w.T, (WIDE, NARROW)),
    "x @ w.t()": (lambda x, w: x @ w.t(), (WIDE, NARROW)),
    "mm of a transpose": (lambda x, w: torch.mm(x, w.transpose(0, 1)), (WIDE, NARROW)),
    "a method": (lambda x, w: x.matmul(w), (NARROW, WIDE)),
    "w @ x": (lambda x, w: (w @ x.t()).t(), (WIDE, NARROW)),
    "linear": (lambda x, w: F.linear(x, w), (WIDE, NARROW)),
    "addmm": (lambda x, w: torch.addmm(x.sum(), x, w), (NARROW, WIDE)),
    "einsum": (lambda x, w: torch.einsum("bi,io->bo", x, w), (NARROW, WIDE)),
    "einsum, outputs first": (lambda x, w: torch.einsum("oi, bi -> bo", w, x), (WIDE, NARROW)),
    "einsum with heads": (lambda x, w: torch.einsum("bi,iho->bho", x, w).flatten(1), (NARROW, 3, WIDE // 3)),
}
every_product = pytest.mark.parametrize("product", PRODUCTS)


class BareParameter(nn.Module):
    """A bare weight with its bias, a rectifier, and a Linear layer."""

    def __init__(self, product: str) -> None:
        super().__init__()
        self.product, shape = PRODUCTS[product]
        self.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
        self.bias = nn.Parameter(torch.ones(WIDE))
        self.head = nn.Linear(WIDE, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.product(x, self.weight) + self.bias))


@every_product
def test_a_bare_weight_gets_the_scale_of_its_own_fans(product: str) -> None:
    expected = {
        "he-init": math.sqrt(2 / NARROW),
        "lecun-init": math.sqrt(1 / NARROW),
        "glorot-init": math.sqrt(2 / (NARROW + WIDE)),
        "orthogonal-init": math.sqrt(2 / NARROW),
    }
    for name, deviation in expected.items():
        network = BareParameter(product)
        change = apply(network, name)
        assert float(network.weight.detach().std()) == pytest.approx(deviation, rel=0.02)
        assert not network.bias.any()
        change.undo()
        assert torch.equal(network.weight, BareParameter(product).weight)
        assert network.bias.all()


@every_product
def test_an_orthogonal_weight_keeps_the_mean_square_of_every_signal(product: str) -> None:
    network = BareParameter(product)
    apply(network, "orthogonal-init")
    signal = torch.randn(64, NARROW, generator=torch.Generator().manual_seed(1))
    out = network.product(signal, network.weight) - (signal.sum() if product == "addmm" else 0.0)
    assert torch.allclose(out.square().mean(1), 2 * signal.square().mean(1), rtol=1e-3)


class SeveralParameters(nn.Module):
    """Weights in a list, a kernel, a weight that is also a lookup table, a frozen one, and one that only scales."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 6))
        self.hidden = nn.ParameterList([nn.Parameter(torch.randn(6, 6)) for _ in range(3)])
        self.kernel = nn.Parameter(torch.randn(4, 1, 3))
        self.frozen = nn.Parameter(torch.randn(6, 6), requires_grad=False)
        self.scale = nn.Parameter(torch.randn(6, 6))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table[tokens]
        for weight in self.hidden:
            x = torch.tanh(x @ weight)
        x = x @ (self.frozen * self.scale)
        return F.conv1d(x[:, None], self.kernel).mean((1, 2))[:, None] + x @ self.table.t()


def test_parameters_with_other_uses_stay() -> None:
    network = SeveralParameters()
    before = {name: p.clone() for name, p in network.named_parameters()}
    change = apply(network, "he-init")
    changed = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"hidden.0", "hidden.1", "hidden.2", "kernel"}
    assert next(edit.before for edit in change.edits) == "0: 6 x 6 parameter"


def test_a_forward_that_cannot_be_traced_is_refused() -> None:
    class Branching(BareParameter):
        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight if x.sum() > 0 else x

    network = Branching("x @ w")
    del network.head
    with pytest.raises(NotApplicable, match="no Linear or convolution layer"):
        apply(network, "he-init")
