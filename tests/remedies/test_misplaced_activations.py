"""A softmax or an exponential between two layers counts as an activation; one that weighs signals does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense, self.out = nn.Conv1d(1, 2, 3), nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.exp(self.conv(x.unsqueeze(1))).flatten(1)
        x = F.dropout(F.softmax(self.dense(x), dim=1), 0.0)
        return self.out(x).softmax(dim=-1)


class WeighingSignals(nn.Module):
    """Attention, a mixture of experts, and a sampled code, where softmax and exp weigh other signals."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.query, self.value, self.gate, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "attention":
            return self.out(torch.softmax(self.query(x) @ x.transpose(-1, -2), dim=-1) @ self.value(x))
        if self.kind == "experts":
            return self.out(torch.softmax(self.gate(x), dim=-1) * self.value(x))
        return self.out(self.query(x) + torch.exp(0.5 * self.gate(x)) * torch.ones_like(x))


def test_they_are_replaced_between_layers_but_not_at_the_output() -> None:
    network = Hidden()
    x = torch.randn(4, 6)
    apply(network, "relu")
    hidden = F.relu(network.dense(F.relu(network.conv(x.unsqueeze(1))).flatten(1)))
    assert torch.allclose(network(x), network.out(hidden).softmax(-1))


def test_a_softmax_module_between_layers_is_replaced_and_normalised() -> None:
    build: Callable[[], nn.Sequential] = lambda: nn.Sequential(nn.Linear(4, 5), nn.Softmax(1), nn.Linear(5, 3), nn.Softmax(1))  # noqa: E731
    network, normalised = build(), build()
    assert [(edit.path, edit.after) for edit in apply(network, "elu").edits] == [("1", "ELU(alpha=1.0)")]
    assert [edit.path for edit in apply(normalised, "batchnorm").edits] == ["1"]


@pytest.mark.parametrize("kind", ["attention", "experts", "code"])
def test_they_stay_where_they_weigh_signals(kind: str) -> None:
    with pytest.raises(NotApplicable, match="no activation to replace"):
        apply(WeighingSignals(kind), "relu", inputs=torch.randn(2, 3, 6))
