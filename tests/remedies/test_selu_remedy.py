"""Tests of selu: the activation, its initialisation and its dropout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply


def network(depth: int = 20, width: int = 128) -> nn.Sequential:
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.Sigmoid(), nn.Dropout(0.05))]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def test_mean_and_variance_approach_zero_and_one_with_depth() -> None:
    treated = network()
    apply(treated, "selu")
    out = treated[:60].eval()(torch.randn(500, 128, generator=torch.Generator().manual_seed(0))).detach()
    assert abs(float(out.mean())) < 0.1
    assert 0.8 < float(out.var()) < 1.25


def test_dropout_becomes_alpha_dropout_of_the_same_probability() -> None:
    treated = network(2)
    apply(treated, "selu")
    assert [type(treated[at]) for at in (1, 2, 4, 5)] == [nn.SELU, nn.AlphaDropout] * 2
    dropped = treated[2]
    assert isinstance(dropped, nn.AlphaDropout)
    assert dropped.p == 0.05
    with pytest.raises(NotApplicable, match="SELU already"):
        apply(treated, "selu")
