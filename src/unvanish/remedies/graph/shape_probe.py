"""One forward pass of a stand-in on an example batch, to see what is called and how large it is. The network itself never runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unvanish.errors import UsageError
from unvanish.remedies.graph.model_copy import model_copy, without_trace


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one module: its path, and the shape of its output; empty where that is no tensor."""

    path: str
    shape: tuple[int, ...]


def probe_shapes(network: nn.Module, inputs: Any) -> tuple[Call, ...]:
    """The calls of one forward pass in evaluation mode, in the order in which they ended. Cost: a copy of the network.

    `inputs` is a tensor, a tuple of positional or a dict of keyword arguments. Raises UsageError where the network does not
    take them.
    """
    calls: list[Call] = []
    try:
        with without_trace():
            double = model_copy(network)
            for path, module in double.named_modules():
                module.register_forward_hook(_note(path, calls))
            fed(double, inputs)
    except Exception as fault:  # the user's forward may raise anything
        raise misfit(network, fault) from fault
    return tuple(calls)


def fed(double: nn.Module, inputs: Any, *, first: Callable[[Any], None] = lambda _: None) -> Any:
    """What a network makes of a copy of the inputs, which `first` gets before it runs."""
    batch = copy.deepcopy(inputs)
    first(batch)
    if isinstance(batch, dict):
        return double(**batch)
    return double(*(batch if isinstance(batch, (tuple, list)) else (batch,)))


def misfit(network: nn.Module, fault: Exception) -> UsageError:
    """What to say where a network does not take the inputs."""
    return UsageError(
        f"inputs= cannot be run through a copy of {type(network).__name__} ({type(fault).__name__}: {fault}); pass one "
        "batch as the network takes it: a tensor, a tuple of positional or a dict of keyword arguments"
    )


def _note(path: str, calls: list[Call]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        del module, args
        calls.append(Call(path, tuple(output.shape) if isinstance(output, Tensor) else ()))

    return hook
