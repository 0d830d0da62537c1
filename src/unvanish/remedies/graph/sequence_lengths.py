"""Looks on as a stand-in runs an example batch: how long states are carried, and whether they are altered on the way. The network
itself never runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from unvanish.remedies.graph.kinds import NORMALISATIONS
from unvanish.remedies.graph.model_copy import model_copy, paths_of, without_trace
from unvanish.remedies.graph.shape_probe import fed, misfit

Look = Callable[[nn.RNNBase | nn.RNNCellBase, str, Any, Any, Any], None]
"""Gets a recurrent module, its path, its input, the state that it was given (or None), and what it returned."""


def sequence_lengths(network: nn.Module, inputs: Any) -> dict[str, int]:
    """The most steps through which each recurrent module carried its state, by path. Cost: a copy of the network, and a pass.

    Calls that are given a state count as the continuation of the one before. Raises UsageError where the network does not take the
    inputs.
    """
    longest: dict[str, int] = {}
    current: dict[str, int] = {}

    def look(module: nn.RNNBase | nn.RNNCellBase, path: str, signal: Any, state: Any, output: Any) -> None:
        del output
        current[path] = _length(module, signal) + (0 if state is None else current.get(path, 0))
        longest[path] = max(longest.get(path, 0), current[path])

    _rehearse(network, inputs, look)
    return longest


def altered(network: nn.Module, inputs: Any) -> tuple[str, ...]:
    """The paths of vanilla recurrent modules that are called step by step, and mostly with a state that is none of those returned.

    Then something lies between two steps: dropout, a mask, a normalisation, a copy. A beginning is no such state: zeros, or the
    first one again. Cost and errors as above.
    """
    returned: dict[torch.UntypedStorage, int] = {}
    first: dict[str, Any] = {}
    known, strange = Counter[str](), Counter[str]()

    def look(module: nn.RNNBase | nn.RNNCellBase, path: str, signal: Any, state: Any, output: Any) -> None:
        if not isinstance(module, (nn.RNN, nn.RNNCell)) or _length(module, signal) != 1:
            return
        beginning = first.setdefault(path, state)
        if isinstance(state, Tensor) and returned.get(state.untyped_storage()) == state._version:  # pyright: ignore[reportPrivateUsage]
            known[path] += 1
        elif isinstance(state, Tensor) and bool(state.any()) and not _equal(state, beginning):
            strange[path] += 1
        hidden = output[1] if isinstance(module, nn.RNN) else output
        returned[hidden.untyped_storage()] = hidden._version

    _rehearse(network, inputs, look)
    return tuple(path for path, times in strange.items() if times > known[path])


def _rehearse(network: nn.Module, inputs: Any, look: Look) -> None:
    try:
        with without_trace():
            double = model_copy(network)
            for module, path in paths_of(double).items():
                module.training = not isinstance(module, NORMALISATIONS)  # dropout acts, batch statistics do not
                if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
                    module.register_forward_hook(_hook(path, look), with_kwargs=True)
            fed(double, inputs)
    except Exception as fault:  # the user's forward may raise anything
        raise misfit(network, fault) from fault


def _hook(path: str, look: Look) -> Callable[[nn.Module, Any, Any, Any], None]:
    def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given = dict(zip(("input", "hx"), args, strict=False)) | kwargs
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            look(module, path, given["input"], given.get("hx"), output)

    return hook


def _length(module: nn.RNNBase | nn.RNNCellBase, signal: Any) -> int:
    """The number of steps that one call takes."""
    if isinstance(module, nn.RNNCellBase):
        return 1
    if isinstance(signal, PackedSequence):
        return len(signal.batch_sizes)
    return int(signal.shape[1 if module.batch_first and signal.dim() == 3 else 0])


def _equal(state: Tensor, beginning: Any) -> bool:
    return isinstance(beginning, Tensor) and beginning.shape == state.shape and bool((beginning == state).all())
