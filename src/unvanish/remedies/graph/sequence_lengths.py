"""Measures over how many steps recurrent modules carry their state, and whether code changes it between steps.

Both run a copy of the network on an example batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from unvanish.remedies.graph.model_copy import model_copy, module_paths, without_side_effects
from unvanish.remedies.graph.shape_probe import call_with_inputs, inputs_error
from unvanish.remedies.graph.signal_kinds import NORMALISATIONS

RecurrentCallback = Callable[[nn.RNNBase | nn.RNNCellBase, str, Any, Any, Any], None]
"""Called with a recurrent module, its path, its input, the state that was passed to it (or None), and its output."""


def sequence_lengths(network: nn.Module, inputs: Any) -> dict[str, int]:
    """The largest number of steps over which each recurrent module carried its state, by module path.

    A call with a state counts as the continuation of the call before. Cost: a copy of the network and a forward pass. Raises
    UsageError where the network does not accept the inputs.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> sequence_lengths(nn.LSTM(3, 4, batch_first=True), torch.zeros(2, 9, 3))  # (batch, time, features)
        {'': 9}
    """
    longest: dict[str, int] = {}
    current: dict[str, int] = {}

    def on_call(module: nn.RNNBase | nn.RNNCellBase, path: str, signal: Any, state: Any, output: Any) -> None:
        del output
        current[path] = _step_count(module, signal) + (0 if state is None else current.get(path, 0))
        longest[path] = max(longest.get(path, 0), current[path])

    _run_copy(network, inputs, on_call)
    return longest


def modules_with_altered_state(network: nn.Module, inputs: Any) -> tuple[str, ...]:
    """The paths of vanilla recurrent modules that run step by step, mostly with a state that none of their calls returned.

    Then code changes the state between two steps: dropout, a mask, a normalisation, a copy. Initial states do not count: zeros, or
    the first state again. Cost and errors are those of `sequence_lengths`.
    """
    returned: dict[torch.UntypedStorage, int] = {}
    first_states: dict[str, Any] = {}
    unaltered, altered = Counter[str](), Counter[str]()

    def on_call(module: nn.RNNBase | nn.RNNCellBase, path: str, signal: Any, state: Any, output: Any) -> None:
        if not isinstance(module, (nn.RNN, nn.RNNCell)) or _step_count(module, signal) != 1:
            return
        first_state = first_states.setdefault(path, state)
        if isinstance(state, Tensor) and returned.get(state.untyped_storage()) == state._version:  # pyright: ignore[reportPrivateUsage]
            unaltered[path] += 1
        elif isinstance(state, Tensor) and bool(state.any()) and not _is_equal(state, first_state):
            altered[path] += 1
        hidden = output[1] if isinstance(module, nn.RNN) else output
        returned[hidden.untyped_storage()] = hidden._version

    _run_copy(network, inputs, on_call)
    return tuple(path for path, times in altered.items() if times > unaltered[path])


def _run_copy(network: nn.Module, inputs: Any, on_call: RecurrentCallback) -> None:
    try:
        with without_side_effects():
            network_copy = model_copy(network)
            for module, path in module_paths(network_copy).items():
                module.training = not isinstance(module, NORMALISATIONS)  # dropout acts, batch statistics do not
                if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
                    module.register_forward_hook(_recurrent_hook(path, on_call), with_kwargs=True)
            call_with_inputs(network_copy, inputs)
    except Exception as error:  # the user's forward may raise anything
        raise inputs_error(network, error) from error


def _recurrent_hook(path: str, on_call: RecurrentCallback) -> Callable[[nn.Module, Any, Any, Any], None]:
    def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        arguments = dict(zip(("input", "hx"), args, strict=False)) | kwargs
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            on_call(module, path, arguments["input"], arguments.get("hx"), output)

    return hook


def _step_count(module: nn.RNNBase | nn.RNNCellBase, signal: Any) -> int:
    """The number of time steps of one call."""
    if isinstance(module, nn.RNNCellBase):
        return 1
    if isinstance(signal, PackedSequence):
        return len(signal.batch_sizes)
    return int(signal.shape[1 if module.batch_first and signal.dim() == 3 else 0])


def _is_equal(state: Tensor, first_state: Any) -> bool:
    return isinstance(first_state, Tensor) and first_state.shape == state.shape and bool((first_state == state).all())
