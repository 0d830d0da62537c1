"""Tests of the classes and functions that patches write into a source: they compute what the live remedies do, to the last bit."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unvanish.patch.source.definitions import DEFINED_CLASSES, DEFINED_FUNCTIONS, load_definition, rename_modules
from unvanish.remedies.hooks.clip_adaptive import clip_adaptively_
from unvanish.remedies.layers.bounded_scores import BoundScores, bound_scores, bound_scores_below
from unvanish.remedies.layers.channel_norm import ChannelRMSNorm
from unvanish.remedies.layers.dynamic_tanh import DynamicTanh
from unvanish.remedies.layers.learned_gate import Gate, Residual
from unvanish.remedies.layers.online_norm import OnlineNorm
from unvanish.remedies.layers.standardise import Standardise
from unvanish.remedies.layers.tailored import TailoredActivation, tailored

ROWS, MAPS = (8, 6), (8, 6, 5, 5)
LIVE: dict[type[nn.Module], tuple[tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = {
    BoundScores: ((), {}, ROWS),
    ChannelRMSNorm: ((6,), {}, MAPS),
    DynamicTanh: ((6,), {"axis": 1}, MAPS),
    Gate: ((), {}, ROWS),
    OnlineNorm: ((6,), {}, MAPS),
    Residual: ((nn.Linear(6, 6), nn.Tanh()), {}, ROWS),
    Standardise: ((6,), {"constant": 1.0}, ROWS),
    TailoredActivation: (("leaky_relu",), {"negative_slope": 0.3, "gamma": 1.2, "delta": -0.1}, ROWS),
}
"""The live layers with arguments of their constructors, and the shape of an input."""

FUNCTIONS = {function.__name__: function for function in (bound_scores, bound_scores_below, clip_adaptively_, tailored)}


def written(name: str) -> Any:
    """The class or function as the text of a patch defines it."""
    names: dict[str, Any] = {"math": math, "torch": torch, "nn": nn, "F": F}
    exec(load_definition(name).text, names)
    return names[name]


def test_every_definition_is_compared_with_its_live_layer() -> None:
    assert {kind.__name__ for kind in LIVE} == DEFINED_CLASSES
    assert FUNCTIONS.keys() == DEFINED_FUNCTIONS


@pytest.mark.parametrize("name", [*sorted(DEFINED_CLASSES), *sorted(DEFINED_FUNCTIONS)])
def test_a_definition_is_plain_pytorch_that_names_its_source_or_what_it_computes(name: str) -> None:
    text = load_definition(name).text
    assert "unvanish" not in text
    assert max(map(len, text.splitlines())) <= 132
    names: dict[str, Any] = {"math": math, "torch": torch, "nn": nn, "F": F}
    exec(text, names)
    assert names[name].__doc__


@pytest.mark.parametrize("live", LIVE, ids=lambda kind: kind.__name__)
def test_a_written_class_computes_what_the_live_layer_does_to_the_last_bit(live: type[nn.Module]) -> None:
    arguments, settings, shape = LIVE[live]
    one = live(*copy.deepcopy(arguments), **settings)
    other = written(live.__name__)(*copy.deepcopy(arguments), **settings)
    assert list(one.state_dict()) == list(other.state_dict())
    generator = torch.Generator().manual_seed(0)
    for parameter in one.parameters():  # as trained: a gate that is zero hides its branch
        nn.init.normal_(parameter, generator=generator)
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        x = torch.randn(shape, generator=generator) * 3
        outcomes = [outcome(module, x) for module in (one, other)]
        torch.testing.assert_close(outcomes[0], outcomes[1], rtol=0, atol=0)
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(one.eval()(x), other.eval()(x), rtol=0, atol=0)


def outcome(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The output of a module, and the gradients of its input and its parameters."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    y = module(x)
    y.square().sum().backward()
    return [y, *(leaf.grad for leaf in (x, *module.parameters()) if leaf.grad is not None)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bound_scores", {}),
        ("bound_scores_below", {"dim": 1}),
        ("tailored", {"phi": "tanh", "alpha": 0.3, "beta": 0.1, "gamma": 4.0}),
    ],
)
def test_a_written_function_computes_what_the_live_one_does_to_the_last_bit(name: str, settings: dict[str, Any]) -> None:
    results: list[torch.Tensor] = []
    for function in (FUNCTIONS[name], written(name)):
        x = (torch.randn(ROWS, generator=torch.Generator().manual_seed(0)) * 30).requires_grad_()
        y = function(x, **settings)
        y.square().sum().backward()
        assert x.grad is not None
        results += [y, x.grad]
    torch.testing.assert_close(results[:2], results[2:], rtol=0, atol=0)


def test_modules_of_torch_get_the_names_that_the_file_has_for_them() -> None:
    text = rename_modules(load_definition("Gate").text, {"nn": "torch.nn", "torch": "torch"})
    assert text.startswith("class Gate(torch.nn.Module):")
    assert "torch.nn.Parameter(torch.zeros(()))" in text
