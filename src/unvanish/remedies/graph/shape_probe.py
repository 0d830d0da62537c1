"""Records the module calls of one forward pass and their output shapes, by running a copy of the network on an example batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unvanish.errors import UsageError
from unvanish.remedies.graph.model_copy import model_copy, without_side_effects


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of one module: its path, and the shape of its output; () where that is not a tensor."""

    path: str
    shape: tuple[int, ...]


def probe_shapes(network: nn.Module, inputs: Any) -> tuple[ModuleCall, ...]:
    """The module calls of one forward pass in evaluation mode, in the order in which they end.

    Arguments:
        network: the network, of which a copy runs.
        inputs: one batch: a tensor, a tuple of positional or a dict of keyword arguments.

    Cost: a copy of the network and a forward pass. Raises UsageError where the network does not accept the inputs.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> probe_shapes(nn.Sequential(nn.Linear(3, 4)), torch.zeros(2, 3))
        (ModuleCall(path='0', shape=(2, 4)), ModuleCall(path='', shape=(2, 4)))
    """
    calls: list[ModuleCall] = []
    try:
        with without_side_effects():
            network_copy = model_copy(network)
            for path, module in network_copy.named_modules():
                module.register_forward_hook(_recording_hook(path, calls))
            call_with_inputs(network_copy, inputs)
    except Exception as error:  # the user's forward may raise anything
        raise inputs_error(network, error) from error
    return tuple(calls)


def call_with_inputs(network_copy: nn.Module, inputs: Any, *, before_run: Callable[[Any], None] = lambda _: None) -> Any:
    """The network's output for a copy of the inputs. `before_run` is called with that copy first."""
    batch = copy.deepcopy(inputs)
    before_run(batch)
    if isinstance(batch, dict):
        return network_copy(**batch)
    return network_copy(*(batch if isinstance(batch, (tuple, list)) else (batch,)))


def inputs_error(network: nn.Module, error: Exception) -> UsageError:
    """The error to raise where a network does not accept the inputs; `error` is what its forward raised."""
    return UsageError(
        f"inputs= cannot be run through a copy of {type(network).__name__} ({type(error).__name__}: {error}); pass one "
        "batch as the network takes it: a tensor, a tuple of positional or a dict of keyword arguments"
    )


def _recording_hook(path: str, calls: list[ModuleCall]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        del module, args
        calls.append(ModuleCall(path, tuple(output.shape) if isinstance(output, Tensor) else ()))

    return hook
